//! A Kubernetes API server that can be asked: found by a kubeconfig, or from inside a pod.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::Request;

/// A cluster by the name that operators know it by. Cloning shares.
#[derive(Clone)]
pub struct Cluster {
    name: Arc<str>,
    pub(super) client: Client,
}

/// Why a cluster cannot be asked. An API server that is away is no such reason: it is waited for.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the kubeconfig {file} cannot be used: {why}")]
    Kubeconfig { file: String, why: String },
    #[error("{IN_CLUSTER:?} is only for a control plane that runs in a pod with a service account: {0}")]
    NotInCluster(String),
}

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object changed meanwhile, or is gone: whoever follows it will be told.
    #[error("it changed meanwhile")]
    Outdated,
    #[error("{0}")]
    Refused(String),
}

/// A server that does not even take a connection is away.
const CONNECT: Duration = Duration::from_secs(3);

/// In place of a kubeconfig: the cluster that this process runs in, by its pod's service account.
pub const IN_CLUSTER: &str = "in-cluster";

impl Cluster {
    /// Reads how to reach a cluster, without reaching for it: a kubeconfig's current context, which names the cluster,
    /// or [`IN_CLUSTER`], which is called `kubernetes`.
    pub async fn open(source: &Path) -> Result<Self, ClusterError> {
        if source == Path::new(IN_CLUSTER) {
            let config = Config::incluster().map_err(|error| ClusterError::NotInCluster(error.to_string()))?;
            return Self::new("kubernetes", config).map_err(|error| ClusterError::NotInCluster(error.to_string()));
        }
        let refused = |why: String| ClusterError::Kubeconfig { file: source.display().to_string(), why };
        let kubeconfig = Kubeconfig::read_from(source).map_err(|error| refused(error.to_string()))?;
        let Some(context) = kubeconfig.current_context.clone().filter(|context| !context.is_empty()) else {
            return Err(refused("it has no current-context, which says which cluster is meant".into()));
        };
        let meant = kubeconfig.contexts.iter().find(|named| named.name == context);
        let meant = meant.and_then(|named| Some(&named.context.as_ref()?.cluster));
        let cluster = kubeconfig.clusters.iter().find(|named| Some(&named.name) == meant);
        let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
        let names_proxy = proxy.is_some_and(|url| !url.is_empty());
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| refused(error.to_string()))?;
        // A proxy that the environment names is for programs that call out of the network, as with Consul and etcd.
        if !names_proxy {
            config.proxy_url = None;
        }
        Self::new(&context, config).map_err(|error| refused(error.to_string()))
    }

    fn new(name: &str, mut config: Config) -> Result<Self, kube::Error> {
        // Who asks decides when to ask again, and shows that the server is away.
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT);
        Ok(Self { name: name.into(), client: Client::try_from(config)? })
    }

    /// The same cluster under another name than its kubeconfig's.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the status of one object, if it still has the version that `metadata.resourceVersion` of the body names.
    pub async fn write_status(&self, collection: &str, name: &str, body: &serde_json::Value) -> Result<(), WriteError> {
        let parameters = PatchParams { field_manager: Some("weft".into()), ..PatchParams::default() };
        let request = Request::new(collection).patch_subresource("status", name, &parameters, &Patch::Merge(body));
        let request = request.map_err(|error| WriteError::Refused(error.to_string()))?;
        match self.client.request::<serde::de::IgnoredAny>(request).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(WriteError::Outdated),
            Err(error) => Err(WriteError::Refused(super::follow::reason(&error))),
        }
    }
}

/// A moment as Kubernetes writes it, in Unix seconds.
pub fn unix_seconds(text: &str) -> Option<u64> {
    text.parse::<Timestamp>().ok().map(|time| time.as_second().max(0).cast_unsigned())
}

/// This moment, as Kubernetes writes it.
pub fn now() -> String {
    format!("{:.0}", Timestamp::now())
}
