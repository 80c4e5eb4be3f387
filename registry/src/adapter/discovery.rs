//! The registry `discovery`: hosts that check in by themselves over the HTTP API of lyft/discovery. A host is known by
//! its service and address; one that does not check in again within its time to live is gone.
//!
//! Hosts are kept in the store, so that a restart of the control plane loses none. What the HTTP API looks like is the
//! business of whoever serves it; here is what its calls do.

mod derive;
mod host;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::Hostname;
use bytes::Bytes;
use runtime::Clock;
use serde_json::{Map, Value};
use store::{Store, StoreError, Transaction};
use tokio::sync::{Mutex, Notify};

pub use host::Host;

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
    #[error("no host {address} is registered for the service {service}")]
    Unknown { service: String, address: IpAddr },
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
}

type Book = BTreeMap<(String, IpAddr), Host>;

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
        let services: Vec<String> = book.keys().map(|(service, _)| service.clone()).collect();
        let shared =
            Shared { store, options, clock, book: Mutex::new(book), told: Default::default(), added: Notify::new() };
        let opened = Self(Arc::new(shared));
        opened.0.sweep().await?;
        {
            let book = opened.0.book.lock().await;
            services.iter().for_each(|service| opened.0.tell(&book, service));
        }
        tokio::spawn(expire(Arc::downgrade(&opened.0)));
        Ok(opened)
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
        let known = book.get(&(service.to_owned(), said.address));
        let mut tags = known.map(|host| host.tags.clone()).unwrap_or_default();
        tags.extend(said.tags);
        let host = Host {
            service: service.to_owned(),
            ip_address: said.address,
            service_repo_name: said.repository,
            port: said.port,
            revision: said.revision,
            last_check_in: host::microseconds(self.0.clock.now()),
            tags,
        };
        self.0.keep(&mut book, service, vec![host]).await?;
        self.0.added.notify_one();
        Ok(())
    }

    /// Takes a host out.
    pub async fn remove(&self, service: &str, address: IpAddr) -> Result<(), Refused> {
        let mut book = self.0.book.lock().await;
        let key = (service.to_owned(), address);
        if !book.contains_key(&key) {
            return Err(Refused::Unknown { service: key.0, address });
        }
        Ok(self.0.drop_hosts(&mut book, vec![key]).await?)
    }

    /// Sets how much traffic a host takes, or every host of a service that has any.
    pub async fn set_weight(&self, service: &str, address: Option<IpAddr>, weight: u8) -> Result<(), Refused> {
        let mut book = self.0.book.lock().await;
        let wanted = |host: &&Host| host.service == service && address.is_none_or(|address| host.ip_address == address);
        let mut hosts: Vec<Host> = book.values().filter(wanted).cloned().collect();
        if let (Some(address), true) = (address, hosts.is_empty()) {
            return Err(Refused::Unknown { service: service.to_owned(), address });
        }
        hosts.iter_mut().for_each(|host| drop(host.tags.insert(WEIGHT.into(), weight.into())));
        Ok(self.0.keep(&mut book, service, hosts).await?)
    }
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

    async fn keep(&self, book: &mut Book, service: &str, hosts: Vec<Host>) -> Result<(), StoreError> {
        let put = hosts.iter().map(|host| (host.path(), Bytes::from(host.page()))).collect();
        self.store.commit(Transaction { put, ..Transaction::default() }).await?;
        book.extend(hosts.into_iter().map(|host| (host.key(), host)));
        self.tell(book, service);
        Ok(())
    }

    async fn drop_hosts(&self, book: &mut Book, keys: Vec<(String, IpAddr)>) -> Result<(), StoreError> {
        let delete = keys.iter().filter_map(|key| Some(book.get(key)?.path())).collect();
        self.store.commit(Transaction { delete, ..Transaction::default() }).await?;
        keys.iter().for_each(|key| drop(book.remove(key)));
        keys.iter().for_each(|(service, _)| self.tell(book, service));
        Ok(())
    }

    fn tell(&self, book: &Book, service: &str) {
        let Some(key) = self.key(service) else { return };
        let first = (service.to_owned(), IpAddr::from([0, 0, 0, 0]));
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
        for (service, address) in &expired {
            tracing::info!(service, %address, "a host has not checked in any more and is gone");
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
