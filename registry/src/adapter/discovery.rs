//! The registry `discovery`: hosts that check in by themselves over the HTTP API of lyft/discovery. A host is known by
//! its service and address, or where it says so by its port too; one that does not check in again within its time to
//! live is gone.
//!
//! Hosts are kept in the store, so that a restart of the control plane loses none. What the HTTP API looks like is the
//! business of whoever serves it; here is what its calls do.

mod derive;
mod host;
mod place;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::Hostname;
use bytes::Bytes;
use runtime::Clock;
use serde_json::{Map, Value};
use store::{Store, StoreError, Transaction};
use tokio::sync::{Mutex, Notify, watch};

pub use host::Host;
pub use place::Place;

use crate::model::ServiceKey;
use crate::ownership::{NotOwn, own_host};
use crate::source::{EventStream, Registry};
use crate::told::{self, Told};

/// The registry's name, as provenance shows it.
const NAME: &str = "discovery";
/// Everything below it in the store is a host.
const PREFIX: &str = "discovery/";
/// The tag that says how much traffic a host takes, 1 to 100.
pub(crate) const WEIGHT: &str = "load_balancing_weight";

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct DiscoveryOptions {
    /// The mesh's DNS domain.
    pub domain: String,
    /// The namespace that services of one word are in.
    pub namespace: String,
    /// How long a host lives after it checked in.
    pub time_to_live: Duration,
}

/// What a host says of itself when it checks in.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckIn {
    pub address: IpAddr,
    pub port: u16,
    /// Whether the address may have other hosts of the service, on other ports. Otherwise this one takes the place of
    /// the one that it had.
    pub by_port: bool,
    pub repository: String,
    pub revision: String,
    /// Must name `az`, `region` and `instance_id`. They are merged into those that the host has.
    pub tags: Map<String, Value>,
}

/// Why a call changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Invalid(String),
    #[error("no host {place} is registered for the service {service}")]
    Unknown { service: String, place: Place },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The registry. Cloning shares.
#[derive(Clone)]
pub struct Discovery(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    options: DiscoveryOptions,
    clock: Clock,
    book: Mutex<Book>,
    /// Never held while anything is awaited.
    told: parking_lot::Mutex<Told>,
    /// A host was added, so the next one may expire earlier than was thought.
    added: Notify,
    /// Told of every check-in, removal and weight.
    changed: watch::Sender<()>,
}

type Key = (String, IpAddr, u16);
type Book = BTreeMap<Key, Host>;

impl Discovery {
    /// Reads the hosts that the store holds and starts to expire them (on the current tokio runtime).
    pub async fn open(store: Arc<dyn Store>, options: DiscoveryOptions, clock: Clock) -> Result<Self, StoreError> {
        let mut book = Book::default();
        for entry in store.list(PREFIX).await?.entries {
            match serde_json::from_slice::<Host>(&entry.value) {
                Ok(host) => drop(book.insert(host.key(), host)),
                Err(_) => tracing::warn!(key = entry.key, "a stored host cannot be read; it must check in anew"),
            }
        }
        let services: Vec<String> = book.keys().map(|(service, ..)| service.clone()).collect();
        let (told, added, changed) = (Default::default(), Notify::new(), watch::Sender::default());
        let shared = Shared { store, options, clock, book: Mutex::new(book), told, added, changed };
        let opened = Self(Arc::new(shared));
        opened.0.sweep().await?;
        {
            let book = opened.0.book.lock().await;
            services.iter().for_each(|service| opened.0.tell(&book, service));
        }
        tokio::spawn(expire(Arc::downgrade(&opened.0)));
        Ok(opened)
    }

    /// Hears of every change of any host, from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// The hosts of a service that checked in lately, by address.
    pub async fn hosts(&self, service: &str) -> Result<Vec<Host>, Refused> {
        self.listed(|host| host.service == service).await
    }

    /// The hosts whose service comes from that repository.
    pub async fn hosts_of_repository(&self, repository: &str) -> Result<Vec<Host>, Refused> {
        self.listed(|host| host.service_repo_name == repository).await
    }

