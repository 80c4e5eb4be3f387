//! What changed lately, in one order: events of all topics in a ring, each with a revision. Watchers read on from the
//! revision that they know; who knows one that is not in the ring any more begins anew.
//!
//! Revisions grow across restarts too: they begin with the time of the start.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use galley::Kind;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::kept::millis;

/// How many events are kept.
const KEPT: usize = 4096;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Objects,
    Services,
    Endpoints,
    Proxies,
    Problems,
    Registries,
    Telemetry,
}

impl Topic {
    pub const ALL: [Self; 7] = [
        Self::Objects,
        Self::Services,
        Self::Endpoints,
        Self::Proxies,
        Self::Problems,
        Self::Registries,
        Self::Telemetry,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Services => "services",
            Self::Endpoints => "endpoints",
            Self::Proxies => "proxies",
            Self::Problems => "problems",
            Self::Registries => "registries",
            Self::Telemetry => "telemetry",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == word)
    }
}

/// One event.
#[derive(Debug)]
pub struct News {
    pub revision: u64,
    pub topic: Topic,
    /// `added`, `modified`, `deleted`, or what else happened.
    pub event: &'static str,
    /// Of an object: its kind.
    pub kind: Option<Kind>,
    /// Small: what changed.
    pub data: Value,
    /// Of an object: the whole of it, for those who watch its kind.
    pub object: Option<Value>,
}

/// The ring, and the way to learn of the next event.
pub struct Feed {
    ring: Mutex<VecDeque<Arc<News>>>,
    /// How many there were since the start, by topic or kind, and by what happened.
    counted: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    latest: watch::Sender<u64>,
    closed: watch::Sender<bool>,
    /// The revision before the first event.
    origin: u64,
}

/// The revision asked for is not in the ring: older, or of another control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

impl Default for Feed {
    fn default() -> Self {
        let origin = millis(SystemTime::now()) / 1000 * 1_000_000;
        let (latest, closed) = (watch::Sender::new(origin), watch::Sender::new(false));
        Self { ring: Mutex::default(), counted: Mutex::default(), latest, closed, origin }
    }
}

impl Feed {
    /// The revision of the last event.
    pub fn revision(&self) -> u64 {
        *self.latest.borrow()
    }

    pub fn publish(&self, topic: Topic, event: &'static str, data: Value) {
        self.add(topic, event, None, data, None);
    }

    pub fn publish_object(&self, event: &'static str, kind: Kind, data: Value, object: Value) {
        self.add(Topic::Objects, event, Some(kind), data, Some(object));
    }

    fn add(&self, topic: Topic, event: &'static str, kind: Option<Kind>, data: Value, object: Option<Value>) {
        let what = kind.map_or(topic.as_str(), Kind::as_str);
        *self.counted.lock().entry((what, event)).or_default() += 1;
        let mut ring = self.ring.lock();
        let revision = self.revision() + 1;
        if ring.len() >= KEPT {
            ring.pop_front();
        }
        ring.push_back(Arc::new(News { revision, topic, event, kind, data, object }));
        self.latest.send_replace(revision);
    }

    /// How many events of a topic, or of a kind of objects, there were since the start.
    pub fn count(&self, what: &'static str, event: &'static str) -> u64 {
        self.counted.lock().get(&(what, event)).copied().unwrap_or_default()
    }

    /// The events after a revision.
    pub fn since(&self, revision: u64) -> Result<Vec<Arc<News>>, Gap> {
        let ring = self.ring.lock();
        let before_first = ring.front().map_or(self.revision(), |first| first.revision - 1);
        if revision < before_first || revision > self.revision() || revision < self.origin {
            return Err(Gap);
        }
        let start = ring.partition_point(|news| news.revision <= revision);
        Ok(ring.range(start..).cloned().collect())
    }

    /// Waits for an event after a revision; false if there will be none.
    pub async fn beyond(&self, revision: u64) -> bool {
        let (mut latest, mut closed) = (self.latest.subscribe(), self.closed.subscribe());
        tokio::select! {
            // What there is to tell is told before the end.
            biased;
            more = latest.wait_for(|latest| *latest > revision) => more.is_ok(),
            _ = closed.wait_for(|closed| *closed) => false,
        }
    }

    /// Ends all streams, so that the server can stop.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_watcher_reads_on_from_what_it_knows_or_learns_that_it_cannot() {
        let feed = Feed::default();
        let start = feed.revision();
        assert_eq!(feed.since(start).map(|news| news.len()), Ok(0));
        for number in 0..KEPT + 10 {
            feed.publish(Topic::Services, "modified", json!(number));
        }
        let end = feed.revision();
        assert_eq!(feed.since(end - 2).map(|news| news.iter().map(|n| n.revision).collect()), Ok(vec![end - 1, end]));
        assert_eq!(feed.since(start).map(|_| ()), Err(Gap));
        assert_eq!(feed.since(end + 1).map(|_| ()), Err(Gap));
        assert_eq!(feed.since(0).map(|_| ()), Err(Gap));
        assert_eq!(feed.count("services", "modified"), KEPT as u64 + 10);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_the_next_event_or_by_the_end() {
        let feed = Arc::new(Feed::default());
        let start = feed.revision();
        feed.publish(Topic::Services, "modified", json!(1));
        assert!(feed.beyond(start).await);
        feed.close();
        assert!(!feed.beyond(start + 1).await);
    }
}
