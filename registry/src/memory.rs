//! A registry that a test scripts.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::{Event, EventStream, Registry};

/// Holds what it was told and replays it to each new watcher.
#[derive(Debug, Clone)]
pub struct MemoryRegistry {
    name: Arc<str>,
    events: watch::Sender<Vec<Event>>,
}

impl MemoryRegistry {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), events: watch::Sender::new(Vec::new()) }
    }

    pub fn tell(&self, event: Event) {
        self.events.send_modify(|events| events.push(event));
    }

    pub fn service(&self, service: Service) {
        self.tell(Event::Service(service));
    }

    pub fn endpoints(&self, key: &ServiceKey, endpoints: Vec<Endpoint>) {
        self.tell(Event::Endpoints(key.clone(), endpoints));
    }

    pub fn synced(&self) {
        self.tell(Event::Synced);
    }
}

impl Registry for MemoryRegistry {
    fn name(&self) -> &str {
        &self.name
    }

    fn watch(&self) -> EventStream {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut events = self.events.subscribe();
        tokio::spawn(async move {
            let mut told = 0;
            loop {
                let fresh = events.borrow_and_update()[told..].to_vec();
                told += fresh.len();
                for event in fresh {
                    if tx.send(event).is_err() {
                        return;
                    }
                }
                if events.changed().await.is_err() {
                    return;
                }
            }
        });
        Box::pin(UnboundedReceiverStream::new(rx))
    }
}
