//! What happened between the control plane and each proxy lately: sent, accepted, refused and in what words. It
//! outlives the connection, so that one can see why a proxy went away.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How many events of one proxy are kept, and of how many proxies.
const EVENTS: usize = 64;
const PROXIES: usize = 4096;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyEvent {
    pub at: SystemTime,
    pub what: Happened,
    /// The type's short name: CDS, EDS, LDS, RDS.
    pub of_type: Option<&'static str>,
    /// The proxy's words, where it refused.
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Connected,
    Disconnected,
    Sent,
    Accepted,
    Refused,
}

impl Happened {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

/// The latest events of each proxy.
#[derive(Default)]
pub(super) struct Events(Mutex<BTreeMap<String, VecDeque<ProxyEvent>>>);

impl Events {
    pub fn add(&self, proxy: &str, what: Happened, of_type: Option<&'static str>, detail: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(proxy) {
            make_room(&mut all);
            all.insert(proxy.to_owned(), VecDeque::new());
        }
        let Some(events) = all.get_mut(proxy) else { return };
        if events.len() >= EVENTS {
            events.pop_front();
        }
        events.push_back(ProxyEvent { at: SystemTime::now(), what, of_type, detail });
    }

    /// The oldest first; `None` for a proxy that was never seen.
    pub fn of(&self, proxy: &str) -> Option<Vec<ProxyEvent>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(proxy).map(|events| events.iter().cloned().collect())
    }
}

/// Forgets the proxy of which nothing was heard for the longest.
fn make_room(all: &mut BTreeMap<String, VecDeque<ProxyEvent>>) {
    while all.len() >= PROXIES {
        let last = |events: &VecDeque<ProxyEvent>| events.back().map(|event| event.at);
        let Some(quietest) = all.iter().min_by_key(|(_, events)| last(events)).map(|(name, _)| name.clone()) else {
            return;
        };
        all.remove(&quietest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_events_of_a_proxy_are_kept_with_its_words() {
        let events = Events::default();
        for _ in 0..EVENTS {
            events.add("a", Happened::Sent, Some("CDS"), None);
        }
        events.add("a", Happened::Refused, Some("CDS"), Some("no such field".into()));
        let of_a = events.of("a").unwrap();
        assert_eq!((of_a.len(), of_a[EVENTS - 1].detail.as_deref()), (EVENTS, Some("no such field")));
        assert_eq!(events.of("b"), None);
    }
}
