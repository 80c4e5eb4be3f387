//! The keys that verify tokens, in the store under `jwt-key/<key id>`: of this control plane and of all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{ChangeStream, Store, StoreError, Transaction};
use tokio_stream::StreamExt as _;

use super::key::{PublicKey, SigningKey};
use super::schedule;
use crate::ledger::unreadable;

const PREFIX: &str = "jwt-key/";

/// The keys that verify, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtKeys(BTreeMap<String, PublicKey>);

impl JwtKeys {
    /// A set of keys (RFC 7517), as the Workload API and OpenID Connect have it.
    pub fn jwks(&self) -> serde_json::Value {
        let with_use = |key: &PublicKey| {
            let mut key = json!(key);
            (key["use"], key["alg"]) = ("sig".into(), "ES256".into());
            key
        };
        json!({ "keys": self.0.values().map(with_use).collect::<Vec<_>>() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }
}

/// A key as it is kept.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    key: PublicKey,
    /// Unix seconds.
    until: u64,
}

pub struct Published(Arc<dyn Store>);

/// Changes that others, or this one, made.
pub struct Changes(ChangeStream);

impl Changes {
    /// Returns after a change; never once there will be no more.
    pub async fn next(&mut self) {
        if self.0.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl Published {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    pub fn changes(&self) -> Changes {
        Changes(self.0.watch(PREFIX))
    }

    /// Tells of these keys, forgets what nothing needs any more, and returns the keys of all.
    pub async fn renew(&self, own: &[Arc<SigningKey>], now: u64) -> Result<JwtKeys, StoreError> {
        let (mut known, mut change) = (BTreeMap::new(), Transaction::default());
        for entry in self.0.list(PREFIX).await?.entries {
            let record: Record =
                serde_json::from_slice(&entry.value).map_err(|error| unreadable(&entry.key, &error))?;
            if record.until <= now {
                change.delete.push(entry.key);
            } else {
                known.insert(record.key.kid.clone(), record.key);
            }
        }
        for key in own {
            if known.contains_key(key.id()) {
                continue;
            }
            let record = Record { key: key.public(), until: schedule::until(key.created()) };
            let place = format!("{PREFIX}{}", key.id());
            let value = serde_json::to_vec(&record).map_err(|error| unreadable(&place, &error))?;
            change.put.push((place, value.into()));
            known.insert(record.key.kid.clone(), record.key);
        }
        if !change.put.is_empty() || !change.delete.is_empty() {
            self.0.commit(change).await?;
        }
        Ok(JwtKeys(known))
    }
}
