//! What control planes that share a store tell each other: whose workloads are whose, and that they are there.
//!
//! A registration belongs to the control plane that its workload is connected to. The others show it, and leave it alone
//! while they hear of its owner: each says every few seconds, in the store, that it is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use store::{ChangeStream, Store};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::PREFIX;

/// Everything below it in the store is a control plane.
const REPLICAS: &str = "replica/";
/// How often each says that it is there.
const BEAT: Duration = Duration::from_secs(10);
/// Who was silent for longer than this is gone.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) struct Sharing {
    /// Empty where the store is not shared: then everything in it is ours.
    own: String,
    heard: BTreeMap<String, Instant>,
}

/// What is heard of the others.
pub(super) struct Ears {
    pub registrations: ChangeStream,
    pub replicas: ChangeStream,
    pub beat: Option<Interval>,
}

impl Ears {
    pub fn open(store: &Arc<dyn Store>) -> Self {
        if !store.is_shared() {
            return Self { registrations: stream::pending().boxed(), replicas: stream::pending().boxed(), beat: None };
        }
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { registrations: store.watch(PREFIX), replicas: store.watch(REPLICAS), beat: Some(beat) }
    }

    /// Resolves when it is time to say that we are there.
    pub async fn beat(beat: &mut Option<Interval>) {
        match beat {
            Some(beat) => drop(beat.tick().await),
            None => std::future::pending().await,
        }
    }
}

impl Sharing {
    pub fn new(store: &Arc<dyn Store>, own: &str) -> Self {
        let own = if store.is_shared() { own.to_owned() } else { String::new() };
        Self { own, heard: BTreeMap::new() }
    }

    pub fn own(&self) -> &str {
        &self.own
    }

    pub fn is_ours(&self, owner: &str) -> bool {
        owner == self.own
    }

    /// Where we say that we are there.
    pub fn path(&self) -> String {
        format!("{REPLICAS}{}", self.own)
    }

    /// Takes a sign of life; the name of who gave it.
    pub fn hear<'a>(&mut self, key: &'a str, now: Instant) -> Option<&'a str> {
        let name = key.strip_prefix(REPLICAS)?;
        // After a time without the store nobody was heard: everybody begins anew.
        let was_deaf = name == self.own && self.heard.get(name).is_some_and(|last| now - *last > 2 * BEAT);
        if was_deaf {
            self.heard.values_mut().for_each(|last| *last = now);
        }
        self.heard.insert(name.to_owned(), now);
        Some(name)
    }

    /// Gives an owner that was not heard yet its time.
    pub fn expect(&mut self, owner: &str, now: Instant) {
        if !self.is_ours(owner) {
            self.heard.entry(owner.to_owned()).or_insert(now);
        }
    }

    /// Whether an owner is gone. Only who hears of itself can tell: otherwise it is the store that is away.
    pub fn is_gone(&self, owner: &str) -> bool {
        let (Some(own), Some(last)) = (self.heard.get(&self.own), self.heard.get(owner)) else { return false };
        own.saturating_duration_since(*last) > SILENCE
    }
}

#[cfg(test)]
mod tests {
    use store::Memory;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_gone_unless_nobody_could_be_heard() {
        let store: Arc<dyn Store> = Arc::new(Memory::shared());
        let mut sharing = Sharing::new(&store, "a");
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        sharing.hear("replica/a", at(0));
        sharing.hear("replica/b", at(0));
        for beat in 1..=3 {
            sharing.hear("replica/a", at(10 * beat));
            assert!(!sharing.is_gone("b"));
        }
        sharing.hear("replica/a", at(40));
        assert!(sharing.is_gone("b"));
        sharing.hear("replica/b", at(41));
        assert!(!sharing.is_gone("b"));
        // The store was away for long: b may have been silenced by that.
        sharing.hear("replica/a", at(200));
        assert!(!sharing.is_gone("b"));
    }
}
