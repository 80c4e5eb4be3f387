//! What this workload is in the mesh, as the control plane tells a member (`weft.v1.Membership`).

use std::net::IpAddr;

use api::weft::v1 as wire;
use api::{SpiffeError, TrustDomain};
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use wire::membership_client::MembershipClient;

use crate::control_plane::{channel, control_plane_id};
use crate::identity::Identity;

/// Asks the control plane, by the live identity.
#[derive(Clone)]
pub struct Membership {
    client: MembershipClient<Channel>,
}

impl Membership {
    /// `control_plane` is `https://host:port`.
    pub fn new(control_plane: &str, identity: &Identity, trust_domain: &TrustDomain) -> Result<Self, SpiffeError> {
        let server = control_plane_id(trust_domain)?;
        Ok(Self { client: MembershipClient::new(channel(control_plane, identity, server)) })
    }

    /// What it is at an address, now and after each change. An empty name leaves the name to the control plane.
    pub async fn follow(&mut self, address: IpAddr, workload: &str) -> Result<Streaming<wire::Member>, Status> {
        let request = wire::FollowRequest { address: address.to_string(), workload: workload.to_owned() };
        Ok(self.client.follow(request).await?.into_inner())
    }

    /// What it is at an address now.
    pub async fn describe(&mut self, address: IpAddr, workload: &str) -> Result<wire::Member, Status> {
        let first = self.follow(address, workload).await?.message().await?;
        first.ok_or_else(|| Status::unavailable("the control plane ended the answer before it began"))
    }

    /// Ends the membership.
    pub async fn leave(&mut self) -> Result<(), Status> {
        self.client.leave(wire::LeaveRequest {}).await.map(drop)
    }
}
