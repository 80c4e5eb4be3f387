//! Who may ask for which configuration: a peer gets only that of its own namespace and service account.

use api::SpiffeId;
use api::envoy::config::core::v3 as core;
use tonic::Status;

use crate::node::Node;

/// The node of a first request, if its peer may speak for it.
pub(super) fn admit(node: Option<&core::Node>, peer: Option<&SpiffeId>) -> Result<Node, Status> {
    let node = node.ok_or(crate::node::NodeError::Missing).and_then(Node::parse);
    let node = node.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let Some(peer) = peer else { return Ok(node) };
    let Some((namespace, account)) = peer.workload() else {
        return Err(Status::permission_denied(format!("{peer} is no workload of a namespace")));
    };
    // The name says a namespace too, and people know the proxy by it.
    let named = node.name.rsplit_once('.').map_or(&*node.namespace, |(_, namespace)| namespace);
    if named != node.namespace {
        return Err(denied(&node, peer, "namespace", named));
    }
    if namespace != node.namespace {
        return Err(denied(&node, peer, "namespace", &node.namespace));
    }
    match &node.service_account {
        Some(claimed) if claimed != account => Err(denied(&node, peer, "service account", claimed)),
        _ => Ok(node),
    }
}

fn denied(node: &Node, peer: &SpiffeId, what: &str, claimed: &str) -> Status {
    Status::permission_denied(format!(
        "proxy {} claims {what} {claimed:?}, but its certificate is for {peer}",
        node.name
    ))
}
