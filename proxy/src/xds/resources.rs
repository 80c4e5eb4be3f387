//! The resources that the proxy was given, from wherever, as they came and as the model holds them: what they refer
//! to, what of that is still missing, and what is in force.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use api::envoy::config::{cluster::v3 as cds, endpoint::v3 as eds, listener::v3 as lds, route::v3 as rds};
use api::envoy::extensions::transport_sockets::tls::v3 as sds;
use api::envoy::service::discovery::v3::Resource;
use api::istio::networking::nds::v1 as nds;
use api::prost::{Message, Name};
use api::prost_types::Any;
use bytes::Bytes;

use crate::config::{
    self, Cluster, ConfigError, Listener, LoadAssignment, NameTable, NetworkFilter, Reference, ResourceKind as Kind,
    ResourceSource, RouteSource, Secret, Snapshot, Source, convert,
};
use crate::route::RouteTable;
use crate::tls;

/// Where a resource came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The bootstrap file: no other resource of its kind and name is taken.
    Static,
    Ads,
    File(PathBuf),
}

/// A resource that was taken.
#[derive(Debug)]
pub struct Held {
    pub name: Box<str>,
    pub version: Box<str>,
    kind: Kind,
    /// As it came, which takes a third of the room of what it becomes: to be shown, kept on disk and read again.
    encoded: Bytes,
    pub origin: Origin,
    pub updated: SystemTime,
    references: Vec<Reference>,
    /// The files it names, and a digest of what they held.
    files: Vec<(PathBuf, u64)>,
    /// Directories it wants watched besides those of the files.
    watched: Vec<PathBuf>,
    model: Model,
}

#[derive(Clone, Debug)]
enum Model {
    Cluster(Arc<Cluster>),
    Endpoint(Arc<LoadAssignment>),
    Listener(Arc<Listener>),
    Route(Arc<RouteTable>),
    Secret(Arc<Secret>),
    Names(Arc<NameTable>),
}

/// A resource that was not taken, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    pub wire: Resource,
    pub reason: String,
    pub at: SystemTime,
}

type ByName = BTreeMap<String, Arc<Held>>;
pub type Key = (Kind, String);

#[derive(Clone, Debug, Default)]
pub struct Resources {
    held: BTreeMap<Kind, ByName>,
    /// The listeners and clusters that serve: the last of which all came that they refer to.
    in_force: BTreeMap<Kind, ByName>,
    /// What does not exist, or did not come in time.
    absent: BTreeSet<Key>,
    refused: BTreeMap<Key, Refused>,
    /// The secrets that the agent in this process keeps; they are asked of nobody.
    own_secrets: &'static [&'static str],
}

/// The secrets of the mesh's own identity.
pub const OWN_SECRETS: &[&str] = &["default", "ROOTCA"];

