//! The one task that holds the registrations: it alone changes, stores, expires and tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use store::{Change, Store, StoreError, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::derive::{self, Known};
use super::sharing::{Ears, Sharing};
use super::silence::{Doubt, Silence};
use super::{AgentsOptions, Key, PREFIX, RegisteredPort, Registration, Taken, book};
use crate::model::{Health, ServiceKey};
use crate::source::Event;
use crate::told::Told;

pub(super) enum Message {
    Connected(Registration, oneshot::Sender<Result<u64, Taken>>),
    /// Would be answered as `Connected`, and changes nothing.
    Check(Registration, oneshot::Sender<Result<(), Taken>>),
    Reported(Key, Health),
    /// On a connection that has ended.
    ReportedLast(Key, Health),
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
    /// Whose agent has gone without a goodbye.
    silence: Option<Silence>,
    /// The control plane that it belongs to.
    owner: String,
    /// The store's revision of it; 0 while it is not stored.
    revision: u64,
}

impl Kept {
    fn is_doubted(&self) -> bool {
        self.silence.is_some_and(|silence| silence.is_doubted())
    }

    fn known(&self) -> Known<'_> {
        Known {
            registration: &self.registration,
            silent_since: self.silence.and_then(|silence| silence.shown()),
            doubted: self.is_doubted(),
        }
    }
}

pub(super) struct Keeper {
    store: Arc<dyn Store>,
    options: AgentsOptions,
    /// When those who vanish may be taken for gone.
    doubts_from: Instant,
    kept: BTreeMap<Key, Kept>,
    told: Told,
    lives: u64,
    sharing: Sharing,
    ears: Option<Ears>,
    /// Not yet stored.
    pending: Transaction,
    /// The store was away: what is pending is tried again then.
    again: Option<Instant>,
    /// Not yet told.
    touched: BTreeSet<ServiceKey>,
}

/// Messages that are taken together, and then stored and told once.
const BATCH: usize = 256;
/// A control plane that has just started may have lost by itself who vanishes.
const SETTLING: Duration = Duration::from_secs(60);
/// Nothing to expire: look again then.
const IDLE: Duration = Duration::from_secs(3600);
/// How long is waited before what could not be stored is tried again.
const AGAIN: Duration = Duration::from_secs(5);

impl Keeper {
    pub async fn open(store: Arc<dyn Store>, options: AgentsOptions) -> Result<Self, StoreError> {
        let now = Instant::now();
        let ears = Ears::open(&store);
        let listing = store.list(PREFIX).await?;
        let mut keeper = Self {
            sharing: Sharing::new(&store, &options.replica),
            ears: Some(ears),
            store,
            doubts_from: now + SETTLING,
            options,
            kept: BTreeMap::new(),
            told: Told::default(),
            lives: 0,
            pending: Transaction::default(),
            again: None,
            touched: BTreeSet::new(),
        };
        for entry in listing.entries {
            let Some(book::Stored { registration, owner, doubted }) = book::read(&entry.value) else {
                tracing::warn!(key = entry.key, "a stored registration cannot be read; the workload must join anew");
                continue;
            };
            keeper.sharing.expect(&owner, now);
            let until = keeper.sharing.is_ours(&owner).then(|| now + keeper.options.restart_grace);
            let silence = doubted.map(|since| Silence::doubted(since, now));
            keeper.insert(Kept {
                life: 0,
                registration,
                connections: 0,
                until,
                silence,
                owner,
                revision: entry.revision,
            });
        }
        keeper.tell();
        Ok(keeper)
    }

