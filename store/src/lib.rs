//! Keeps bytes under keys, durably, with a revision per change. Knows nothing of what the bytes mean.
//!
//! Keys are paths such as `config/default/VirtualService/reviews`; a prefix ending in `/` names everything below it.

#[cfg(test)]
mod conformance;
mod etcd;
mod memory;
mod sled;

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub use self::etcd::{Etcd, EtcdAddress, EtcdTls};
pub use self::memory::Memory;
pub use self::sled::Sled;

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Bytes,
    /// The store-wide revision of the transaction that wrote this value; at least 1.
    pub revision: u64,
}

/// Everything under a prefix, in key order, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<Entry>,
    pub revision: u64,
}

/// As many changes as every store makes together.
pub const ATOMIC: usize = 1000;

/// A set of changes made together or not at all. A key that is both put and deleted is put. A set without conditions of
/// more than [`ATOMIC`] changes may be made in parts, by a store that cannot do otherwise.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Each key must be at this revision (0: absent) for the transaction to happen.
    pub expect: Vec<(String, u64)>,
    pub put: Vec<(String, Bytes)>,
    pub delete: Vec<String>,
}

/// One change, as watchers see it: the new value, or `None` for a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub value: Option<Bytes>,
    pub revision: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of the transaction did not hold; nothing was written.
    #[error("{key} is at revision {found}, not {expected}: it was changed meanwhile; read it again and retry")]
    Conflict { key: String, expected: u64, found: u64 },
    /// Another process has the store open.
    #[error("{path} is in use by another process; stop it, or give another --data-dir")]
    Locked { path: String },
    #[error("the store at {path} failed: {cause}")]
    Broken { path: String, cause: String },
}

pub type ChangeStream = Pin<Box<dyn Stream<Item = Change> + Send>>;

/// Where durable state is kept.
#[async_trait]
pub trait Store: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Makes the changes and returns their revision. When it returns, they survive the end of the process.
    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError>;

    /// Every change under a prefix from now on, in order. Subscribe first, then `list`, and skip changes at or below
    /// the listing's revision.
    fn watch(&self, prefix: &str) -> ChangeStream;

    /// For how long nothing was heard of what others change; zero where nothing stands between.
    fn behind(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether other processes may change it too.
    fn is_shared(&self) -> bool {
        false
    }
}

impl Transaction {
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { put: vec![(key.into(), value.into())], ..Self::default() }
    }

    pub fn delete(key: impl Into<String>) -> Self {
        Self { delete: vec![key.into()], ..Self::default() }
    }

    /// Adds the condition that a key is at `revision` (0: absent).
    pub fn expecting(mut self, key: impl Into<String>, revision: u64) -> Self {
        self.expect.push((key.into(), revision));
        self
    }
}
