//! A registry whose last word survives the end of the process: where its platform is out of reach when the control
//! plane starts, what it told last time stands, marked stale, until it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::{Event, EventStream, Registry};

/// A registry, and the store that keeps what it told.
#[derive(Clone)]
pub struct Remembered {
    inner: Arc<dyn Registry>,
    store: Arc<dyn Store>,
}

/// What is stored of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    service: Service,
    endpoints: Vec<Endpoint>,
}

/// A service as it is to be stored; none for one that is gone.
type Note = (ServiceKey, Option<Known>);

/// How long is waited after a write, so that the changes of a busy time are stored together.
const GATHER: Duration = Duration::from_secs(1);

impl Remembered {
    pub fn new(inner: Arc<dyn Registry>, store: Arc<dyn Store>) -> Self {
        Self { inner, store }
    }
}

impl Registry for Remembered {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn watch(&self) -> EventStream {
        let (events, stream) = mpsc::unbounded_channel();
        let (notes, noted) = mpsc::unbounded_channel();
        // The name of a Kubernetes context may hold a slash, and one registry must not read what is another's.
        let name = self.name().replace('%', "%25").replace('/', "%2F");
        let shelf = Shelf { prefix: format!("known/{name}/"), store: self.store.clone() };
        tokio::spawn(keep(shelf.clone(), noted));
        let memory = Memory { shelf, notes, told: BTreeMap::new(), recalled: BTreeSet::new(), phase: Phase::Starting };
        tokio::spawn(memory.follow(self.inner.watch(), events));
        Box::pin(UnboundedReceiverStream::new(stream))
    }
}

/// The place in the store.
#[derive(Clone)]
struct Shelf {
    prefix: String,
    store: Arc<dyn Store>,
}

impl Shelf {
    fn path(&self, key: &ServiceKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// All that is stored; what cannot be read is left out.
    async fn read(&self) -> Result<Vec<Known>, StoreError> {
        let listing = self.store.list(&self.prefix).await?;
        Ok(listing.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect())
    }

    async fn write(&self, notes: BTreeMap<ServiceKey, Option<Known>>) -> Result<(), StoreError> {
        let mut transaction = Transaction::default();
        for (key, known) in notes {
            match known.and_then(|known| serde_json::to_vec(&known).ok()) {
                Some(text) => transaction.put.push((self.path(&key), Bytes::from(text))),
                None => transaction.delete.push(self.path(&key)),
            }
        }
        self.store.commit(transaction).await.map(drop)
    }
}

/// Stores what is noted, beside the way of the events. The first change after a quiet time is stored at once: the
/// process may end at any moment.
async fn keep(shelf: Shelf, mut noted: mpsc::UnboundedReceiver<Note>) {
    while let Some((key, known)) = noted.recv().await {
        let mut notes = BTreeMap::from([(key, known)]);
        while let Ok((key, known)) = noted.try_recv() {
            notes.insert(key, known);
        }
        if let Err(error) = shelf.write(notes).await {
            tracing::error!(%error, "what a registry told cannot be stored; a restart may not know all of it");
        }
        tokio::time::sleep(GATHER).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The platform has neither told all nor been found away.
    Starting,
    /// The store has been asked in the platform's place.
    Recalled,
    Synced,
}

struct Memory {
    shelf: Shelf,
    notes: mpsc::UnboundedSender<Note>,
    told: BTreeMap<ServiceKey, (Option<Service>, Vec<Endpoint>)>,
    /// Told out of the store, and not yet by the platform.
    recalled: BTreeSet<ServiceKey>,
    phase: Phase,
}

impl Memory {
    async fn follow(mut self, mut stream: EventStream, events: mpsc::UnboundedSender<Event>) {
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = events.closed() => None,
            };
            let Some(event) = event else { return };
            let before = match event {
                Event::Synced => self.settle().await,
                Event::Lost(_) if self.phase == Phase::Starting => self.recall().await,
                _ => Vec::new(),
            };
            self.note(&event);
            for event in before.into_iter().chain([event]) {
                // That nobody listens ends this soon.
                let _ = events.send(event);
            }
        }
    }

    fn note(&mut self, event: &Event) {
        let key = match event {
            Event::Service(service) => {
                self.told.entry(service.key.clone()).or_default().0 = Some(service.clone());
                &service.key
            }
            Event::Endpoints(key, endpoints) => {
                self.told.entry(key.clone()).or_default().1.clone_from(endpoints);
                key
            }
            Event::ServiceGone(key) => {
                self.told.remove(key);
                key
            }
            _ => return,
        };
        self.recalled.remove(key);
        if self.phase == Phase::Synced {
            self.store(key);
        }
    }

    /// Notes a service as it is now.
    fn store(&self, key: &ServiceKey) {
        let known = self
            .told
            .get(key)
            .and_then(|(service, endpoints)| Some(Known { service: service.clone()?, endpoints: endpoints.clone() }));
        // The keeper ends only with this.
        let _ = self.notes.send((key.clone(), known));
    }

    /// What was told last time.
    async fn recall(&mut self) -> Vec<Event> {
        self.phase = Phase::Recalled;
        let mut events = Vec::new();
        for known in self.stored().await {
            let key = known.service.key.clone();
            if !self.told.contains_key(&key) {
                self.recalled.insert(key.clone());
                events.extend([Event::Service(known.service), Event::Endpoints(key, known.endpoints)]);
            }
        }
        events
    }

    /// The platform has told all it knows: what it did not tell is gone, and all of it is to be stored.
    async fn settle(&mut self) -> Vec<Event> {
        if self.phase != Phase::Synced {
            self.phase = Phase::Synced;
            let stored = self.stored().await;
            let mut keys: BTreeSet<ServiceKey> = stored.into_iter().map(|known| known.service.key).collect();
            keys.extend(self.told.keys().cloned());
            keys.iter().for_each(|key| self.store(key));
        }
        std::mem::take(&mut self.recalled).into_iter().map(Event::ServiceGone).collect()
    }

    async fn stored(&self) -> Vec<Known> {
        self.shelf.read().await.unwrap_or_else(|error| {
            tracing::error!(%error, "what a registry told before cannot be read");
            Vec::new()
        })
    }
}

#[cfg(test)]
mod tests;
