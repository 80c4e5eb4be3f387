//! Who may report: a proxy of the mesh, of the namespace and the service account that its certificate names.

use std::net::SocketAddr;

use ::api::weft::v1 as wire;
use citadel::PeerCertificates;
use mixer::{Admission, Reporter};
use pilot::Peer;
use tonic::{Extensions, Status};

use super::join::Joined;

/// The longest text that a proxy says of itself, in characters.
const LONGEST: usize = 100;

#[tonic::async_trait]
impl Admission for Joined {
    async fn admit(&self, caller: &Extensions, told: wire::Reporter) -> Result<Reporter, Status> {
        let peer = caller.get::<Peer>().ok_or_else(|| Status::unauthenticated("a proxy reports by its certificate"))?;
        self.member(Some(peer)).await?;
        let workload = told.workload.ok_or_else(|| Status::invalid_argument("the report names no workload"))?;
        let (namespace, _) = peer.id.workload().ok_or_else(|| {
            Status::permission_denied(format!(
                "{} is no workload of the mesh, and so has no traffic to tell of",
                peer.id
            ))
        })?;
        if namespace != workload.namespace {
            let (id, of) = (&peer.id, &workload.namespace);
            return Err(Status::permission_denied(format!("{id} may not report for a workload of namespace {of}")));
        }
        let named = told.node.split('~').nth(2).and_then(|name| name.rsplit_once('.'));
        if let Some((_, other)) = named.filter(|(_, other)| *other != namespace) {
            let id = &peer.id;
            return Err(Status::permission_denied(format!(
                "{id} may not report as {}, of namespace {other}",
                told.node
            )));
        }
        let from = caller.get::<PeerCertificates>().and_then(|peer| peer.address);
        // What listens on a machine's own loopback is out of reach for others.
        let near = from.is_some_and(|from| from.ip().is_loopback());
        let metrics = told.metrics.parse::<SocketAddr>().ok().filter(|at| near || !at.ip().is_loopback());
        Ok(Reporter {
            metrics,
            metrics_path: told.metrics_path,
            gateway: told.node.starts_with("router~"),
            node: told.node,
            workload,
            principal: peer.id.to_string(),
            started_at: told.started_at,
            member: peer.member.clone(),
            version: line(told.version),
            os: line(told.os),
        })
    }
}

/// What can be shown on a line.
fn line(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}
