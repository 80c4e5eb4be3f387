//! Follows all registries, and publishes the catalog that their news make.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Catalog, Merger, RegistryState};
use crate::source::Registry;

/// How the catalog treats a registry that is out of reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// What it told is taken out after that long; never, where none is given.
    pub forget_after: Option<Duration>,
}

/// Events that are published together, where so many are ready.
const BATCH: usize = 1024;

/// Follows all registries and publishes each change of the merged catalog, until their streams end.
pub async fn run(registries: Vec<Arc<dyn Registry>>, policy: Policy, publish: watch::Sender<Arc<Catalog>>) {
    let mut merger = Merger::new(registries.iter().map(|registry| registry.name()));
    let mut lost: Vec<Option<Instant>> = vec![None; registries.len()];
    let streams =
        registries.iter().enumerate().map(|(index, registry)| registry.watch().map(move |event| (index, event)));
    let mut events = futures_util::stream::select_all(streams.map(Box::pin)).ready_chunks(BATCH);
    loop {
        let due = policy.forget_after.and_then(|after| lost.iter().flatten().min()?.checked_add(after));
        let mut changed = false;
        tokio::select! {
            batch = events.next() => {
                let Some(batch) = batch else { return };
                merger.at(unix_seconds());
                for (index, event) in batch {
                    changed |= merger.apply(index, event);
                }
                note_losses(merger.catalog(), &mut lost);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                for (index, since) in lost.iter_mut().enumerate() {
                    if since.zip(policy.forget_after).is_some_and(|(since, after)| since.elapsed() >= after) {
                        *since = None;
                        changed |= merger.forget(index);
                    }
                }
            }
        }
        if changed {
            publish.send_replace(Arc::new(merger.catalog().clone()));
        }
    }
}

/// When each registry was lost that is out of reach and counts still.
fn note_losses(catalog: &Catalog, lost: &mut [Option<Instant>]) {
    for (status, since) in catalog.registries.iter().zip(lost) {
        match (&status.state, status.forgotten) {
            (RegistryState::Stale(_), false) => _ = since.get_or_insert_with(Instant::now),
            _ => *since = None,
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