    async fn listed(&self, wanted: impl Fn(&Host) -> bool) -> Result<Vec<Host>, Refused> {
        self.0.sweep().await?;
        let book = self.0.book.lock().await;
        Ok(book.values().filter(|host| wanted(host)).cloned().collect())
    }

    /// A host is there, or is there still. What it says replaces what it said, but its other tags stay: a weight that
    /// was set from outside outlives the next check-in.
    pub async fn check_in(&self, service: &str, said: CheckIn) -> Result<(), Refused> {
        self.0.valid(service, &said)?;
        let mut book = self.0.book.lock().await;
        let place = Place { address: said.address, port: None };
        let there = hosts_at(&book, service, place);
        let before: Vec<Host> =
            there.filter(|host| host.port == said.port || !(said.by_port || host.by_port)).cloned().collect();
        let mut tags = Map::new();
        before.iter().for_each(|host| tags.extend(host.tags.clone()));
        tags.extend(said.tags);
        let host = Host {
            service: service.to_owned(),
            ip_address: said.address,
            service_repo_name: said.repository,
            port: said.port,
            by_port: said.by_port,
            revision: said.revision,
            last_check_in: host::microseconds(self.0.clock.now()),
            tags,
        };
        self.0.keep(&mut book, service, before, vec![host]).await?;
        self.0.added.notify_one();
        Ok(())
    }

    /// Takes out a host, or all that an address has.
    pub async fn remove(&self, service: &str, place: Place) -> Result<(), Refused> {
        let mut book = self.0.book.lock().await;
        let keys: Vec<Key> = hosts_at(&book, service, place).map(Host::key).collect();
        if keys.is_empty() {
            return Err(Refused::Unknown { service: service.to_owned(), place });
        }
        Ok(self.0.drop_hosts(&mut book, keys).await?)
    }

    /// Sets how much traffic the hosts of a place take, or every host of a service that has any.
    pub async fn set_weight(&self, service: &str, place: Option<Place>, weight: u8) -> Result<(), Refused> {
        let mut book = self.0.book.lock().await;
        let mut hosts: Vec<Host> = match place {
            Some(place) => hosts_at(&book, service, place).cloned().collect(),
            None => book.values().filter(|host| host.service == service).cloned().collect(),
        };
        if let (Some(place), true) = (place, hosts.is_empty()) {
            return Err(Refused::Unknown { service: service.to_owned(), place });
        }
        hosts.iter_mut().for_each(|host| drop(host.tags.insert(WEIGHT.into(), weight.into())));
        Ok(self.0.keep(&mut book, service, Vec::new(), hosts).await?)
    }
}

fn hosts_at<'a>(book: &'a Book, service: &str, place: Place) -> impl Iterator<Item = &'a Host> + use<'a> {
    let key = |port| (service.to_owned(), place.address, port);
    let (first, last) = (place.port.unwrap_or(0), place.port.unwrap_or(u16::MAX));
    book.range(key(first)..=key(last)).map(|(_, host)| host)
}

impl Registry for Discovery {
    fn name(&self) -> &str {
        NAME
    }

    fn watch(&self) -> EventStream {
        let (events, stream) = told::channel();
        self.0.told.lock().introduce(events);
        stream
    }
}

impl Shared {
    fn valid(&self, service: &str, said: &CheckIn) -> Result<(), Refused> {
        let invalid = |text: String| Err(Refused::Invalid(text));
        if service.is_empty() || service.contains(['/', '\0']) {
            return invalid(format!("{service:?} is no name of a service"));
        }
        if said.port == 0 || said.revision.is_empty() {
            return invalid("a host needs a port and a revision".into());
        }
        let missing = ["az", "region", "instance_id"].into_iter().find(|tag| !said.tags.contains_key(*tag));
        if let Some(tag) = missing {
            return invalid(format!("the tag {tag} is missing"));
        }
        if Hostname::resolve(service, &self.options.namespace, &self.options.domain).is_err() {
            tracing::warn!(service, "this name of a service is no hostname, so the mesh cannot route to it");
            return Ok(());
        }
        match self.own_host(service) {
            Ok(_) => Ok(()),
            Err(error) => invalid(format!(
                "{error}; hosts that check in serve names without a dot, in namespace {}: declare others by a \
                 ServiceEntry, or let their hosts join as workloads",
                self.options.namespace
            )),
        }
    }

