//! The views that the handlers read, and the few things they may change.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::TrustDomain;
use registry::{Catalog, ServiceKey};
use tokio::sync::watch;

use crate::auth::Door;
use crate::kept::Kept;

/// Cloning shares.
#[derive(Clone)]
pub struct State {
    pub galley: galley::Galley,
    pub catalog: watch::Receiver<Arc<Catalog>>,
    pub discovery: pilot::Discovery,
    /// What proxies' configuration is compiled from.
    pub inputs: watch::Receiver<pilot::Inputs>,
    pub join_tokens: citadel::Tokens,
    pub members: citadel::Members,
    pub agents: registry::Agents,
    pub steering: registry::Steering,
    pub api_tokens: citadel::ApiTokens,
    pub mixer: mixer::Mixer,
    pub door: Door,
    pub trust_domain: TrustDomain,
    /// The roots that vouch for the mesh.
    pub bundle: watch::Receiver<Arc<citadel::TrustBundle>>,
    /// The same, and the keys of tokens, as other trust domains read them.
    pub spiffe_bundle: citadel::SpiffeBundle,
    pub rotation: citadel::Rotation,
    pub denials: citadel::Denials,
    /// What certificates were issued.
    pub ledger: citadel::Ledger,
    /// What became of requests for them.
    pub issuances: citadel::Issuances,
    /// What the port of proxies takes of connections.
    pub rooms: citadel::Rooms,
    /// Where what the API itself keeps outlives it.
    pub store: Arc<dyn store::Store>,
    pub kept: Kept,
}

impl State {
    /// The catalog as it is now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// The mesh's DNS domain.
    pub(crate) fn domain(&self) -> String {
        self.inputs.borrow().mesh.domain.clone()
    }

    /// The services of all registries.
    pub(crate) fn known_services(&self) -> BTreeSet<ServiceKey> {
        self.catalog().entries().map(|entry| entry.service.key.clone()).collect()
    }
}