impl Resources {
    pub fn with_own_secrets(own_secrets: &'static [&'static str]) -> Self {
        Self { own_secrets, ..Self::default() }
    }

    /// What stands in an encoded bootstrap file, which has been checked before and is shared by all of them.
    pub fn of_file(file: &Bytes) -> Self {
        let mut resources = Self::default();
        for (kind, encoded) in config::static_resources(file) {
            let given = name_of(kind, &encoded).map(|name| Given { name, encoded, ..Given::default() });
            if let Err(error) = given.and_then(|given| resources.take(kind, given, Origin::Static)) {
                tracing::error!(error, "a static resource is left out");
            }
        }
        resources
    }

    /// Takes a resource; an error leaves the previous one in its place.
    pub fn insert(&mut self, kind: Kind, wire: Resource, origin: Origin) -> Result<(), String> {
        self.take(kind, Given::from(wire), origin)
    }

    fn take(&mut self, kind: Kind, given: Given, origin: Origin) -> Result<(), String> {
        let name = given.name.clone();
        let key = (kind, name.clone());
        let held = Held::new(kind, &given, origin).and_then(|held| self.fits(&key, &held).map(|()| held));
        match held {
            Ok(held) => {
                self.absent.remove(&key);
                self.refused.remove(&key);
                self.held.entry(kind).or_default().insert(name, Arc::new(held));
                Ok(())
            }
            Err(reason) => {
                if !self.holds(&key) {
                    // Nothing waits for what was refused.
                    self.absent.insert(key.clone());
                }
                self.refused
                    .insert(key, Refused { wire: given.resource(kind), reason: reason.clone(), at: SystemTime::now() });
                Err(format!("{name}: {reason}"))
            }
        }
    }

    /// Whether a resource can stand beside the others.
    fn fits(&self, key: &Key, held: &Held) -> Result<(), String> {
        if let Model::Listener(listener) = &held.model {
            let same =
                |other: &Listener| listener.addresses().any(|address| address.port() != 0 && other.is_at(address));
            let taken = |(name, other): (&String, &Arc<Held>)| match &other.model {
                Model::Listener(other) if *name != key.1 && same(other) => Some(name.clone()),
                _ => None,
            };
            if let Some(other) = self.of(Kind::Listener).find_map(taken) {
                let at = "listener.address".to_owned();
                let rule = format!("the listener {other:?} has this address");
                return Err(ConfigError { path: at, value: listener.address.to_string(), rule }.to_string());
            }
        }
        Ok(())
    }

    /// The source says that there is no such resource.
    pub fn remove(&mut self, key: &Key) {
        self.forget(key);
        self.absent.insert(key.clone());
    }

    /// Nothing refers to the resource any more; should something do so again, it has to come anew.
    pub fn forget(&mut self, key: &Key) {
        if let Some(held) = self.held.get_mut(&key.0) {
            held.remove(&key.1);
        }
        self.absent.remove(key);
        self.refused.remove(key);
    }

    /// Waits no longer for what has not come.
    pub fn give_up(&mut self, key: Key) {
        self.absent.insert(key);
    }

    pub fn holds(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Held>> {
        self.held.get(&key.0)?.get(&key.1)
    }

    /// All of a kind that are held, by name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&String, &Arc<Held>)> {
        self.held.get(&kind).into_iter().flatten()
    }

    /// The listeners or clusters that serve.
    pub fn in_force(&self, kind: Kind) -> impl Iterator<Item = (&String, &Arc<Held>)> {
        self.in_force.get(&kind).into_iter().flatten()
    }

    pub fn refused(&self) -> impl Iterator<Item = (&Key, &Refused)> {
        self.refused.iter()
    }

    /// Who refers to a resource: clusters to endpoints, by name, and connection managers to routes, by `stat_prefix`.
    pub fn owners(&self, kind: Kind, name: &str) -> BTreeSet<String> {
        let refers = |held: &Held| held.references.iter().any(|one| one.kind == kind && one.name == name);
        if kind == Kind::Endpoint {
            let same = self.get(&(Kind::Cluster, name.to_owned())).filter(|held| refers(held));
            let all =
                || self.of(Kind::Cluster).filter(|(_, held)| refers(held)).map(|(name, _)| name.clone()).collect();
            return same.map_or_else(all, |_| [name.to_owned()].into());
        }
        let listeners = self.of(Kind::Listener).filter_map(|(_, held)| match &held.model {
            Model::Listener(listener) => Some(listener),
            _ => None,
        });
        let chains = listeners.flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain));
        let prefixes = chains.filter_map(|chain| match &chain.filter {
            NetworkFilter::Http(manager) if manager.routes == RouteSource::Rds(name.to_owned()) => {
                Some(manager.stat_prefix.clone())
            }
            _ => None,
        });
        prefixes.collect()
    }

    /// Versions of what a server gave, so that a new stream brings the difference only.
    pub fn versions(&self, kind: Kind) -> BTreeMap<String, String> {
        let of_server = self.of(kind).filter(|(_, held)| held.origin == Origin::Ads);
        of_server.map(|(name, held)| (name.clone(), held.version.to_string())).collect()
    }

    /// What listeners and clusters refer to, those in force and those that will be, with its source.
    pub fn wanted(&self) -> BTreeMap<Key, ResourceSource> {
        let mut wanted = BTreeMap::new();
        for kind in [Kind::Cluster, Kind::Listener] {
            for (_, held) in self.of(kind).chain(self.in_force(kind)) {
                for reference in &held.references {
                    let Some(source) = &reference.source else { continue };
                    if !self.is_own(reference) {
                        let key = (reference.kind, reference.name.clone());
                        wanted.entry(key).or_insert_with(|| held.resolved(source));
                    }
                }
            }
        }
        wanted
    }

    fn is_own(&self, reference: &Reference) -> bool {
        reference.kind == Kind::Secret && self.own_secrets.contains(&reference.name.as_str())
    }

    fn is_missing(&self, reference: &Reference) -> bool {
        let key = (reference.kind, reference.name.clone());
        reference.source.is_some() && !self.is_own(reference) && !self.holds(&key) && !self.absent.contains(&key)
    }

    /// What is referred to and has neither come nor is known not to exist.
    pub fn missing(&self) -> BTreeMap<Key, ResourceSource> {
        let mut missing = self.wanted();
        missing.retain(|key, _| !self.holds(key) && !self.absent.contains(key));
        missing
    }

    /// Puts in force each listener and cluster of which everything came that it refers to. The others stay as they
    /// are in force now.
    pub fn advance(&mut self) {
        for kind in [Kind::Cluster, Kind::Listener] {
            let mut next = ByName::new();
            for (name, held) in self.of(kind) {
                let before = || self.in_force.get(&kind).and_then(|before| before.get(name));
                let waits = held.references.iter().any(|reference| self.is_missing(reference));
                if let Some(held) = if waits { before() } else { Some(held) } {
                    next.insert(name.clone(), Arc::clone(held));
                }
            }
            self.in_force.insert(kind, next);
        }
    }

    /// The model of what is in force; sharing what is held.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let serving = [Kind::Cluster, Kind::Listener].into_iter().flat_map(|kind| self.in_force(kind));
        let referred =
            [Kind::Endpoint, Kind::Route, Kind::Secret, Kind::NameTable].into_iter().flat_map(|kind| self.of(kind));
        for (name, held) in serving.chain(referred) {
            let name = name.clone();
            match held.model.clone() {
                Model::Cluster(cluster) => drop(snapshot.clusters.insert(name, cluster)),
                Model::Endpoint(endpoints) => drop(snapshot.endpoints.insert(name, endpoints)),
                Model::Listener(listener) => drop(snapshot.listeners.insert(name, listener)),
                Model::Route(routes) => drop(snapshot.routes.insert(name, routes)),
                Model::Secret(secret) => drop(snapshot.secrets.insert(name, secret)),
                Model::Names(names) => snapshot.names = Some(names),
            }
        }
        snapshot
    }

    /// The directories in which files lie that resources name.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let all = Kind::ALL.into_iter().flat_map(|kind| self.of(kind));
        let of_files = |held: &Held| {
            let parents: Vec<_> = held.files.iter().filter_map(|(path, _)| path.parent().map(PathBuf::from)).collect();
            parents.into_iter().chain(held.watched.clone())
        };
        all.flat_map(|(_, held)| of_files(held)).collect()
    }

    /// Reads again the resources whose files changed; true if any did. A file that cannot be used leaves what was.
    pub fn reread(&mut self) -> bool {
        let changed = |held: &Held| held.files.iter().any(|(path, digest)| digest_of(path) != Some(*digest));
        let all = Kind::ALL.into_iter().flat_map(|kind| self.of(kind).map(move |(_, held)| (kind, held)));
        let stale: Vec<_> =
            all.filter(|(_, held)| changed(held)).map(|(kind, held)| (kind, Arc::clone(held))).collect();
        let mut any = false;
        for (kind, held) in stale {
            match self.take(kind, held.given(), held.origin.clone()) {
                Ok(()) => {
                    any = true;
                    tracing::info!(resource = &*held.name, "took up files that changed");
                }
                Err(error) => tracing::warn!(%error, "files that changed cannot be used; staying with what they held"),
            }
        }
        any
    }
}

