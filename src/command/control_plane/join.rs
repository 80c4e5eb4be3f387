//! Ties a proxy's connection to the mesh: who it is by its certificate, and which services it brings.

use citadel::PeerCertificates;
use pilot::{Attachments, Node, NodeKind, Peer};
use registry::{Agents, RegisteredPort, Registration};
use tonic::{Request, Status};

/// Puts the identity of a connection's certificate into its requests.
pub fn authenticate(mut request: Request<()>) -> Result<Request<()>, Status> {
    let identity = request.extensions().get::<PeerCertificates>().and_then(PeerCertificates::identity);
    if let Some(identity) = identity {
        let id = identity.map_err(|error| Status::unauthenticated(error.to_string()))?;
        request.extensions_mut().insert(Peer(id));
    }
    Ok(request)
}

/// Registers the services of connected sidecars.
pub struct Joined(pub Agents);

impl Attachments for Joined {
    fn connected(&self, node: &Node) -> Box<dyn Send> {
        match registration(node) {
            Some(registration) => Box::new(self.0.register(registration)),
            None => Box::new(()),
        }
    }
}

/// What a node serves; `None` for gateways and for sidecars that serve nothing. Namespace and service account were
/// held against the certificate when the node was let in.
fn registration(node: &Node) -> Option<Registration> {
    if node.kind != NodeKind::Sidecar || node.services.is_empty() {
        return None;
    }
    let ports = node.services.iter().map(|served| RegisteredPort {
        service: served.service.clone(),
        port: served.port,
        protocol: served.protocol,
    });
    Some(Registration {
        workload: node.workload.clone(),
        namespace: node.namespace.clone(),
        service_account: node.service_account.clone()?,
        labels: node.labels.clone(),
        address: *node.addresses.first()?,
        locality: node.locality.clone(),
        cluster: node.cluster.clone(),
        ports: ports.collect(),
    })
}
