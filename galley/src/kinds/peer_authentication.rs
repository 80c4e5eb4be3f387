//! PeerAuthentication: whether workloads demand mutual TLS of their callers (Istio `peer_authentication.proto`).

use std::collections::BTreeMap;

use super::shared::Labels;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// `None`: every workload of the namespace (of the mesh, in the root namespace).
    pub selector: Option<Labels>,
    pub mode: MtlsMode,
    /// By the port the workload listens on; only together with a selector.
    pub port_level: BTreeMap<u16, MtlsMode>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtlsMode {
    /// Inherited from the next wider scope.
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}