    pub async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut ears = self.ears.take().unwrap_or_else(|| Ears::open(&self.store));
        loop {
            let wake = self.next().unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                count = messages.recv_many(&mut batch, BATCH) => if count == 0 { return },
                Some(change) = ears.registrations.next() => self.hear(change),
                Some(change) = ears.replicas.next() => self.hear_replica(&change),
                () = Ears::beat(&mut ears.beat) => self.say_we_are_here(),
                () = sleep_until(wake) => {}
            }
            let settled: Vec<_> = batch.drain(..).filter_map(|message| self.take(message)).collect();
            self.listen(Instant::now());
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
            Message::ReportedLast(key, health) => {
                if self.kept.get(&key).is_some_and(|kept| kept.connections < 2) {
                    self.report(&key, health);
                }
            }
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
            .filter(|kept| kept.connections > 0 || !(self.sharing.is_ours(&kept.owner) || kept.until.is_some()))
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
        let revision = before.map_or(0, |kept| kept.revision);
        let as_stored =
            |kept: &Kept| kept.registration == registration && self.sharing.is_ours(&kept.owner) && !kept.is_doubted();
        if !before.is_some_and(as_stored) {
            self.touch(&key);
            self.keep(&key, &registration);
        }
        let life = known.unwrap_or_else(|| {
            self.lives += 1;
            self.lives
        });
        let owner = self.sharing.own().to_owned();
        self.insert(Kept { life, registration, connections, until: None, silence: None, owner, revision });
        life
    }

    fn report(&mut self, key: &Key, health: Health) {
        let changed = |kept: &&mut Kept| kept.registration.health != health && self.sharing.is_ours(&kept.owner);
        let Some(kept) = self.kept.get_mut(key).filter(changed) else { return };
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
        self.pending.put.push((key.path(), Bytes::from(book::write(registration, self.sharing.own(), None))));
    }

    /// Stores that an agent is taken for gone.
    fn keep_doubt(&mut self, key: &Key) {
        let Some(kept) = self.kept.get(key) else { return };
        let since = kept.silence.and_then(|silence| silence.shown());
        let page = book::write(&kept.registration, self.sharing.own(), since);
        self.pending.put.retain(|(path, _)| *path != key.path());
        self.pending.put.push((key.path(), Bytes::from(page)));
    }

    fn disconnect(&mut self, key: &Key, life: u64) {
        let Some(kept) = self.kept.get_mut(key).filter(|kept| kept.life == life) else { return };
        kept.connections = kept.connections.saturating_sub(1);
        if kept.connections == 0 && self.sharing.is_ours(&kept.owner) {
            let now = Instant::now();
            kept.until = Some(now + self.options.disconnect_grace);
            kept.silence = Some(Silence::begin(now));
        }
    }

    /// When there is something to do that nobody asks for.
    fn next(&self) -> Option<Instant> {
        let doubt = self.doubt();
        let ours = self.kept.values().filter(|kept| self.sharing.is_ours(&kept.owner));
        let silent = ours.filter_map(|kept| kept.silence?.next(doubt));
        self.kept.values().filter_map(|kept| kept.until).chain(silent).chain(self.again).min()
    }

    fn doubt(&self) -> Doubt {
        let ours = self.kept.values().filter(|kept| self.sharing.is_ours(&kept.owner));
        Doubt::of(ours.map(|kept| kept.silence.as_ref()), self.doubts_from, self.options.doubt_after)
    }

    /// Takes note of those who have been silent for a while.
    fn listen(&mut self, now: Instant) {
        let doubt = self.doubt();
        let mut stepped = Vec::new();
        for (key, kept) in self.kept.iter_mut().filter(|(_, kept)| self.sharing.is_ours(&kept.owner)) {
            if kept.silence.as_mut().is_some_and(|silence| silence.step(now, doubt)) {
                stepped.push((key.clone(), kept.is_doubted()));
            }
        }
        for (key, doubted) in stepped {
            self.touch(&key);
            if doubted {
                tracing::warn!(
                    workload = key.workload, namespace = key.namespace, address = %key.address,
                    "nothing is heard of a workload's agent; its endpoints count as unhealthy until it is back"
                );
                self.keep_doubt(&key);
            }
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

    /// What cannot be stored now stays pending, under whatever is decided later.
    async fn save(&mut self) {
        let waits = self.again.is_some_and(|again| Instant::now() < again);
        if waits || self.pending.put.is_empty() && self.pending.delete.is_empty() {
            return;
        }
        match self.store.commit(self.pending.clone()).await {
            Ok(revision) => {
                let stored = std::mem::take(&mut self.pending);
                let paths: BTreeSet<&str> = stored.put.iter().map(|(path, _)| path.as_str()).collect();
                let of_them = |key: &Key| paths.contains(key.path().as_str());
                self.kept.iter_mut().filter(|(key, _)| of_them(key)).for_each(|(_, kept)| kept.revision = revision);
                self.again = None;
            }
            Err(error) => {
                tracing::error!(%error, "registrations cannot be stored now; this is tried again");
                self.again = Some(Instant::now() + AGAIN);
            }
        }
    }

    fn say_we_are_here(&mut self) {
        let path = self.sharing.path();
        self.pending.put.retain(|(pending, _)| *pending != path);
        self.pending.put.push((path, Bytes::new()));
    }

    /// Takes what another control plane wrote.
    fn hear(&mut self, change: Change) {
        let read = change.value.as_deref().map(book::read);
        match read {
            Some(Some(book::Stored { registration, owner, doubted })) if !self.sharing.is_ours(&owner) => {
                let key = Key::of(&registration);
                let before = self.kept.get(&key);
                if before.is_some_and(|kept| kept.revision >= change.revision) {
                    return;
                }
                let (life, connections) = before.map_or((0, 0), |kept| (kept.life, kept.connections));
                self.touch(&key);
                self.sharing.expect(&owner, Instant::now());
                let revision = change.revision;
                let silence = doubted.map(|since| Silence::doubted(since, Instant::now()));
                self.insert(Kept { life, registration, connections, until: None, silence, owner, revision });
            }
            None => self.hear_removal(&change),
            _ => {}
        }
    }

    fn hear_removal(&mut self, change: &Change) {
        let gone = self.kept.iter().find(|(key, kept)| key.path() == change.key && kept.revision < change.revision);
        let Some((key, kept)) = gone.map(|(key, kept)| (key.clone(), kept)) else { return };
        // Somebody took it for gone, and it is connected here. A member may have been thrown out.
        if kept.connections > 0 && kept.registration.member.is_none() {
            let registration = kept.registration.clone();
            self.keep(&key, &registration);
            let owner = self.sharing.own().to_owned();
            self.kept.entry(key).and_modify(|kept| kept.owner = owner);
            return;
        }
        if self.pending.put.iter().any(|(path, _)| *path == change.key) {
            return;
        }
        self.touch(&key);
        self.kept.remove(&key);
    }

    /// What belongs to a control plane that is gone goes too, unless its workload comes here or it comes back.
    fn hear_replica(&mut self, change: &Change) {
        let now = Instant::now();
        let Some(name) = self.sharing.hear(&change.key, now) else { return };
        for kept in self.kept.values_mut().filter(|kept| !self.sharing.is_ours(&kept.owner)) {
            if kept.owner == name {
                kept.until = None;
            } else if kept.until.is_none() && kept.connections == 0 && self.sharing.is_gone(&kept.owner) {
                kept.until = Some(now + self.options.restart_grace);
            }
        }
    }

    /// Tells watchers what changed.
    fn tell(&mut self) {
        for key in std::mem::take(&mut self.touched) {
            let registrations = self.kept.values().map(Kept::known);
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
    // At a shared port the service that is asked for decides whose a connection is.
    let told_apart = |a: &RegisteredPort, b: &RegisteredPort| {
        let named = |of: &Registration, port: &RegisteredPort| {
            port.shared.map(|_| (of.namespace.clone(), port.service.clone(), port.port))
        };
        named(one, a).zip(named(other, b)).is_some_and(|(a, b)| a != b)
    };
    let meets = |a: &RegisteredPort, b: &RegisteredPort| a.endpoint() == b.endpoint() && !told_apart(a, b);
    one.ports.iter().find(|a| other.ports.iter().any(|b| meets(a, b))).map(RegisteredPort::endpoint)
}
