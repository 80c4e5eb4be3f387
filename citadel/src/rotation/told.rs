//! What holders of certificates said that they trust, in a store that several control planes share: each holder tells the
//! one that it is connected to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use super::Holder;
use crate::ledger::unreadable;
use crate::sha256;

const PREFIX: &str = "ca/trusted/";
/// So many are forgotten at a time: etcd takes 128 conditions.
const MOST: usize = 100;

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    holder: Holder,
    /// SHA-256 of each root, in hexadecimal.
    roots: BTreeSet<String>,
}

/// Writes it down, unless it is known.
pub async fn keep(store: &Arc<dyn Store>, holder: &Holder, roots: BTreeSet<String>) -> Result<(), StoreError> {
    // Words for people have the lineage in short.
    let name = [&holder.to_string(), holder.lineage.as_deref().unwrap_or_default()].concat();
    let key = format!("{PREFIX}{}", sha256(name.as_bytes()));
    let record = Record { holder: holder.clone(), roots };
    let known = store.get(&key).await?.and_then(|entry| serde_json::from_slice(&entry.value).ok());
    if known.as_ref() == Some(&record) {
        return Ok(());
    }
    let value = serde_json::to_vec(&record).map_err(|error| unreadable(&key, &error))?;
    store.commit(Transaction::put(key, value)).await.map(drop)
}

/// What is kept under a key; `None` is none of ours.
pub struct Kept {
    key: String,
    revision: u64,
    record: Option<Record>,
}

impl Kept {
    pub fn is_of<T>(&self, holders: &BTreeMap<Holder, T>) -> bool {
        self.record.as_ref().is_some_and(|record| holders.contains_key(&record.holder))
    }

    pub fn told(self) -> Option<(Holder, BTreeSet<String>)> {
        self.record.map(|record| (record.holder, record.roots))
    }
}

pub async fn all(store: &Arc<dyn Store>) -> Result<Vec<Kept>, StoreError> {
    let kept = |entry: store::Entry| Kept {
        record: serde_json::from_slice(&entry.value).ok(),
        revision: entry.revision,
        key: entry.key,
    };
    Ok(store.list(PREFIX).await?.entries.into_iter().map(kept).collect())
}

/// Forgets what is as it was read; what was told anew meanwhile stays, and all else until the next time.
pub async fn forget(store: &Arc<dyn Store>, mut over: Vec<Kept>) -> Result<(), StoreError> {
    over.truncate(MOST);
    if over.is_empty() {
        return Ok(());
    }
    let expect = over.iter().map(|kept| (kept.key.clone(), kept.revision)).collect();
    let delete = over.into_iter().map(|kept| kept.key).collect();
    match store.commit(Transaction { expect, delete, ..Transaction::default() }).await {
        Err(StoreError::Conflict { .. }) => Ok(()),
        done => done.map(drop),
    }
}
