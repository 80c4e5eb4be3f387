//! Encoded resources and the snapshot that holds all of a proxy's. A resource is encoded once, named by the hash of
//! its content, and shared by every proxy that sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use api::prost_types::Any;
use api::{prost, type_url};

/// The types that the discovery service serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
    /// The certificates of gateways; what a proxy is in the mesh it keeps itself.
    Secret,
    /// The names that agents answer over DNS: one resource.
    NameTable,
}

impl Kind {
    /// In the order of a push: what is referred to comes before what refers to it.
    pub const ALL: [Self; 6] =
        [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret, Self::NameTable];

    pub fn of_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
            Self::Secret => type_url::SECRET,
            Self::NameTable => type_url::NAME_TABLE,
        }
    }

    /// The discovery service's short name, as `proxy-status` shows it.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
            Self::Secret => "SDS",
            Self::NameTable => "NDS",
        }
    }

    /// Whether a subscription without names means everything.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::NameTable)
    }
}

/// One encoded resource. Equal when name and version are. Its content may be a private key, and is not shown.
#[derive(Clone)]
pub struct Resource {
    pub name: Arc<str>,
    /// The hash of the encoded content, in hexadecimal.
    pub version: Arc<str>,
    pub any: Arc<Any>,
}

impl Resource {
    pub(crate) fn encode<M: prost::Name>(name: &str, message: &M) -> Self {
        let any = api::any(message);
        let mut hasher = DefaultHasher::new();
        hasher.write(&any.value);
        Self { name: name.into(), version: format!("{:016x}", hasher.finish()).into(), any: Arc::new(any) }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.version == other.version
    }
}

/// Resources of one type, by name.
pub type ResourceMap = BTreeMap<Arc<str>, Resource>;

/// Resources of one type for one proxy: those it shares with others, and its own, which come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSet {
    shared: Arc<ResourceMap>,
    own: ResourceMap,
}

impl ResourceSet {
    pub(crate) fn new(shared: Arc<ResourceMap>, own: impl IntoIterator<Item = Resource>) -> Self {
        Self { shared, own: own.into_iter().map(|resource| (resource.name.clone(), resource)).collect() }
    }

    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.own.get(name).or_else(|| self.shared.get(name))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        let unhidden = self.shared.values().filter(|resource| !self.own.contains_key(&resource.name));
        self.own.values().chain(unhidden)
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }
}

/// All that one proxy runs on at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub clusters: ResourceSet,
    pub endpoints: ResourceSet,
    pub listeners: ResourceSet,
    pub routes: ResourceSet,
    pub secrets: ResourceSet,
    pub names: ResourceSet,
}

impl Snapshot {
    pub fn of(&self, kind: Kind) -> &ResourceSet {
        match kind {
            Kind::Cluster => &self.clusters,
            Kind::Endpoint => &self.endpoints,
            Kind::Listener => &self.listeners,
            Kind::Route => &self.routes,
            Kind::Secret => &self.secrets,
            Kind::NameTable => &self.names,
        }
    }
}
