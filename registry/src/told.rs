//! What a registry has told its watchers, so that it tells them differences alone.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::{Event, EventStream};

/// A service and all its endpoints.
pub(crate) type Described = (Service, Vec<Endpoint>);

/// The last words of a registry, and who hears them.
#[derive(Default)]
pub(crate) struct Told {
    services: BTreeMap<ServiceKey, Described>,
    watchers: Vec<mpsc::UnboundedSender<Event>>,
}

impl Told {
    /// Says what a service is now; `None` when it is gone.
    pub fn tell(&mut self, key: ServiceKey, now: Option<Described>) {
        let before = match &now {
            Some(now) => self.services.insert(key.clone(), now.clone()),
            None => self.services.remove(&key),
        };
        for event in changes(&key, before, now) {
            self.watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
        }
    }

    /// Tells a new watcher all that is known, and from then on every change.
    pub fn introduce(&mut self, watcher: mpsc::UnboundedSender<Event>) {
        for (key, (service, endpoints)) in &self.services {
            let _ = watcher.send(Event::Service(service.clone()));
            let _ = watcher.send(Event::Endpoints(key.clone(), endpoints.clone()));
        }
        if watcher.send(Event::Synced).is_ok() {
            self.watchers.push(watcher);
        }
    }
}

/// The two ends of a watch.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Event>, EventStream) {
    let (events, stream) = mpsc::unbounded_channel();
    (events, Box::pin(UnboundedReceiverStream::new(stream)))
}

fn changes(key: &ServiceKey, before: Option<Described>, now: Option<Described>) -> Vec<Event> {
    let Some((service, endpoints)) = now else {
        return before.map(|_| Event::ServiceGone(key.clone())).into_iter().collect();
    };
    let (same_service, same_endpoints) = match &before {
        Some((old_service, old_endpoints)) => (*old_service == service, *old_endpoints == endpoints),
        None => (false, false),
    };
    let service = (!same_service).then_some(Event::Service(service));
    let endpoints = (!same_endpoints).then_some(Event::Endpoints(key.clone(), endpoints));
    service.into_iter().chain(endpoints).collect()
}
