//! The signing service (`istio.v1.auth.IstioCertificateService`): a request's evidence is attested, the attestation
//! decides the identity, the authority signs.

mod issuances;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use api::istio::v1::auth::istio_certificate_service_server::{IstioCertificateService, IstioCertificateServiceServer};
use api::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use api::{DenyList, SpiffeId, TrustDomain};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

pub use issuances::Issuances;

use crate::self_signed::pem;
use crate::{
    Attestation, Attestor, Authority, Client, Decision, Decisions, Evidence, IssueError, IssueRequest, MemberError,
    Members, PeerCertificates, Queue, Rates, Refusal, RefusalKind, SubjectKey, Turn, Wanted, identity,
};

/// A request is a signing request and little else.
const MAX_REQUEST: usize = 64 * 1024;
/// The metadata that carries an expired certificate and its intermediate, in DER.
const EXPIRED: &str = "weft-expired-certificate-bin";
const MAX_CHAIN: usize = 4;
/// How many requests wait for what others say of their evidence, and how many of one client. They take no time of ours.
const ASKING: usize = 256;
const ASKING_OF_ONE: usize = 64;

/// The service. The first attestor that finds its kind of evidence decides; one that refuses ends it.
pub struct Signing {
    authority: Arc<dyn Authority>,
    attestors: Vec<Box<dyn Attestor>>,
    members: Members,
    trust_domain: TrustDomain,
    reserved: SpiffeId,
    denied: watch::Receiver<Arc<DenyList>>,
    rates: Rates,
    queue: Queue,
    /// Of those that wait for others.
    asking: Queue,
    issuances: Issuances,
    decisions: Decisions,
}

impl Signing {
    /// `reserved` is the control plane's own identity, which nobody obtains here.
    pub fn new(
        authority: Arc<dyn Authority>,
        attestors: Vec<Box<dyn Attestor>>,
        members: Members,
        reserved: SpiffeId,
    ) -> Self {
        Self {
            authority,
            attestors,
            members,
            trust_domain: reserved.trust_domain().clone(),
            reserved,
            denied: watch::channel(Arc::default()).1,
            rates: Rates::default(),
            queue: Queue::new(at_once()),
            asking: Queue::shared(ASKING, ASKING_OF_ONE),
            issuances: Issuances::default(),
            decisions: Decisions::default(),
        }
    }

    /// Turns away whoever is on the list.
    pub fn refusing(self, denied: watch::Receiver<Arc<DenyList>>) -> Self {
        Self { denied, ..self }
    }

    /// Tells of every request that is refused; the authority tells of what it issues.
    pub fn telling(self, decisions: Decisions) -> Self {
        Self { decisions, ..self }
    }

    /// What becomes of requests.
    pub fn issuances(&self) -> Issuances {
        self.issuances.clone()
    }

    /// The tonic service, with its limit on the size of requests. Requests find their peer's certificates in the
    /// extension `PeerCertificates`, which `incoming` provides.
    pub fn into_service(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }

    /// Whoever's evidence others are asked about does not keep its turn meanwhile, and has another afterwards: they may
    /// be long in answering, or never answer.
    async fn attest(&self, evidence: &Evidence<'_>, client: &Client, turn: &mut Turn) -> Result<Attestation, Status> {
        for attestor in &self.attestors {
            let attested = if attestor.asks_others(evidence) {
                turn.end();
                let asking = self.asking.turn(client.clone()).await?;
                let attested = attestor.attest(evidence).await;
                drop(asking);
                *turn = self.queue.turn(client.clone()).await?;
                attested
            } else {
                attestor.attest(evidence).await
            };
            if let Some(attestation) = attested.map_err(status)? {
                return Ok(attestation);
            }
        }
        Err(Status::unauthenticated(
            "no evidence of who asks: send a join token as `authorization: Bearer weft_join_…`, or connect with the \
             current certificate",
        ))
    }

    /// The member that the certificate is for, if it still belongs to the mesh.
    async fn member(&self, attestation: &Attestation, key_fingerprint: &str) -> Result<Option<String>, Refusal> {
        let found = match attestation {
            Attestation::JoinToken(redeemed) => self.members.admit(redeemed, key_fingerprint).await,
            Attestation::CurrentCertificate { member: Some(id), .. }
            | Attestation::ExpiredCertificate { member: Some(id), .. } => self.members.find(id).await,
            Attestation::CurrentCertificate { .. }
            | Attestation::IssuerToken { .. }
            | Attestation::ServiceAccount { .. } => return Ok(None),
            Attestation::ExpiredCertificate { .. } => {
                return Err(Refusal::denied("an expired certificate is renewed for members only; join with a token"));
            }
        };
        match found {
            Ok(member) => Ok(Some(member.id)),
            Err(error @ MemberError::Store(_)) => Err(Refusal::unavailable(error)),
            Err(error) => Err(Refusal::denied(error)),
        }
    }

