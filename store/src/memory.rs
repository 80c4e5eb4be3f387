//! A store that lives as long as its process: for tests, and for roles that keep nothing.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{Change, ChangeStream, Entry, Listing, Store, StoreError, Transaction};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
    is_shared: bool,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, (Bytes, u64)>,
    watchers: Vec<(String, mpsc::UnboundedSender<Change>)>,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// One that says that others change it too.
    pub fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.state.lock().entries.get(key).map(|value| entry(key, value)))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let state = self.state.lock();
        let below = state.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(Listing { entries: below.map(|(key, value)| entry(key, value)).collect(), revision: state.revision })
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        self.state.lock().commit(transaction)
    }

    fn watch(&self, prefix: &str) -> ChangeStream {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state.lock().watchers.push((prefix.to_owned(), sender));
        UnboundedReceiverStream::new(receiver).boxed()
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }
}

impl State {
    fn commit(&mut self, transaction: Transaction) -> Result<u64, StoreError> {
        for (key, expected) in transaction.expect {
            let found = self.entries.get(&key).map_or(0, |(_, revision)| *revision);
            if found != expected {
                return Err(StoreError::Conflict { key, expected, found });
            }
        }
        self.revision += 1;
        let revision = self.revision;
        for key in transaction.delete {
            let is_put = transaction.put.iter().any(|(put, _)| *put == key);
            if !is_put && self.entries.remove(&key).is_some() {
                self.tell(Change { key, value: None, revision });
            }
        }
        for (key, value) in transaction.put {
            self.entries.insert(key.clone(), (value.clone(), revision));
            self.tell(Change { key, value: Some(value), revision });
        }
        Ok(revision)
    }

    fn tell(&mut self, change: Change) {
        self.watchers.retain(|(prefix, watcher)| {
            if change.key.starts_with(prefix) { watcher.send(change.clone()).is_ok() } else { !watcher.is_closed() }
        });
    }
}

fn entry(key: &str, (value, revision): &(Bytes, u64)) -> Entry {
    Entry { key: key.to_owned(), value: value.clone(), revision: *revision }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_a_store() {
        crate::conformance::suite(&Memory::new()).await;
    }

    #[tokio::test]
    async fn a_transaction_whose_condition_fails_changes_nothing() {
        let store = Memory::new();
        let first = store.commit(Transaction::put("a/1", "one").expecting("a/1", 0)).await.unwrap();
        let refused = store.commit(Transaction::put("a/1", "two").expecting("a/1", 0)).await;
        assert!(matches!(refused, Err(StoreError::Conflict { found, .. }) if found == first));
        assert_eq!(store.get("a/1").await.unwrap().unwrap().value, "one");
    }

    #[tokio::test]
    async fn watchers_see_changes_under_their_prefix_in_order() {
        let store = Memory::new();
        let changes = store.watch("a/");
        store.commit(Transaction::put("b/1", "other")).await.unwrap();
        store.commit(Transaction::put("a/1", "one")).await.unwrap();
        store.commit(Transaction::delete("a/1")).await.unwrap();
        let seen: Vec<_> = changes.take(2).map(|change| (change.key, change.value)).collect().await;
        assert_eq!(seen, [("a/1".to_owned(), Some(Bytes::from("one"))), ("a/1".to_owned(), None)]);
        assert_eq!(store.list("b/").await.unwrap().entries.len(), 1);
    }
}
