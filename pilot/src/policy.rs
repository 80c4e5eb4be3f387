//! Security policies as they apply to a workload.

mod access;
mod guard;
pub mod judge;
mod peer_authentication;
mod tokens;

use std::sync::Arc;

use galley::Config;
use galley::kinds::{Labels, MtlsMode, selects};

use crate::inputs::Inputs;
use crate::node::Node;

pub(crate) use guard::Guard;
pub(crate) use peer_authentication::PeerPolicies;

/// What a workload's port demands of its callers; never `Unset`.
pub fn mtls_mode(inputs: &Inputs, namespace: &str, labels: &Labels, port: u16) -> MtlsMode {
    let policies = PeerPolicies::new(&inputs.config.peer_authentications, &inputs.mesh.root_namespace);
    policies.of_port(namespace, labels, port)
}

/// The policies that a workload is under: those of the root namespace, then those of its own.
fn of_node<'a, K>(
    policies: &'a [Arc<Config<K>>],
    root: &str,
    node: &Node,
    selector: impl Fn(&K) -> Option<&Labels>,
) -> Vec<&'a Config<K>> {
    let own = Some(node.namespace.as_str()).filter(|own| *own != root);
    let scopes = [Some(root), own].into_iter().flatten();
    let selected = scopes.flat_map(|scope| policies.iter().filter(move |policy| policy.meta.namespace == scope));
    let selected = selected.map(|policy| &**policy);
    selected.filter(|policy| selector(&policy.spec).is_none_or(|labels| selects(labels, &node.labels))).collect()
}
