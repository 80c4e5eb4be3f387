//! Wire contracts of the mesh: Envoy's v3 messages, Istio's certificate service, and the value types that cross the
//! wire. Knows no other crate of ours and does no I/O.

pub mod cel;
mod deny_list;
mod descriptors;
mod document;
mod hostname;
pub mod latency;
pub mod schema;
mod spiffe;
mod svid;
pub mod tap;

pub use deny_list::{Denied, DenyList};
pub use descriptors::{descriptor_pool, release_descriptors};
pub use document::Document;
pub use generated::{envoy, google, istio, opentelemetry, stats, udpa, weft, xds};
pub use hostname::{Hostname, HostnameError, is_dns_label};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain};
pub use svid::{SvidError, X509Svid, may_sign};

pub use prost;
pub use prost_types;

/// Messages generated from the .proto files that the `envoy-types` package ships, and from `api/proto/`.
#[allow(clippy::all, clippy::unwrap_used, rust_2018_idioms, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// The SPIFFE Workload API; its messages are of no package.
pub mod workload_api {
    pub use crate::generated::spiffe_workload_api_client as client;
    pub use crate::generated::spiffe_workload_api_server as server;
    pub use crate::generated::{
        JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
        ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
    };
}

/// Type URLs of the discovery services (Envoy `xds_protocol`).
pub mod type_url {
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// No resource: how an agent tells whether its workload serves (Istio, `HealthInformation`).
    pub const HEALTH: &str = "type.googleapis.com/istio.v1.HealthInformation";
    /// The names that an agent answers over DNS (Istio, NDS).
    pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
}

/// Packs a message into an `Any` under its own type URL.
pub fn any<M: prost::Name>(message: &M) -> prost_types::Any {
    prost_types::Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
