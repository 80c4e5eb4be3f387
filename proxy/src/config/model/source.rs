//! Where resources come from that do not stand in the file: `envoy.config.core.v3.ConfigSource`.

use std::path::PathBuf;
use std::time::Duration;

use api::type_url;

/// The kinds of resource the proxy subscribes to, in the order in which a change of several must take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    Cluster,
    Endpoint,
    Listener,
    Route,
    Secret,
    /// The names that the agent answers over DNS.
    NameTable,
}

/// A source, and how long what waits for the resource waits (`initial_fetch_timeout`; `None` is for ever).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSource {
    pub from: Source,
    pub fetch_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Ads,
    /// Where the resource came from that refers to this one (`self`).
    Same,
    File(FileSource),
}

/// `envoy.config.core.v3.PathConfigSource`: a file that holds a discovery response.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSource {
    pub path: PathBuf,
    /// Watched besides the directory of the file.
    pub watched_directory: Option<PathBuf>,
}

/// That a listener or cluster needs another resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub kind: ResourceKind,
    pub name: String,
    /// `None`: it stands among the static resources.
    pub source: Option<ResourceSource>,
}

/// `envoy.config.bootstrap.v3.Bootstrap.DynamicResources`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicResources {
    pub ads: Option<Ads>,
    pub listeners: Option<ResourceSource>,
    pub clusters: Option<ResourceSource>,
}

/// The server that all of a proxy's resources come from over one stream (`ads_config`).
#[derive(Clone, Debug, PartialEq)]
pub struct Ads {
    /// `DELTA_GRPC`; else every answer holds the state of the world.
    pub incremental: bool,
    /// The static cluster whose endpoints serve it.
    pub cluster: String,
    /// The `:authority` of the stream; the cluster's name where the file gives none.
    pub authority: String,
    pub metadata: Vec<(String, String)>,
    /// Whether only the first request of a stream names the node.
    pub node_on_first_message_only: bool,
}

impl ResourceKind {
    pub const ALL: [Self; 6] =
        [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret, Self::NameTable];

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

    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// Whether everything of this kind is wanted without naming it.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::NameTable)
    }
}
