//! The log of issued certificates, in the store under `cert/<serial>`, until they expire.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use runtime::Clock;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use crate::anchor::Anchor;
use crate::sha256;

const PREFIX: &str = "cert/";

/// One certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    #[serde(skip)]
    pub serial: String,
    pub identity: String,
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds.
    pub not_after: u64,
    pub attested_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The serial number of the certificate that a join without membership got, from which this one was renewed; itself
    /// if it is that one. None for members, and in entries of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// From where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// SHA-256 of the root above it, in hexadecimal; empty in entries of before.
    #[serde(default)]
    pub root: String,
    /// SHA-256 of that root's name and key, in hexadecimal, which outlive its dates; empty in entries of before.
    #[serde(default)]
    pub anchor: String,
    /// SHA-256 of the certificate, in hexadecimal; empty in entries of before.
    #[serde(default)]
    pub fingerprint: String,
    /// The name of the authority that signed it; empty in entries of before.
    #[serde(default)]
    pub issuer: String,
}

impl LedgerEntry {
    /// What tells apart the holders of one identity that are no members; an entry of before begins a lineage.
    pub fn lineage(&self) -> Option<&str> {
        match self.member {
            Some(_) => None,
            None => Some(self.lineage.as_deref().unwrap_or(&self.serial)),
        }
    }

    /// The serial number of the certificate that it was renewed from, if it was.
    pub(crate) fn renews(&self) -> Option<&str> {
        self.attested_by.strip_prefix("certificate ")?.split(',').next()
    }

    /// Whether the root above it is one of these, told by [`pins`].
    pub(crate) fn is_under(&self, roots: &BTreeSet<String>) -> bool {
        roots.contains(&self.anchor) || roots.contains(&self.root)
    }
}

/// Of each root what an entry may have of it.
pub(crate) fn pins<'a>(roots: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> BTreeSet<String> {
    roots.into_iter().flat_map(|root| [sha256(root), Anchor::of(root).pin()]).collect()
}

/// Reads and writes the log.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Ledger {
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.unix_seconds()
    }

    pub(crate) async fn enter(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let value = serde_json::to_vec(entry).map_err(|error| unreadable(&entry.serial, &error))?;
        self.store.commit(Transaction::put(format!("{PREFIX}{}", entry.serial), value)).await?;
        Ok(())
    }

    /// The entry of a serial number, if it was issued and not pruned.
    pub async fn entry(&self, serial: &str) -> Result<Option<LedgerEntry>, StoreError> {
        let entry = self.store.get(&format!("{PREFIX}{serial}")).await?;
        entry.map(|entry| parse(&entry.key, &entry.value)).transpose()
    }

    /// The certificates that were issued and not pruned, by serial number.
    pub async fn entries(&self) -> Result<Vec<LedgerEntry>, StoreError> {
        let listing = self.store.list(PREFIX).await?;
        listing.entries.iter().map(|entry| parse(&entry.key, &entry.value)).collect()
    }

    /// Forgets expired certificates; returns how many.
    pub async fn prune(&self) -> Result<usize, StoreError> {
        let now = self.clock.unix_seconds();
        let expired = self.entries().await?.into_iter().filter(|entry| entry.not_after < now);
        let delete: Vec<String> = expired.map(|entry| format!("{PREFIX}{}", entry.serial)).collect();
        let count = delete.len();
        if count > 0 {
            self.store.commit(Transaction { delete, ..Transaction::default() }).await?;
        }
        Ok(count)
    }
}

fn parse(key: &str, value: &[u8]) -> Result<LedgerEntry, StoreError> {
    let entry: LedgerEntry = serde_json::from_slice(value).map_err(|error| unreadable(key, &error))?;
    Ok(LedgerEntry { serial: key.trim_start_matches(PREFIX).to_owned(), ..entry })
}

/// The store's answer when a record of ours is not what we wrote.
pub(crate) fn unreadable(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Broken { path: key.to_owned(), cause: format!("the record cannot be read: {error}") }
}
