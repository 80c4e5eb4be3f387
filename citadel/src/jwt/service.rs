//! The service `weft.v1.Jwt`: whoever holds a certificate of this mesh gets tokens of its own identity, and no other.

use std::pin::Pin;
use std::sync::Arc;

use api::weft::v1 as wire;
use api::{DenyList, SpiffeId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::jwt_server::{Jwt, JwtServer};

use super::{JwtAuthority, JwtError, MintedJwt};
use crate::{
    Attestation, Attestor as _, Client, CurrentCertificate, Decision, Decisions, Evidence, MemberError, Members,
    Outcome, PeerCertificates, Rates, Refusal, RefusalKind, Wanted, identity,
};

/// A request is a few names.
const MAX_REQUEST: usize = 16 * 1024;

/// The service. Requests find their peer's certificates in the extension `PeerCertificates`, which `incoming` provides.
pub struct JwtService {
    authority: Arc<JwtAuthority>,
    attestor: CurrentCertificate,
    members: Members,
    denied: watch::Receiver<Arc<DenyList>>,
    reserved: SpiffeId,
    rates: Rates,
    decisions: Decisions,
}

impl JwtService {
    /// `reserved` is the control plane's own identity, which nobody obtains here. `decisions` hears of every token that
    /// is issued or refused.
    pub fn new(
        authority: Arc<JwtAuthority>,
        attestor: CurrentCertificate,
        members: Members,
        denied: watch::Receiver<Arc<DenyList>>,
        reserved: SpiffeId,
        decisions: Decisions,
    ) -> Self {
        Self { authority, attestor, members, denied, reserved, rates: Rates::default(), decisions }
    }

    /// The tonic service, with its limit on the size of requests.
    pub fn into_service(self) -> JwtServer<Self> {
        JwtServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }

    /// The caller's identity, if it still belongs to the mesh and does not ask too much.
    async fn caller<T>(&self, request: &Request<T>) -> Result<SpiffeId, Status> {
        let peer = request.extensions().get::<PeerCertificates>();
        self.rates.take(&Client::of(peer), Instant::now())?;
        let evidence = Evidence { bearer: None, peer, expired: &[], key_fingerprint: "" };
        let attested = self.attestor.attest(&evidence).await.map_err(status)?;
        let nobody = || Status::unauthenticated("present the certificate of a workload of this mesh");
        let attested = attested.ok_or_else(nobody)?;
        let id = identity(self.reserved.trust_domain(), &self.reserved, &attested).map_err(status)?;
        let member = match &attested {
            Attestation::CurrentCertificate { member, .. } => member.as_deref(),
            _ => None,
        };
        let serial = attested.serial().unwrap_or_default();
        if let Some(denied) = self.denied.borrow().denies_parts(serial, || id.to_string(), member) {
            return Err(Status::permission_denied(denied.to_string()));
        }
        if let Some(member) = member {
            match self.members.find(member).await {
                Ok(_) => {}
                Err(error @ MemberError::Store(_)) => return Err(Status::unavailable(error.to_string())),
                Err(error) => return Err(Status::permission_denied(error.to_string())),
            }
        }
        Ok(id)
    }

    async fn minted(&self, request: &Request<wire::MintRequest>) -> Result<(SpiffeId, MintedJwt), Status> {
        let id = self.caller(request).await?;
        let minted = self.authority.mint(&id, &request.get_ref().audience).map_err(|error| match error {
            JwtError::NoAudience | JwtError::Audience => Status::invalid_argument(error.to_string()),
            JwtError::ForeignTrustDomain { .. } => Status::permission_denied(error.to_string()),
            _ => Status::unavailable(error.to_string()),
        })?;
        Ok((id, minted))
    }
}

type Keys = Pin<Box<dyn Stream<Item = Result<wire::Keys, Status>> + Send>>;

#[tonic::async_trait]
impl Jwt for JwtService {
    type FollowKeysStream = Keys;

    async fn mint(&self, request: Request<wire::MintRequest>) -> Result<Response<wire::MintedToken>, Status> {
        let asked = Decision::of(Wanted::JwtSvid, request.extensions().get::<PeerCertificates>());
        let (id, minted) = match self.minted(&request).await {
            Ok(minted) => minted,
            Err(status) => {
                self.decisions.refused(asked, status.code(), status.message());
                return Err(status);
            }
        };
        let audience = &request.get_ref().audience;
        let outcome = Outcome::Issued { what: audience.join(", "), until: minted.expires };
        let attested_by = "its certificate".to_owned();
        let told = self.decisions.issued(Decision { identity: id.to_string(), attested_by, outcome, ..asked }).await;
        told.map_err(|unseen| Status::unavailable(unseen.to_string()))?;
        tracing::info!(identity = %id, ?audience, expires = minted.expires, "a JWT-SVID was issued");
        let expires = i64::try_from(minted.expires).unwrap_or(i64::MAX);
        Ok(Response::new(wire::MintedToken { token: minted.token, expires }))
    }

    async fn follow_keys(&self, request: Request<wire::FollowKeysRequest>) -> Result<Response<Keys>, Status> {
        self.caller(&request).await?;
        let mut told = self.authority.told();
        told.mark_changed();
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = answers.closed() => return,
                    changed = told.changed() => if changed.is_err() { return },
                }
                let jwks = told.borrow_and_update().jwks().to_string();
                if answers.send(Ok(wire::Keys { jwks })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

fn status(refusal: Refusal) -> Status {
    match refusal.kind {
        RefusalKind::Unauthenticated => Status::unauthenticated(refusal.message),
        RefusalKind::Denied => Status::permission_denied(refusal.message),
        RefusalKind::Unavailable => Status::unavailable(refusal.message),
    }
}