    /// Signs when it is the client's turn, if it does not ask too much.
    async fn sign_in_turn(
        &self,
        request: Request<IstioCertificateRequest>,
        asked: &mut Decision,
    ) -> Result<Vec<String>, Status> {
        let client = Client::of(request.extensions().get::<PeerCertificates>());
        self.rates.take(&client, Instant::now())?;
        let mut turn = self.queue.turn(client.clone()).await?;
        self.sign(request, asked, &client, &mut turn).await
    }

    /// `asked` learns who asks as soon as that is known.
    async fn sign(
        &self,
        request: Request<IstioCertificateRequest>,
        asked: &mut Decision,
        client: &Client,
        turn: &mut Turn,
    ) -> Result<Vec<String>, Status> {
        let key = SubjectKey::from_csr_pem(&request.get_ref().csr)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        // All that can be wrong with the request is found before a token is used up.
        let ttl = ttl(request.get_ref().validity_duration)?;
        let fingerprint = key.fingerprint();
        let expired = expired(&request);
        let evidence = Evidence {
            bearer: bearer(&request)?,
            peer: request.extensions().get::<PeerCertificates>(),
            expired: &expired,
            key_fingerprint: &fingerprint,
        };
        let attestation = self.attest(&evidence, client, turn).await?;
        asked.attested_by = attestation.describe();
        let id = identity(&self.trust_domain, &self.reserved, &attestation).map_err(status)?;
        asked.identity = id.to_string();
        let member = self.member(&attestation, &fingerprint).await.map_err(status)?;
        asked.member.clone_from(&member);
        let serial = attestation.serial().unwrap_or_default();
        let denied = self.denied.borrow().clone();
        if let Some(denied) = denied.denies_parts(serial, || id.to_string(), member.as_deref()) {
            return Err(Status::permission_denied(denied.to_string()));
        }
        // One that was renewed at the very moment of the denial may not be on the list yet; the first of its lineage is.
        if member.is_none() && !serial.is_empty() && !denied.is_empty() {
            let first = self.authority.lineage(serial).await.map_err(|error| Status::unavailable(error.to_string()))?;
            if let Some(denied) = first.and_then(|first| denied.denies_parts(&first, || id.to_string(), None)) {
                return Err(Status::permission_denied(denied.to_string()));
            }
        }
        let (attested_by, renews) = (attestation.describe(), attestation.serial().map(str::to_owned));
        let order = IssueRequest { id, key, ttl, member, attested_by, renews, from: asked.from };
        let issued = self.authority.issue(order).await.map_err(unsigned)?;
        Ok(issued.chain.iter().map(pem).collect())
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Signing {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let mut asked = Decision::of(Wanted::Certificate, request.extensions().get::<PeerCertificates>());
        let from = asked.from;
        self.issuances.asked();
        let signed = self.sign_in_turn(request, &mut asked).await;
        self.issuances.ended(&signed);
        if let Err(status) = &signed {
            self.decisions.refused(asked, status.code(), status.message());
        }
        match signed {
            Ok(cert_chain) => Ok(Response::new(IstioCertificateResponse { cert_chain })),
            // Whoever floods would flood the log.
            Err(status) if status.code() == Code::ResourceExhausted => Err(status),
            Err(status) => {
                tracing::warn!(?from, code = ?status.code(), reason = status.message(), "no certificate was issued");
                Err(status)
            }
        }
    }
}

/// More than there are cores: a request waits for the store too.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) * 16
}

fn bearer<T>(request: &Request<T>) -> Result<Option<&str>, Status> {
    let Some(value) = request.metadata().get("authorization") else { return Ok(None) };
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    match text {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Status::unauthenticated("the authorization metadata is not of the form `Bearer <join token>`")),
    }
}

/// The certificates in `weft-expired-certificate-bin`, leaf first.
fn expired<T>(request: &Request<T>) -> Vec<CertificateDer<'static>> {
    let values = request.metadata().get_all_bin(EXPIRED).iter();
    values.filter_map(|value| Some(CertificateDer::from(value.to_bytes().ok()?.to_vec()))).take(MAX_CHAIN).collect()
}

/// 0 leaves the lifetime to the authority.
fn ttl(seconds: i64) -> Result<Option<Duration>, Status> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err(Status::invalid_argument("validity_duration is negative; it is a number of seconds")),
    }
}

fn status(refusal: Refusal) -> Status {
    match refusal.kind {
        RefusalKind::Unauthenticated => Status::unauthenticated(refusal.message),
        RefusalKind::Denied => Status::permission_denied(refusal.message),
        RefusalKind::Unavailable => Status::unavailable(refusal.message),
    }
}

fn unsigned(error: IssueError) -> Status {
    match error {
        IssueError::ForeignTrustDomain { .. } => Status::permission_denied(error.to_string()),
        IssueError::Ledger(_) | IssueError::Unseen(_) | IssueError::AtOdds(_) => Status::unavailable(error.to_string()),
        IssueError::RootExpired | IssueError::Signing(_) => Status::internal(error.to_string()),
    }
}
