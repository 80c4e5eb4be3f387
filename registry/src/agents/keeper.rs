//! The one task that holds the registrations: it alone changes, stores, expires and tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Store, StoreError, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{AgentsOptions, Key, PREFIX, Registration, book, derive};
use crate::model::{Endpoint, Service, ServiceKey};
use crate::source::Event;

pub(super) enum Message {
    Connected(Registration),
    Disconnected(Key),
    Watch(mpsc::UnboundedSender<Event>),
    Settle(oneshot::Sender<()>),
}

struct Kept {
    registration: Registration,
    connections: usize,
    /// When it goes, while nobody is connected.
    until: Option<Instant>,
}

pub(super) struct Keeper {
    store: Arc<dyn Store>,
    options: AgentsOptions,
    kept: BTreeMap<Key, Kept>,
    told: BTreeMap<ServiceKey, (Service, Vec<Endpoint>)>,
    watchers: Vec<mpsc::UnboundedSender<Event>>,
    /// Not yet stored.
    pending: Transaction,
    /// Not yet told.
    touched: BTreeSet<ServiceKey>,
}

/// Messages that are taken together, and then stored and told once.
const BATCH: usize = 256;
/// Nothing to expire: look again then.
const IDLE: Duration = Duration::from_secs(3600);

impl Keeper {
    pub async fn open(store: Arc<dyn Store>, options: AgentsOptions) -> Result<Self, StoreError> {
        let until = Some(Instant::now() + options.restart_grace);
        let listing = store.list(PREFIX).await?;
        let mut keeper = Self {
            store,
            options,
            kept: BTreeMap::new(),
            told: BTreeMap::new(),
            watchers: Vec::new(),
            pending: Transaction::default(),
            touched: BTreeSet::new(),
        };
        for entry in listing.entries {
            match book::read(&entry.value) {
                Some(registration) => keeper.insert(Kept { registration, connections: 0, until }),
                None => {
                    tracing::warn!(key = entry.key, "a stored registration cannot be read; the workload must join anew")
                }
            }
        }
        keeper.tell();
        Ok(keeper)
    }

    pub async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let next = self.kept.values().filter_map(|kept| kept.until).min();
            let wake = next.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                count = messages.recv_many(&mut batch, BATCH) => if count == 0 { return },
                () = sleep_until(wake) => {}
            }
            let settled: Vec<_> = batch.drain(..).filter_map(|message| self.take(message)).collect();
            self.expire(Instant::now());
            self.save().await;
            self.tell();
            for reply in settled {
                let _ = reply.send(());
            }
        }
    }

    fn take(&mut self, message: Message) -> Option<oneshot::Sender<()>> {
        match message {
            Message::Connected(registration) => self.connect(registration),
            Message::Disconnected(key) => self.disconnect(&key),
            Message::Watch(watcher) => self.introduce(watcher),
            Message::Settle(reply) => return Some(reply),
        }
        None
    }

    fn connect(&mut self, registration: Registration) {
        let key = Key::of(&registration);
        let before = self.kept.get(&key);
        let connections = before.map_or(0, |kept| kept.connections) + 1;
        if before.is_none_or(|kept| kept.registration != registration) {
            self.touch(&key);
            self.pending.delete.retain(|path| *path != key.path());
            self.pending.put.push((key.path(), Bytes::from(book::write(&registration))));
        }
        self.insert(Kept { registration, connections, until: None });
    }

    fn disconnect(&mut self, key: &Key) {
        let Some(kept) = self.kept.get_mut(key) else { return };
        kept.connections = kept.connections.saturating_sub(1);
        if kept.connections == 0 {
            kept.until = Some(Instant::now() + self.options.disconnect_grace);
        }
    }

    fn expire(&mut self, now: Instant) {
        let gone = |kept: &Kept| kept.until.is_some_and(|until| until <= now);
        let expired: Vec<Key> = self.kept.iter().filter(|(_, kept)| gone(kept)).map(|(key, _)| key.clone()).collect();
        for key in expired {
            tracing::info!(workload = key.workload, namespace = key.namespace, address = %key.address, "workload is gone");
            self.touch(&key);
            self.pending.delete.push(key.path());
            self.kept.remove(&key);
        }
    }

    fn insert(&mut self, kept: Kept) {
        let key = Key::of(&kept.registration);
        self.kept.insert(key.clone(), kept);
        self.touch(&key);
    }

    /// Marks the services of a registration to be looked at again.
    fn touch(&mut self, key: &Key) {
        if let Some(kept) = self.kept.get(key) {
            self.touched.extend(derive::services_of(&kept.registration, &self.options.domain));
        }
    }

    async fn save(&mut self) {
        if self.pending.put.is_empty() && self.pending.delete.is_empty() {
            return;
        }
        if let Err(error) = self.store.commit(std::mem::take(&mut self.pending)).await {
            tracing::error!(%error, "registrations could not be stored; after a restart these workloads must join anew");
        }
    }

    /// Tells watchers what changed.
    fn tell(&mut self) {
        for key in std::mem::take(&mut self.touched) {
            let registrations = self.kept.values().map(|kept| &kept.registration);
            let now = derive::service(&key, registrations, &self.options.domain);
            let before = match &now {
                Some(now) => self.told.insert(key.clone(), now.clone()),
                None => self.told.remove(&key),
            };
            for event in changes(&key, before, now) {
                self.watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
            }
        }
    }

    fn introduce(&mut self, watcher: mpsc::UnboundedSender<Event>) {
        for (key, (service, endpoints)) in &self.told {
            let _ = watcher.send(Event::Service(service.clone()));
            let _ = watcher.send(Event::Endpoints(key.clone(), endpoints.clone()));
        }
        if watcher.send(Event::Synced).is_ok() {
            self.watchers.push(watcher);
        }
    }
}

type Described = (Service, Vec<Endpoint>);

fn changes(key: &ServiceKey, before: Option<Described>, now: Option<Described>) -> Vec<Event> {
    let (Some((service, endpoints)), before) = (now, before) else {
        return vec![Event::ServiceGone(key.clone())];
    };
    let (same_service, same_endpoints) = match &before {
        Some((old_service, old_endpoints)) => (*old_service == service, *old_endpoints == endpoints),
        None => (false, false),
    };
    let service = (!same_service).then_some(Event::Service(service));
    let endpoints = (!same_endpoints).then_some(Event::Endpoints(key.clone(), endpoints));
    service.into_iter().chain(endpoints).collect()
}
