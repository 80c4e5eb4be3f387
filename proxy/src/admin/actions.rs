//! What the admin interface can be asked to do. Each answers `OK`, as Envoy does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use runtime::logging;

use super::{Admin, Answer, Query, text};
use crate::data_plane::Stopped;

impl Admin {
    /// Stops listening. `graceful` asks connections to end, too; sockets are closed at once in both cases.
    pub(super) async fn drain_listeners(&self, query: &Query<'_>) -> Answer {
        if query.has("skip_exit") {
            return text(StatusCode::BAD_REQUEST, "skip_exit is not supported; listeners that drain stop listening\n");
        }
        let what = if query.has("inboundonly") { Stopped::Inbound } else { Stopped::All };
        if query.has("graceful") && what == Stopped::Inbound {
            return text(
                StatusCode::BAD_REQUEST,
                "graceful is supported for all listeners only, without inboundonly\n",
            );
        }
        self.data_plane.stop_listening(what).await;
        if query.has("graceful") {
            self.data_plane.begin_drain();
        }
        ok()
    }

    pub(super) fn fail_health_checks(&self, fail: bool) -> Answer {
        self.data_plane.failing.store(fail, Ordering::Relaxed);
        ok()
    }

    /// For those who moved the files away.
    pub(super) fn reopen_logs(&self) -> Answer {
        self.data_plane.reopen_logs();
        ok()
    }

    /// The end comes when the answer has had its time to leave.
    pub(super) fn quit(&self) -> Answer {
        let quit = Arc::clone(&self.quit);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            quit.notify_one();
        });
        ok()
    }
}

fn ok() -> Answer {
    text(StatusCode::OK, "OK\n")
}

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: trace debug info warning error critical off
";

/// Shows the log's filter, or changes it. Loggers are the modules of the program, as `proxy::xds`.
pub fn logging(query: &Query<'_>) -> Answer {
    let mut filter = logging::filter();
    for (name, value) in query.pairs() {
        let changed = match &*name {
            "level" => level(&value).map(str::to_owned),
            "paths" => value.split(',').try_fold(filter.clone(), |filter, pair| {
                let (name, level) = pair.rsplit_once(':')?;
                with(&filter, name, level)
            }),
            name => with(&filter, name, &value),
        };
        let Some(changed) = changed else {
            let told = format!("error: {name}={value} is no logger and level\n\n{USAGE}{}", active(&logging::filter()));
            return text(StatusCode::BAD_REQUEST, told);
        };
        filter = changed;
    }
    if filter != logging::filter() && !logging::set_filter(&filter) {
        return text(StatusCode::BAD_REQUEST, format!("error: the log does not take {filter:?}\n\n{USAGE}"));
    }
    text(StatusCode::OK, active(&filter))
}

fn active(filter: &str) -> String {
    let line = |directive: &str| match directive.rsplit_once('=') {
        Some((name, level)) => format!("  {name}: {level}\n"),
        None => format!("  all others: {directive}\n"),
    };
    format!("active loggers:\n{}", filter.split(',').filter(|part| !part.is_empty()).map(line).collect::<String>())
}

/// The filter with another level for one logger.
fn with(filter: &str, name: &str, wanted: &str) -> Option<String> {
    let wanted = level(wanted)?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
    if name.is_empty() || !is_name {
        return None;
    }
    let of_others = |part: &&str| !part.is_empty() && part.rsplit_once('=').is_none_or(|(other, _)| other != name);
    let mut parts: Vec<String> = filter.split(',').filter(of_others).map(str::to_owned).collect();
    parts.push(format!("{name}={wanted}"));
    Some(parts.join(","))
}

/// Envoy's names of levels, in those of our log.
fn level(name: &str) -> Option<&'static str> {
    Some(match name {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_logger_changes_and_the_others_stay() {
        assert_eq!(with("info,h2=warn", "proxy::xds", "debug").as_deref(), Some("info,h2=warn,proxy::xds=debug"));
        assert_eq!(with("info,h2=warn", "h2", "critical").as_deref(), Some("info,h2=error"));
        assert_eq!(with("info", "h2", "loud"), None);
        assert_eq!(with("info", "a,b", "off"), None);
    }
}