/// A resource on its way in.
#[derive(Default)]
struct Given {
    name: String,
    version: String,
    encoded: Bytes,
    has_ttl: bool,
}

impl From<Resource> for Given {
    fn from(wire: Resource) -> Self {
        let encoded = wire.resource.map(|any| Bytes::from(any.value.into_boxed_slice())).unwrap_or_default();
        Self { name: wire.name, version: wire.version, encoded, has_ttl: wire.ttl.is_some() }
    }
}

impl Given {
    fn resource(self, kind: Kind) -> Resource {
        let any = Any { type_url: kind.type_url().to_owned(), value: self.encoded.into() };
        Resource { name: self.name, version: self.version, resource: Some(any), ..Resource::default() }
    }
}

impl Held {
    fn new(kind: Kind, given: &Given, origin: Origin) -> Result<Self, String> {
        if given.has_ttl {
            return Err("ttl: set: is not supported; give the resource without a time to live".to_owned());
        }
        let files = RefCell::new(Vec::new());
        let read = |path: &str| {
            let bytes = std::fs::read(path)?;
            files.borrow_mut().push((PathBuf::from(path), digest(&bytes)));
            Ok(bytes)
        };
        let bytes = &*given.encoded;
        let (mut references, mut watched) = (Vec::new(), Vec::new());
        let model = match kind {
            Kind::Cluster => {
                let wire = decode::<cds::Cluster>(bytes)?;
                let cluster = convert::cluster(&wire, &read).map_err(text)?;
                references = convert::of_cluster(&wire).map_err(text)?;
                if !files.borrow().is_empty() {
                    watched = convert::watched_directories(&wire);
                }
                tls::check_cluster(&cluster).map_err(|error| error.to_string())?;
                Model::Cluster(Arc::new(cluster))
            }
            Kind::Endpoint => {
                let wire = decode::<eds::ClusterLoadAssignment>(bytes)?;
                Model::Endpoint(Arc::new(convert::load_assignment(&wire).map_err(text)?))
            }
            Kind::Listener => {
                let wire = decode::<lds::Listener>(bytes)?;
                let mut listener = convert::listener(&wire, &read).map_err(text)?;
                if listener.name.is_empty() {
                    listener.name = listener.address.to_string();
                }
                references = convert::of_listener(&wire).map_err(text)?;
                if !files.borrow().is_empty() {
                    watched = convert::watched_directories(&wire);
                }
                tls::check_listener(&listener).map_err(|error| error.to_string())?;
                Model::Listener(Arc::new(listener))
            }
            Kind::Route => {
                let wire = decode::<rds::RouteConfiguration>(bytes)?;
                Model::Route(Arc::new(convert::route_table(&wire).map_err(text)?))
            }
            Kind::Secret => {
                let wire = decode::<sds::Secret>(bytes)?;
                let secret = convert::secret(&wire, &read).map_err(text)?;
                watched = convert::watched_directories(&wire);
                tls::check_secret(&secret).map_err(|error| error.to_string())?;
                Model::Secret(Arc::new(secret))
            }
            Kind::NameTable => {
                let wire = decode::<nds::NameTable>(bytes)?;
                Model::Names(Arc::new(convert::name_table(&wire).map_err(text)?))
            }
        };
        Ok(Self {
            name: given.name.as_str().into(),
            version: given.version.as_str().into(),
            kind,
            encoded: given.encoded.clone(),
            origin,
            updated: SystemTime::now(),
            references,
            files: files.into_inner(),
            watched,
            model,
        })
    }

    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    pub fn any(&self) -> Any {
        Any { type_url: self.kind.type_url().to_owned(), value: self.encoded.to_vec() }
    }

