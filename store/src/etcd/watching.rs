//! Every change below a prefix, in order and none left out, however often the connection breaks.
//!
//! After a break the watch goes on behind the last change. Where etcd has compacted what came since, everything is read
//! anew, and what is different is told as if it had just changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use etcd_client::{Error, Event, EventType, GetOptions, WatchOptions, WatchResponse};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::call::{FIRST_PAUSE, LONGEST_PAUSE, explained};
use super::{LARGEST, Shared, number};
use crate::{Change, ChangeStream, StoreError};

pub(super) fn watch(shared: Arc<Shared>, prefix: &str) -> ChangeStream {
    let last = shared.seen.load(Ordering::Acquire);
    let (watch, stream) = Watch::at(shared, prefix, last);
    tokio::spawn(watch.run());
    stream
}

pub(super) struct Watch {
    shared: Arc<Shared>,
    prefix: String,
    /// The revision up to which everything was told.
    last: u64,
    /// The keys that are there as of then: a compaction does not say which went.
    known: BTreeSet<String>,
    changes: UnboundedSender<Change>,
    /// Its number among those that may be cut off.
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.deaf.hears(self.number);
    }
}

/// Why a watch does not go on.
enum End {
    /// Nobody listens any more.
    Unheard,
    /// The connection broke, or was not made.
    Broken(String),
    /// What comes next was compacted.
    Compacted,
}

impl Watch {
    /// A watch to which everything up to a revision was told.
    pub fn at(shared: Arc<Shared>, prefix: &str, last: u64) -> (Self, ChangeStream) {
        let (changes, stream) = unbounded_channel();
        let number = shared.deaf.number();
        let watch = Self { shared, prefix: prefix.to_owned(), last, known: BTreeSet::new(), changes, number };
        (watch, Box::pin(UnboundedReceiverStream::new(stream)))
    }

    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut begun = false;
        let changes = self.changes.clone();
        loop {
            let before = self.last;
            if !begun {
                begun = self.learn_keys().await;
            }
            let end = tokio::select! {
                end = self.follow() => end,
                () = changes.closed() => return,
            };
            let failure = match end {
                End::Unheard => return,
                End::Compacted => match self.read_anew().await {
                    Ok(()) => None,
                    Err(error) => Some(error.to_string()),
                },
                End::Broken(why) => Some(why),
            };
            if self.last > before {
                pause = FIRST_PAUSE;
            }
            if let Some(why) = failure {
                self.shared.deaf.is_cut(self.number);
                tracing::warn!(store = self.shared.place, prefix = self.prefix, "the watch is begun again: {why}");
                tokio::select! {
                    () = sleep(pause) => {}
                    () = changes.closed() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// What is there at the beginning; false if etcd does not say.
    pub async fn learn_keys(&mut self) -> bool {
        let revision = i64::try_from(self.last).unwrap_or_default();
        let options = GetOptions::new().with_prefix().with_keys_only().with_revision(revision);
        let answer = self.shared.kv().get(self.shared.key(&self.prefix), Some(options)).await;
        let Ok(answer) = answer else { return false };
        let keys = answer.kvs().iter().filter_map(|kv| self.shared.entry(kv).ok());
        self.known.extend(keys.map(|entry| entry.key));
        true
    }

    async fn follow(&mut self) -> End {
        match self.follow_until_broken().await {
            Ok(end) => end,
            Err(error) => End::Broken(explained(&error)),
        }
    }

    async fn follow_until_broken(&mut self) -> Result<End, Error> {
        let next = i64::try_from(self.last + 1).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(next).with_progress_notify();
        let mut client = self.shared.client.watch_client().max_decoding_message_size(LARGEST);
        let mut stream = client.watch(self.shared.key(&self.prefix), Some(options)).await?;
        while let Some(answer) = stream.message().await? {
            if answer.compact_revision() > 0 {
                return Ok(End::Compacted);
            }
            if answer.canceled() {
                return Ok(End::Broken(format!("etcd ended it: {}", answer.cancel_reason())));
            }
            self.shared.deaf.hears(self.number);
            if !self.take(&answer) {
                return Ok(End::Unheard);
            }
        }
        Ok(End::Broken("the connection ended".into()))
    }

    /// Tells what an answer holds; false if nobody listens.
    fn take(&mut self, answer: &WatchResponse) -> bool {
        let told = answer.events().iter().filter_map(|event| self.change(event)).collect::<Vec<_>>();
        // Only an answer without changes says how far the watch is: one with some may be followed by more of before.
        if let Some(header) = answer.header().filter(|_| !answer.created() && told.is_empty()) {
            self.last = self.last.max(number(header.revision()));
            self.shared.saw(self.last);
        }
        told.into_iter().all(|change| self.tell(change))
    }

    fn change(&self, event: &Event) -> Option<Change> {
        let entry = self.shared.entry(event.kv()?).ok()?;
        let value = (event.event_type() == EventType::Put).then_some(entry.value);
        Some(Change { key: entry.key, value, revision: entry.revision })
    }

    fn tell(&mut self, change: Change) -> bool {
        match change.value {
            Some(_) => self.known.insert(change.key.clone()),
            None => self.known.remove(&change.key),
        };
        self.last = self.last.max(change.revision);
        self.shared.saw(change.revision);
        self.changes.send(change).is_ok()
    }

    async fn read_anew(&mut self) -> Result<(), StoreError> {
        let listing = self.shared.list(&self.prefix).await?;
        let there: BTreeSet<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        let gone: Vec<String> = self.known.iter().filter(|key| !there.contains(key.as_str())).cloned().collect();
        let last = self.last;
        for key in gone {
            self.tell(Change { key, value: None, revision: listing.revision });
        }
        let mut newer: Vec<_> = listing.entries.into_iter().filter(|entry| entry.revision > last).collect();
        newer.sort_by_key(|entry| entry.revision);
        for entry in newer {
            self.tell(Change { key: entry.key, value: Some(entry.value), revision: entry.revision });
        }
        self.last = self.last.max(listing.revision);
        Ok(())
    }
}
