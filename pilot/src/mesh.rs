//! Settings that hold for the whole mesh.

use api::TrustDomain;
use galley::kinds::{PathForm, Topology};
use runtime::Reach;

/// What Istio keeps in its mesh configuration, as far as the compile needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshConfig {
    pub trust_domain: TrustDomain,
    /// Other names of the trust domain: identities under them are taken for its own.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The DNS domain under which short names resolve.
    pub domain: String,
    /// Policies in this namespace hold for all.
    pub root_namespace: String,
    /// Where proxies write their access log (`/dev/stdout`); `None` is no log.
    pub access_log: Option<String>,
    pub outbound_policy: OutboundPolicy,
    /// The share of requests that are traced, in percent, as far as no trace is under way; `None`: none are.
    pub trace_sampling: Option<f64>,
    /// Whether callers use mutual TLS to every endpoint that speaks it (Istio `enableAutoMtls`).
    pub auto_mtls: bool,
    /// Where proxies may fetch what RequestAuthentications name.
    pub keys_from: Reach,
    /// The form of paths; `None`: BASE, and where rules look at paths DECODE_AND_MERGE_SLASHES.
    pub paths: Option<PathForm>,
    /// What stands in front of gateways.
    pub topology: Topology,
}

/// What becomes of requests to hosts that the mesh does not know (Istio `outboundTrafficPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundPolicy {
    AllowAny,
    RegistryOnly,
}

impl MeshConfig {
    /// Istio's defaults for a trust domain.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            trust_domain_aliases: Vec::new(),
            domain: "cluster.local".into(),
            root_namespace: galley::kinds::MeshConfig::NAMESPACE.into(),
            access_log: None,
            outbound_policy: OutboundPolicy::AllowAny,
            trace_sampling: None,
            auto_mtls: true,
            keys_from: Reach::default(),
            paths: None,
            topology: Topology::default(),
        }
    }
}
