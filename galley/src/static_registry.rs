//! The registry `static`: services that ServiceEntry declares, with endpoints given inline or by WorkloadEntry.

pub(crate) mod translate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use registry::{Endpoint, Event, EventStream, Provenance, Registry, Service, ServiceKey};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::snapshot::Snapshot;

/// All that the configuration declares at one moment.
type Declared = BTreeMap<ServiceKey, (Service, Vec<Endpoint>)>;

pub(crate) struct StaticRegistry {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    domain: Arc<str>,
    /// How much of the configuration was not read yet; until then not all services are told.
    awaited: Arc<AtomicUsize>,
}

impl StaticRegistry {
    pub const NAME: &'static str = Provenance::DECLARED;

    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, domain: &str) -> Self {
        Self { snapshots, domain: domain.into(), awaited: Arc::default() }
    }

    pub fn awaiting(mut self, awaited: Arc<AtomicUsize>) -> Self {
        self.awaited = awaited;
        self
    }
}

impl Registry for StaticRegistry {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn watch(&self) -> EventStream {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut snapshots = self.snapshots.clone();
        let domain = self.domain.clone();
        let awaited = self.awaited.clone();
        tokio::spawn(async move {
            let mut told = Declared::new();
            let mut synced = false;
            loop {
                let all_read = awaited.load(Ordering::Acquire) == 0;
                let snapshot = snapshots.borrow_and_update().clone();
                let now = translate::declared(&snapshot, &domain);
                let mut events = difference(&told, &now);
                if !synced && all_read {
                    events.push(Event::Synced);
                    synced = true;
                }
                told = now;
                if events.into_iter().any(|event| tx.send(event).is_err()) {
                    return;
                }
                tokio::select! {
                    changed = snapshots.changed() => if changed.is_err() { return },
                    () = tx.closed() => return,
                }
            }
        });
        Box::pin(UnboundedReceiverStream::new(rx))
    }
}

/// The events that lead from one set of services to another; endpoints alone never repeat their service.
fn difference(before: &Declared, after: &Declared) -> Vec<Event> {
    let gone = before.keys().filter(|key| !after.contains_key(*key)).cloned().map(Event::ServiceGone);
    let mut events: Vec<_> = gone.collect();
    for (key, (service, endpoints)) in after {
        let known = before.get(key);
        if known.is_none_or(|(known, _)| known != service) {
            events.push(Event::Service(service.clone()));
        }
        if known.map_or(&Vec::new(), |(_, known)| known) != endpoints {
            events.push(Event::Endpoints(key.clone(), endpoints.clone()));
        }
    }
    events
}

#[cfg(test)]
mod tests;
