//! The one task that holds the registrations: it alone changes, stores, expires and tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Store, StoreError, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{AgentsOptions, Key, PREFIX, Registration, Taken, book, derive};
use crate::model::{Health, ServiceKey};
use crate::source::Event;
use crate::told::Told;

pub(super) enum Message {
    Connected(Registration, oneshot::Sender<Result<u64, Taken>>),
    /// Would be answered as `Connected`, and changes nothing.
    Check(Registration, oneshot::Sender<Result<(), Taken>>),
    Reported(Key, Health),
    /// What `Connected` answered comes back.
    Disconnected(Key, u64),
    /// All of a member's.
    Forget(String),
    Watch(mpsc::UnboundedSender<Event>),
    Settle(oneshot::Sender<()>),
}

struct Kept {
    /// Tells it from a later one under the same key.
    life: u64,
    registration: Registration,
    connections: usize,
    /// When it goes, while nobody is connected.
    until: Option<Instant>,
}

pub(super) struct Keeper {
    store: Arc<dyn Store>,
    options: AgentsOptions,
    kept: BTreeMap<Key, Kept>,
    told: Told,
    lives: u64,
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
            told: Told::default(),
            lives: 0,
            pending: Transaction::default(),
            touched: BTreeSet::new(),
        };
        for entry in listing.entries {
            match book::read(&entry.value) {
                Some(registration) => keeper.insert(Kept { life: 0, registration, connections: 0, until }),
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
            Message::Connected(registration, reply) => {
                let connected = self.free(&registration).map(|()| self.connect(registration));
                let _ = reply.send(connected);
            }
            Message::Check(registration, reply) => drop(reply.send(self.free(&registration))),
            Message::Reported(key, health) => self.report(&key, health),
            Message::Forget(member) => self.remove_all(|kept| kept.registration.member.as_ref() == Some(&member)),
            Message::Disconnected(key, life) => self.disconnect(&key, life),
            Message::Watch(watcher) => self.told.introduce(watcher),
            Message::Settle(reply) => return Some(reply),
        }
        None
    }

    /// Whether nobody else who is connected has one of the addresses and ports.
    fn free(&self, registration: &Registration) -> Result<(), Taken> {
        let holder = self
            .kept
            .values()
            .filter(|kept| kept.connections > 0)
            .find_map(|kept| Some((kept, overlap(&kept.registration, registration)?)));
        match holder {
            None => Ok(()),
            Some((kept, port)) => Err(Taken {
                address: registration.address,
                port,
                workload: format!("{}.{}", kept.registration.workload, kept.registration.namespace),
            }),
        }
    }

    fn connect(&mut self, mut registration: Registration) -> u64 {
        let key = Key::of(&registration);
        // The member moved, or the address went to another after its last holder was gone.
        let superseded = |kept: &Kept| {
            let moved = registration.member.is_some() && kept.registration.member == registration.member;
            Key::of(&kept.registration) != key && (moved || overlap(&kept.registration, &registration).is_some())
        };
        let superseded: BTreeSet<Key> =
            self.kept.iter().filter(|(_, kept)| superseded(kept)).map(|(key, _)| key.clone()).collect();
        self.remove_all(|kept| superseded.contains(&Key::of(&kept.registration)));
        let before = self.kept.get(&key);
        let connections = before.map_or(0, |kept| kept.connections) + 1;
        if let Some(kept) = before.filter(|kept| kept.registration.member == registration.member) {
            // What it last told of its health holds until it tells again.
            registration.health = kept.registration.health;
        }
        let known = before.map(|kept| kept.life);
        if before.is_none_or(|kept| kept.registration != registration) {
            self.touch(&key);
            self.keep(&key, &registration);
        }
        let life = known.unwrap_or_else(|| {
            self.lives += 1;
            self.lives
        });
        self.insert(Kept { life, registration, connections, until: None });
        life
    }

    fn report(&mut self, key: &Key, health: Health) {
        let Some(kept) = self.kept.get_mut(key).filter(|kept| kept.registration.health != health) else { return };
        kept.registration.health = health;
        let registration = kept.registration.clone();
        tracing::info!(
            workload = key.workload, namespace = key.namespace, address = %key.address, health = health.as_str(),
            "a workload reports its health"
        );
        self.keep(key, &registration);
        self.touch(key);
    }

    fn keep(&mut self, key: &Key, registration: &Registration) {
        self.pending.delete.retain(|path| *path != key.path());
        self.pending.put.retain(|(path, _)| *path != key.path());
        self.pending.put.push((key.path(), Bytes::from(book::write(registration))));
    }

    fn disconnect(&mut self, key: &Key, life: u64) {
        let Some(kept) = self.kept.get_mut(key).filter(|kept| kept.life == life) else { return };
        kept.connections = kept.connections.saturating_sub(1);
        if kept.connections == 0 {
            kept.until = Some(Instant::now() + self.options.disconnect_grace);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.remove_all(|kept| kept.until.is_some_and(|until| until <= now));
    }

    fn remove_all(&mut self, gone: impl Fn(&Kept) -> bool) {
        let keys: Vec<Key> = self.kept.iter().filter(|(_, kept)| gone(kept)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            tracing::info!(workload = key.workload, namespace = key.namespace, address = %key.address, "workload is gone");
            self.touch(&key);
            self.pending.put.retain(|(path, _)| *path != key.path());
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
            self.told.tell(key, now);
        }
    }
}

/// A port that both would have at one address, unless they are the same workload.
fn overlap(one: &Registration, other: &Registration) -> Option<u16> {
    let same = match (&one.member, &other.member) {
        (Some(one), Some(other)) => one == other,
        _ => (&one.workload, &one.namespace) == (&other.workload, &other.namespace),
    };
    if same || one.address != other.address {
        return None;
    }
    if Key::of(one) == Key::of(other) {
        return one.ports.first().map(|port| port.port);
    }
    let ports = one.ports.iter().map(|port| port.port);
    ports.into_iter().find(|port| other.ports.iter().any(|other| other.port == *port))
}
