//! Security policies as they apply to a workload.

mod peer_authentication;

use galley::kinds::{Labels, MtlsMode};

use crate::inputs::Inputs;

pub(crate) use peer_authentication::PeerPolicies;

/// What a workload's port demands of its callers; never `Unset`.
pub fn mtls_mode(inputs: &Inputs, namespace: &str, labels: &Labels, port: u16) -> MtlsMode {
    let policies = PeerPolicies::new(&inputs.config.peer_authentications, &inputs.mesh.root_namespace);
    policies.of_port(namespace, labels, port)
}
