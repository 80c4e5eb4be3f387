//! Live requests for those who look at them right now (`weft tap`): which are shown is asked of the proxy by the control
//! plane, a bounded number a second leaves, and what is secret in headers is taken out before.

use std::cell::Cell;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use api::tap::{TapMatch, Tapped};
use api::weft::v1 as wire;

use crate::access_log::LogContext;
use crate::http::message::RequestHead;
use crate::series::Ends;
use crate::stats::{Reporter, service, workload};
use crate::worker::Worker;

/// More requests than this a second are not shown by a worker, whatever is wished.
const MOST_A_SECOND: u32 = 50;
const MAX_HEADERS: usize = 64;
const LONGEST_VALUE: usize = 512;
const REDACTED: &str = "[redacted]";
/// Query parameters that are secrets besides those below (RFC 6749 section 4.1.2; signed URLs).
const SECRET_PARAMETERS: [&str; 4] = ["code", "sig", "signature", "key"];
/// What the name of a header or of a query parameter contains whose value is nobody's business.
const SECRETS: [&str; 11] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "apikey",
    "credential",
    "session",
    "signature",
    "client-cert",
];

/// What is wished to be shown. There is none while nobody looks.
#[derive(Debug)]
pub struct Taps {
    list: Vec<(u32, TapMatch)>,
    per_second: u32,
}

/// What a worker showed in the current second.
#[derive(Debug, Default)]
pub struct Shown {
    second: Cell<u64>,
    count: Cell<u32>,
}

impl Taps {
    /// `None` where nothing is wished. A wish that cannot be read is that of a newer control plane, and left alone.
    pub fn of(wished: &[wire::Tap]) -> Option<Arc<Self>> {
        let list: Vec<_> = wished.iter().filter_map(|tap| Some((tap.id, tap.expression.parse().ok()?))).collect();
        let per_second = wished.iter().map(|tap| tap.per_second).sum::<u32>().clamp(1, MOST_A_SECOND);
        (!list.is_empty()).then(|| Arc::new(Self { list, per_second }))
    }
}

/// A request that is over.
struct View<'a> {
    context: &'a LogContext<'a>,
    head: &'a RequestHead,
    ends: &'a Ends,
}

impl Tapped for View<'_> {
    fn method(&self) -> &str {
        &self.head.method
    }

    fn path(&self) -> &str {
        self.head.headers.get_str("x-envoy-original-path").unwrap_or(&self.head.path)
    }

    fn authority(&self) -> &str {
        &self.head.authority
    }

    fn status(&self) -> u16 {
        self.context.info.response_code.unwrap_or(0)
    }

    fn duration_ms(&self) -> f64 {
        self.context.info.duration.unwrap_or_default().as_secs_f64() * 1000.0
    }

    fn flags(&self) -> String {
        self.context.info.flags.to_string()
    }

    fn principal(&self) -> &str {
        self.ends.source_principal.as_deref().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get_str(name)
    }
}

/// Shows a request to those whose conditions it meets.
pub fn show(taps: &Taps, ends: &Ends, context: &LogContext<'_>, worker: &Worker) {
    let (Some(head), Some(reports)) = (context.request, &worker.reports) else { return };
    let view = View { context, head, ends };
    let wished: Vec<u32> = taps.list.iter().filter(|(_, of)| of.matches(&view)).map(|(id, _)| *id).collect();
    if !wished.is_empty() && worker.shown.has_room(context, taps.per_second) {
        // One that finds no place is not shown.
        let _ = reports.try_send(super::telemetry::Extra::Tapped(Box::new(told(wished, &view))));
    }
}

impl Shown {
    fn has_room(&self, context: &LogContext<'_>, per_second: u32) -> bool {
        let second = context.info.start_time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second.replace(second) != second {
            self.count.set(0);
        }
        self.count.set(self.count.get() + 1);
        self.count.get() <= per_second
    }
}

fn told(taps: Vec<u32>, view: &View<'_>) -> wire::Tapped {
    let info = view.context.info;
    let (side, peer) = match view.ends.reporter {
        Reporter::Source => (wire::Side::Source, &view.ends.destination),
        Reporter::Destination => (wire::Side::Destination, &view.ends.source),
    };
    wire::Tapped {
        taps,
        at: info.start_time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
        side: side.into(),
        peer: peer.as_deref().map(workload),
        principal: view.principal().to_owned(),
        service: view.ends.service.as_deref().map(service),
        method: view.head.method.clone(),
        path: shown_path(view.path()),
        authority: view.head.authority.clone(),
        status: view.status().into(),
        duration_us: u64::try_from(info.duration.unwrap_or_default().as_micros()).unwrap_or(u64::MAX),
        flags: if info.flags.is_empty() { String::new() } else { view.flags() },
        mutual_tls: view.ends.mutual_tls,
        route: info.route.as_ref().map(|route| route.name.clone()).unwrap_or_default(),
        cluster: info.upstream_cluster.as_ref().map(|cluster| cluster.name.clone()).unwrap_or_default(),
        headers: headers(view.head),
    }
}

fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| lower.contains(secret))
}

/// A path without the values of query parameters that are secrets by their names.
pub fn shown_path(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name, _))
            if is_secret(name) || SECRET_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known)) =>
        {
            format!("{name}={REDACTED}")
        }
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(shown).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn headers(head: &RequestHead) -> Vec<wire::Header> {
    let shown = head.headers.iter().filter(|(name, _)| !name.starts_with(b"x-envoy-peer-")).take(MAX_HEADERS);
    let shown = shown.map(|(name, value)| {
        let name = String::from_utf8_lossy(name).into_owned();
        let secret = is_secret(&name);
        let mut value = String::from_utf8_lossy(if secret { REDACTED.as_bytes() } else { value }).into_owned();
        value.truncate(value.floor_char_boundary(LONGEST_VALUE));
        wire::Header { name, value }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::http::message::Version;

    #[test]
    fn what_is_secret_in_headers_is_not_shown() {
        let mut of = Headers::new();
        for (name, value) in
            [("authorization", "Bearer abc"), ("x-user", "alice"), ("Cookie", "a=b"), ("x-api-key", "k")]
        {
            of.append(name, value);
        }
        let head = RequestHead {
            method: "GET".into(),
            scheme: "http",
            authority: "reviews".into(),
            path: "/".into(),
            version: Version::Http11,
            headers: of,
            upgrade: None,
        };
        let shown: Vec<String> = headers(&head).into_iter().map(|header| header.value).collect();
        assert_eq!(shown, [REDACTED, "alice", REDACTED, REDACTED]);
    }

    #[test]
    fn what_is_secret_in_queries_is_not_shown() {
        assert_eq!(
            shown_path("/a?access_token=x&b=1&Code=2&c"),
            format!("/a?access_token={REDACTED}&b=1&Code={REDACTED}&c")
        );
        assert_eq!(shown_path("/a"), "/a");
    }

    #[test]
    fn a_wish_that_cannot_be_read_is_left_alone() {
        let tap = |expression: &str| wire::Tap { id: 1, expression: expression.into(), per_second: 1000 };
        assert!(Taps::of(&[tap("nonsense")]).is_none());
        let taps = Taps::of(&[tap("status=5xx"), tap("nonsense")]).unwrap();
        assert_eq!((taps.list.len(), taps.per_second), (1, MOST_A_SECOND));
    }
}