    /// As it came.
    pub fn resource(&self) -> Resource {
        self.given().resource(self.kind)
    }

    fn given(&self) -> Given {
        let (name, version) = (self.name.to_string(), self.version.to_string());
        Given { name, version, encoded: self.encoded.clone(), has_ttl: false }
    }

    /// The source of something that this resource refers to.
    fn resolved(&self, source: &ResourceSource) -> ResourceSource {
        let from = match (&source.from, &self.origin) {
            (Source::Same, Origin::File(path)) => {
                Source::File(config::FileSource { path: path.clone(), watched_directory: None })
            }
            (Source::Same, _) => Source::Ads,
            (other, _) => other.clone(),
        };
        ResourceSource { from, fetch_timeout: source.fetch_timeout }
    }
}

fn decode<M: Message + Name + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| format!("this is no {}: {error}", M::full_name()))
}

fn text(error: ConfigError) -> String {
    error.to_string()
}

fn digest_of(path: &std::path::Path) -> Option<u64> {
    std::fs::read(path).ok().map(|bytes| digest(&bytes))
}

/// Tells changed content from unchanged; nobody gains by a collision.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The name of a resource, as it says itself.
pub fn name_of(kind: Kind, bytes: &[u8]) -> Result<String, String> {
    Ok(match kind {
        Kind::Cluster => decode::<cds::Cluster>(bytes)?.name,
        Kind::Endpoint => decode::<eds::ClusterLoadAssignment>(bytes)?.cluster_name,
        Kind::Listener => {
            let listener = decode::<lds::Listener>(bytes)?;
            // A listener without a name is called by its address.
            let address = || convert::listener(&listener, &|_| Ok(Vec::new())).map(|made| made.address.to_string());
            if listener.name.is_empty() { address().map_err(text)? } else { listener.name.clone() }
        }
        Kind::Route => decode::<rds::RouteConfiguration>(bytes)?.name,
        Kind::Secret => decode::<sds::Secret>(bytes)?.name,
        // There is one, and it does not say what it is called.
        Kind::NameTable => "nametable".to_owned(),
    })
}

#[cfg(test)]
mod tests;
