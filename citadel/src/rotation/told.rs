//! What holders of certificates said that they trust, in a store that several control planes share: each holder tells the
//! one that it is connected to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store::{ATOMIC, Store, StoreError, Transaction};

use super::Holder;
use crate::ledger::unreadable;
use crate::sha256;

const PREFIX: &str = "ca/trusted/";

#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    holder: Holder,
    /// SHA-256 of each root, in hexadecimal.
    roots: BTreeSet<String>,
}

/// Writes it down, unless it is known.
pub async fn keep(store: &Arc<dyn Store>, holder: &Holder, roots: BTreeSet<String>) -> Result<(), StoreError> {
    let key = format!("{PREFIX}{}", sha256(holder.to_string().as_bytes()));
    let record = Record { holder: holder.clone(), roots };
    let known = store.get(&key).await?.and_then(|entry| serde_json::from_slice(&entry.value).ok());
    if known.as_ref() == Some(&record) {
        return Ok(());
    }
    let value = serde_json::to_vec(&record).map_err(|error| unreadable(&key, &error))?;
    store.commit(Transaction::put(key, value)).await.map(drop)
}

/// By holder, of those that count; the others are forgotten.
pub async fn of(
    store: &Arc<dyn Store>,
    counts: impl Fn(&Holder) -> bool,
) -> Result<BTreeMap<Holder, BTreeSet<String>>, StoreError> {
    let (mut told, mut over) = (BTreeMap::new(), Vec::new());
    for entry in store.list(PREFIX).await?.entries {
        match serde_json::from_slice::<Record>(&entry.value) {
            Ok(record) if counts(&record.holder) => drop(told.insert(record.holder, record.roots)),
            _ => over.push(entry.key),
        }
    }
    over.truncate(ATOMIC);
    if !over.is_empty() {
        store.commit(Transaction { delete: over, ..Transaction::default() }).await?;
    }
    Ok(told)
}
