//! Everything that stands between a caller and a workload, put in front of what serves it: tokens are verified, then
//! access is decided.

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::listener::v3 as listener;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;

use super::access::Access;
use super::tokens;
use crate::diagnostic::Findings;
use crate::node::Node;
use crate::visibility::View;

/// What the policies make of one workload's listeners. The default lets everything through.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// In the order in which a request comes by.
    pub http: Vec<http::HttpFilter>,
    network: Vec<listener::Filter>,
    /// Where keys are fetched from.
    pub clusters: Vec<cluster::Cluster>,
    /// Whether a rule looks at paths, so that one path must not be written in several ways.
    pub judges_paths: bool,
    /// Whether a rule looks at headers, so that `x_role` must not pass for `x-role` behind it.
    pub judges_headers: bool,
}

impl Guard {
    pub fn new(view: &View<'_>, node: &Node, findings: &mut Findings) -> Self {
        let access = Access::of(view.index, node);
        access.complain(view, node, findings);
        let (tokens, clusters) = tokens::compile(view, node, findings);
        let asked = access.asked(view, findings);
        Self {
            http: asked.http.into_iter().chain(tokens).chain(access.decided()).collect(),
            network: asked.network.into_iter().chain(access.of_connections()).collect(),
            clusters,
            judges_paths: access.judges_paths(),
            judges_headers: access.judges_plain_headers(),
        }
    }

    /// Chains that speak no HTTP, behind the policies.
    pub fn before(&self, mut chains: Vec<listener::FilterChain>) -> Vec<listener::FilterChain> {
        for chain in &mut chains {
            chain.filters.splice(0..0, self.network.iter().cloned());
        }
        chains
    }
}
