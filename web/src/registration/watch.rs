//! Lists that are told anew whenever a host comes, goes or changes: server-sent events, each with the whole list as it is
//! read. That a host checked in again is no change.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse as _, Response, Sse};
use futures_util::stream;
use registry::Host;
use tokio::sync::watch::Receiver;

use super::CheckIns;
use super::page::Asked;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// `watch`, `watch=1`, `watch=true`; whatever else a query says is overlooked, as it always was.
pub fn is_asked_for(query: &str) -> bool {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "1")));
    pairs.any(|(name, value)| name == "watch" && !["", "0", "false"].contains(&value))
}

/// Begins with the list as it is now.
pub fn stream(state: CheckIns, asked: Asked, now: Vec<Host>) -> Response {
    // What changed since the list was read is seen when it is read again at once.
    let mut changes = state.hosts.changes();
    changes.mark_changed();
    let reading = Reading { state, asked, changes, told: None, next: Some(now) };
    let events = stream::unfold(reading, |mut reading| async move {
        let event = reading.event().await?;
        Some((Ok::<_, Infallible>(event), reading))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

struct Reading {
    state: CheckIns,
    asked: Asked,
    changes: Receiver<()>,
    /// What was told last, regardless of when the hosts checked in.
    told: Option<Vec<Host>>,
    next: Option<Vec<Host>>,
}

impl Reading {
    /// `None` when the server stops, or its store fails.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let hosts = match self.next.take() {
                Some(hosts) => hosts,
                None => {
                    let shutdown = self.state.shutdown.clone();
                    tokio::select! {
                        changed = self.changes.changed() => changed.ok()?,
                        () = shutdown.draining() => return None,
                    }
                    self.asked.hosts(&self.state.hosts).await.ok()?
                }
            };
            let timeless: Vec<Host> = hosts.iter().map(|host| Host { last_check_in: 0, ..host.clone() }).collect();
            if self.told.as_ref() != Some(&timeless) {
                self.told = Some(timeless);
                let list = serde_json::to_string(&self.asked.page(&self.state.environment, &hosts)).ok()?;
                return Some(Event::default().event("hosts").data(list));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_asked_for_by_its_name() {
        assert!(["watch", "watch=1", "a=b&watch=true"].iter().all(|query| is_asked_for(query)));
        assert!(["", "watch=0", "watch=false", "watch=", "watching"].iter().all(|query| !is_asked_for(query)));
    }
}