    /// What the mesh calls a service. Nobody asks who checks in here, so nobody serves what may be another's.
    fn own_host(&self, service: &str) -> Result<Hostname, NotOwn> {
        own_host(service, &self.options.namespace, &self.options.domain)
    }

    /// `None` for a name that the mesh does not route to.
    fn key(&self, service: &str) -> Option<ServiceKey> {
        Some(ServiceKey::new(self.own_host(service).ok()?, &self.options.namespace))
    }

    /// Hosts in the place of those `before` them.
    async fn keep(
        &self,
        book: &mut Book,
        service: &str,
        before: Vec<Host>,
        hosts: Vec<Host>,
    ) -> Result<(), StoreError> {
        let put: BTreeMap<_, _> = hosts.iter().map(|host| (host.path(), Bytes::from(host.page()))).collect();
        let gone = before.iter().map(Host::path).filter(|path| !put.contains_key(path));
        let delete = gone.collect();
        self.store.commit(Transaction { put: put.into_iter().collect(), delete, ..Transaction::default() }).await?;
        before.iter().for_each(|host| drop(book.remove(&host.key())));
        book.extend(hosts.into_iter().map(|host| (host.key(), host)));
        self.tell(book, service);
        Ok(())
    }

    async fn drop_hosts(&self, book: &mut Book, keys: Vec<Key>) -> Result<(), StoreError> {
        let delete = keys.iter().filter_map(|key| Some(book.get(key)?.path())).collect();
        self.store.commit(Transaction { delete, ..Transaction::default() }).await?;
        keys.iter().for_each(|key| drop(book.remove(key)));
        keys.iter().for_each(|(service, ..)| self.tell(book, service));
        Ok(())
    }

    fn tell(&self, book: &Book, service: &str) {
        self.changed.send_replace(());
        let Some(key) = self.key(service) else { return };
        let first = (service.to_owned(), IpAddr::from([0, 0, 0, 0]), 0);
        let hosts = book.range(first..).map(|(_, host)| host).take_while(|host| host.service == service);
        let now = derive::service(&key, hosts);
        self.told.lock().tell(key, now);
    }

    /// Takes out every host whose time is over.
    async fn sweep(&self) -> Result<(), StoreError> {
        let mut book = self.book.lock().await;
        let now = host::microseconds(self.clock.now());
        let over = |host: &&Host| host.expires(self.options.time_to_live) < now;
        let expired: Vec<_> = book.values().filter(over).map(Host::key).collect();
        if expired.is_empty() {
            return Ok(());
        }
        for (service, address, port) in &expired {
            tracing::info!(service, %address, port, "a host has not checked in any more and is gone");
        }
        self.drop_hosts(&mut book, expired).await
    }

    /// How long until the next host may have to go.
    async fn patience(&self) -> Duration {
        let book = self.book.lock().await;
        let next = book.values().map(|host| host.expires(self.options.time_to_live)).min();
        let now = host::microseconds(self.clock.now());
        // A host lives for exactly its time, so it goes one microsecond later.
        next.map_or(IDLE, |next| Duration::from_micros(next.saturating_sub(now) + 1))
    }
}

/// Nothing to expire: look again then.
const IDLE: Duration = Duration::from_secs(3600);
/// How long to wait after the store failed.
const RETRY: Duration = Duration::from_secs(5);

/// Sweeps when a host's time is over, for as long as the registry lives.
async fn expire(registry: Weak<Shared>) {
    loop {
        let Some(shared) = registry.upgrade() else { return };
        let mut patience = shared.patience().await;
        if let Err(error) = shared.sweep().await {
            tracing::error!(%error, "hosts whose time is over could not be removed from the store");
            patience = RETRY;
        }
        tokio::select! {
            () = tokio::time::sleep(patience) => {}
            () = shared.added.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
