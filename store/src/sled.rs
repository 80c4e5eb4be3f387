//! The store on one machine's disk: sled, flushed before a change is acknowledged.
//!
//! One writer at a time gives every transaction the next revision; watchers are told in that order.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{Change, ChangeStream, Entry, Listing, Store, StoreError, Transaction};

/// The name of the tree that holds the store's own facts, and of the facts.
const META: &str = "weft-meta";
const REVISION: &str = "revision";
const SCHEMA: &str = "schema";
/// How values are laid out: eight bytes of revision, then the value.
const SCHEMA_VERSION: &[u8] = b"1";

/// A directory that one process has open.
pub struct Sled {
    path: String,
    db: sled::Db,
    meta: sled::Tree,
    revision: AtomicU64,
    /// Held while a transaction or a listing runs.
    turn: tokio::sync::Mutex<()>,
    watchers: Mutex<Vec<(String, mpsc::UnboundedSender<Change>)>>,
}

impl Sled {
    /// Opens or makes the store in a directory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().display().to_string();
        let broken = |error: sled::Error| failure(&path, &error);
        let db = sled::Config::new().path(&path).open().map_err(broken)?;
        let meta = db.open_tree(META).map_err(broken)?;
        check_schema(&path, &meta)?;
        let revision = match meta.get(REVISION).map_err(broken)? {
            Some(bytes) => number(&path, &bytes)?,
            None => 0,
        };
        Ok(Self {
            path,
            db,
            meta,
            revision: revision.into(),
            turn: tokio::sync::Mutex::default(),
            watchers: Mutex::default(),
        })
    }

    fn broken(&self, error: sled::Error) -> StoreError {
        failure(&self.path, &error)
    }

    fn entry(&self, key: &str, stored: &[u8]) -> Result<Entry, StoreError> {
        let (revision, value) = stored.split_at_checked(8).ok_or_else(|| damaged(&self.path))?;
        Ok(Entry { key: key.to_owned(), value: Bytes::copy_from_slice(value), revision: number(&self.path, revision)? })
    }

    fn stored(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let stored = self.db.get(key).map_err(|error| self.broken(error))?;
        stored.map(|stored| self.entry(key, &stored)).transpose()
    }

    fn check_expectations(&self, transaction: &Transaction) -> Result<(), StoreError> {
        for (key, expected) in &transaction.expect {
            let found = self.stored(key)?.map_or(0, |entry| entry.revision);
            if found != *expected {
                return Err(StoreError::Conflict { key: key.clone(), expected: *expected, found });
            }
        }
        Ok(())
    }

    /// Writes values and revision together. The keys that were really deleted come back.
    fn write(&self, transaction: &Transaction, revision: u64) -> Result<Vec<String>, StoreError> {
        let outcome = (&*self.db, &self.meta).transaction(|(data, meta)| {
            let mut deleted = Vec::new();
            for key in &transaction.delete {
                if data.remove(key.as_bytes())?.is_some() {
                    deleted.push(key.clone());
                }
            }
            for (key, value) in &transaction.put {
                data.insert(key.as_bytes(), [&revision.to_be_bytes(), &value[..]].concat())?;
            }
            meta.insert(REVISION, &revision.to_be_bytes())?;
            Ok::<_, ConflictableTransactionError<()>>(deleted)
        });
        outcome.map_err(|error| match error {
            TransactionError::Storage(error) => self.broken(error),
            TransactionError::Abort(()) => damaged(&self.path),
        })
    }

    fn tell(&self, change: &Change) {
        self.watchers.lock().retain(|(prefix, watcher)| {
            if change.key.starts_with(prefix.as_str()) {
                watcher.send(change.clone()).is_ok()
            } else {
                !watcher.is_closed()
            }
        });
    }
}

#[async_trait]
impl Store for Sled {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.stored(key)
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let _turn = self.turn.lock().await;
        let mut entries = Vec::new();
        for pair in self.db.scan_prefix(prefix) {
            let (key, stored) = pair.map_err(|error| self.broken(error))?;
            let key = std::str::from_utf8(&key).map_err(|_| damaged(&self.path))?;
            entries.push(self.entry(key, &stored)?);
        }
        Ok(Listing { entries, revision: self.revision.load(Ordering::Acquire) })
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let _turn = self.turn.lock().await;
        self.check_expectations(&transaction)?;
        let revision = self.revision.load(Ordering::Acquire) + 1;
        let deleted = self.write(&transaction, revision)?;
        // Taken as soon as it is written: a caller who gives up during the flush must not see it given out twice.
        self.revision.store(revision, Ordering::Release);
        for key in deleted {
            if !transaction.put.iter().any(|(put, _)| *put == key) {
                self.tell(&Change { key, value: None, revision });
            }
        }
        for (key, value) in transaction.put {
            self.tell(&Change { key, value: Some(value), revision });
        }
        self.db.flush_async().await.map_err(|error| self.broken(error))?;
        Ok(revision)
    }

    fn watch(&self, prefix: &str) -> ChangeStream {
        let (tx, rx) = mpsc::unbounded_channel();
        self.watchers.lock().push((prefix.to_owned(), tx));
        Box::pin(UnboundedReceiverStream::new(rx))
    }
}

fn check_schema(path: &str, meta: &sled::Tree) -> Result<(), StoreError> {
    let found = meta.get(SCHEMA).map_err(|error| failure(path, &error))?;
    match found {
        Some(version) if version == SCHEMA_VERSION => Ok(()),
        Some(version) => {
            let version = String::from_utf8_lossy(&version).into_owned();
            Err(broken(path, format!("it is laid out in version {version}, which this build does not know")))
        }
        None => meta.insert(SCHEMA, SCHEMA_VERSION).map(|_| ()).map_err(|error| failure(path, &error)),
    }
}

fn number(path: &str, bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged(path))
}

fn damaged(path: &str) -> StoreError {
    broken(path, "a stored value is damaged".into())
}

fn broken(path: &str, cause: String) -> StoreError {
    StoreError::Broken { path: path.to_owned(), cause }
}

fn failure(path: &str, error: &sled::Error) -> StoreError {
    let cause = error.to_string();
    if cause.contains("could not acquire lock") {
        return StoreError::Locked { path: path.to_owned() };
    }
    broken(path, cause)
}

#[cfg(test)]
mod tests;
