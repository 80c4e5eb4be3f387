//! Writes the status of a cluster's objects: only where it would change, and never twice the same, so that two who
//! write do not overwrite each other for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use registry::kubernetes::{WriteError, now};
use registry::{Catalog, ServiceKey};
use serde_json::json;
use tokio::sync::watch;

use super::status::Report;
use super::{Attached, Seen};
use crate::diagnostic::Diagnostic;
use crate::object::ObjectKey;

/// How long changes are gathered before anything is written.
const QUIET: Duration = Duration::from_millis(100);
/// When a write that was refused is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What was written last of each object, by its uid.
type Written = BTreeMap<ObjectKey, (String, Report)>;

/// Until the galley or the catalog is gone.
pub(super) async fn run(attached: Arc<Attached>, mut catalog: watch::Receiver<Arc<Catalog>>) {
    let mut snapshots = attached.galley.snapshots();
    let mut written = Written::new();
    let mut refused = false;
    loop {
        let known = catalog.borrow_and_update().clone();
        let services = services_of(&known);
        let ready = known.synced() && !known.registries.is_empty() && attached.galley.is_synced();
        snapshots.borrow_and_update();
        if ready {
            refused = write(&attached, &services, &mut written).await;
        }
        // Endpoints come and go without changing anything that is said here.
        let services_changed = async {
            while catalog.changed().await.is_ok() {
                let known = catalog.borrow_and_update().clone();
                if !ready || services_of(&known) != services {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = attached.news.notified() => {}
            changed = snapshots.changed() => if changed.is_err() { return },
            () = services_changed => {}
            () = tokio::time::sleep(AGAIN), if refused => {}
        }
        tokio::time::sleep(QUIET).await;
    }
}

fn services_of(catalog: &Catalog) -> BTreeSet<ServiceKey> {
    catalog.entries().map(|entry| entry.service.key.clone()).collect()
}

/// Writes what is not said yet; true if the server refused any of it.
async fn write(attached: &Attached, services: &BTreeSet<ServiceKey>, written: &mut Written) -> bool {
    let mut across: BTreeMap<ObjectKey, Vec<Diagnostic>> = BTreeMap::new();
    for found in attached.galley.analyse(services) {
        across.entry(found.object).or_default().push(found.diagnostic);
    }
    let seen = attached.seen.lock().clone();
    written.retain(|key, (uid, _)| seen.get(key).is_some_and(|seen| seen.uid == *uid));
    let mut refused = false;
    for (key, seen) in seen {
        let Some(verdict) = attached.galley.shared.state.lock().verdict(&key) else { continue };
        let report = Report::new(seen.generation, &verdict, across.get(&key).map_or(&[], Vec::as_slice));
        let Some(status) = report.status(&seen.status, &now()) else { continue };
        if written.get(&key).is_some_and(|(_, before)| *before == report) {
            tracing::debug!(cluster = &*attached.name, "{key}: somebody else changed its status; left as it is");
            continue;
        }
        match write_one(attached, &key, &seen, status).await {
            Ok(()) => {
                written.insert(key, (seen.uid, report));
            }
            Err(WriteError::Outdated) => {}
            Err(WriteError::Refused(why)) => {
                refused = true;
                tracing::warn!(cluster = &*attached.name, "the status of {key} cannot be written: {why}");
            }
        }
    }
    refused
}

async fn write_one(
    attached: &Attached,
    key: &ObjectKey,
    seen: &Seen,
    status: serde_json::Value,
) -> Result<(), WriteError> {
    let body = json!({ "metadata": { "resourceVersion": seen.resource_version }, "status": status });
    attached.cluster.write_status(&seen.collection, &key.name, &body).await
}
