//! The last good state of a cluster's objects, kept in the store: a control plane that starts while the API server is
//! out of reach must not start without the policies that are held there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use store::Transaction;

use super::Attached;
use crate::kind::Kind;
use crate::object::ObjectKey;
use crate::state::{Loaded, Written};

/// What is stored of an object.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Layout of this record.
    v: u32,
    created: u64,
    revision: u64,
    manifest: Json,
}

/// What the store holds; none for an object that this build cannot take.
pub(super) type Kept = BTreeMap<ObjectKey, Option<Arc<Loaded>>>;

/// How long is waited after a write, so that the changes of a busy time are stored together.
const GATHER: Duration = Duration::from_millis(100);

/// Puts in force what was known of the cluster before.
pub(super) async fn recall(attached: &Attached) -> Kept {
    let store = &attached.galley.shared.options.store;
    let listing = match store.list(&prefix(attached)).await {
        Ok(listing) => listing,
        Err(error) => {
            tracing::error!(cluster = &*attached.name, %error, "what was known of its objects cannot be read");
            return Kept::new();
        }
    };
    let mut kept = Kept::new();
    attached.galley.shared.change(|state| {
        for entry in &listing.entries {
            let Some(key) = key_of(&entry.key, &prefix(attached)) else { continue };
            if let Some(record) = read(&entry.value) {
                let written = Written { manifest: record.manifest, created: record.created, revision: record.revision };
                state.recall(&key, &attached.name, written);
            }
            kept.insert(key, None);
        }
        for (key, good) in state.in_cluster() {
            kept.insert(key.clone(), good.cloned());
        }
        !kept.is_empty()
    });
    kept
}

/// Stores what changes. The first change after a quiet time is stored at once: the process may end at any moment.
pub(super) async fn keep(attached: &Attached, mut kept: Kept) {
    loop {
        attached.changed.notified().await;
        let now: Kept = {
            let state = attached.galley.shared.state.lock();
            state.in_cluster().map(|(key, good)| (key.clone(), good.cloned())).collect()
        };
        let transaction = difference(&prefix(attached), &kept, &now);
        if transaction.put.is_empty() && transaction.delete.is_empty() {
            continue;
        }
        match attached.galley.shared.options.store.commit(transaction).await {
            Ok(_) => kept = now,
            Err(error) => {
                let cluster = &*attached.name;
                tracing::error!(cluster, %error, "its objects cannot be stored; a restart may not know all of them");
            }
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// An object that is there and was never good is left as it is stored.
fn difference(prefix: &str, kept: &Kept, now: &Kept) -> Transaction {
    let gone = kept.keys().filter(|key| !now.contains_key(*key));
    let mut transaction = Transaction { delete: gone.map(|key| path(prefix, key)).collect(), ..Transaction::default() };
    for (key, good) in now {
        let Some(good) = good else { continue };
        let is_kept = kept.get(key).and_then(Option::as_ref).is_some_and(|known| Arc::ptr_eq(known, good));
        if !is_kept && let Some(value) = record(good) {
            transaction.put.push((path(prefix, key), value));
        }
    }
    transaction
}

fn record(good: &Loaded) -> Option<Bytes> {
    let object = &good.object;
    let (created, revision, manifest) = (object.created, object.revision, object.manifest.clone());
    serde_json::to_vec(&Record { v: 1, created, revision, manifest }).ok().map(Bytes::from)
}

fn read(value: &[u8]) -> Option<Record> {
    serde_json::from_slice(value).ok().filter(|record: &Record| record.v == 1)
}

/// The name of a Kubernetes context may hold a slash, and one cluster's objects must not be read as another's.
fn prefix(attached: &Attached) -> String {
    format!("known-objects/{}/", attached.name.replace('%', "%25").replace('/', "%2F"))
}

fn path(prefix: &str, key: &ObjectKey) -> String {
    format!("{prefix}{}/{}/{}", key.namespace, key.kind, key.name)
}

fn key_of(path: &str, prefix: &str) -> Option<ObjectKey> {
    let mut parts = path.strip_prefix(prefix)?.splitn(3, '/');
    let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(ObjectKey::new(Kind::named(kind)?, namespace, name))
}
