//! The SPIFFE Workload API (SPIFFE_Workload_API.md). A workload has one identity, so every list has one item.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::workload_api as wire;
use api::{SpiffeId, TrustDomain};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::server::SpiffeWorkloadApi;

use super::jwt::validate;
use super::{Asked, Decide, Source};
use crate::identity::Svid;

/// How long the first set of keys is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The service.
pub struct Service(pub Decide);

/// Refuses a call that does not say that it is meant for this API (SPIFFE Workload Endpoint, section 4.1).
pub fn meant(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("workload.spiffe.io").map(|value| value.as_bytes()) {
        Some(b"true") => Ok(request),
        _ => Err(Status::invalid_argument("security header missing from request: send workload.spiffe.io: true")),
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Answers<wire::X509svidResponse>;
    type FetchX509BundlesStream = Answers<wire::X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<wire::JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<wire::X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        let svids = asked.source.svids();
        tracing::info!(caller = %asked.caller, identity = %asked.source.current().id(), "an X.509-SVID is handed out");
        Ok(Response::new(told(asked, svids, |svid| Some(certificate(svid)))))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<wire::X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        let svids = asked.source.svids();
        Ok(Response::new(told(asked, svids, |svid| Some(bundles(svid)))))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        let wire::JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        if audience.iter().all(String::is_empty) {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        let id = asked.source.current().id().clone();
        if !spiffe_id.is_empty() {
            let wanted = spiffe_id.parse::<SpiffeId>();
            let wanted = wanted.map_err(|error| Status::invalid_argument(format!("spiffe_id: {error}")))?;
            if wanted != id {
                return Err(Status::permission_denied("no identity issued"));
            }
        }
        let svid = asked.source.token(audience).await?;
        tracing::info!(caller = %asked.caller, identity = %id, "a JWT-SVID is handed out");
        let svids = vec![wire::Jwtsvid { spiffe_id: id.to_string(), svid, hint: String::new() }];
        Ok(Response::new(wire::JwtsvidResponse { svids }))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<wire::JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        let domain = name(asked.source.current().trust_domain());
        let keys = known(&asked.source).await?;
        let answer = move |keys: &Option<Arc<str>>| {
            let bundle = keys.as_ref()?.as_bytes().to_vec();
            Some(wire::JwtBundlesResponse { bundles: BTreeMap::from([(domain.clone(), bundle)]) })
        };
        Ok(Response::new(told(asked, keys, answer)))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        let wire::ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        if audience.is_empty() {
            return Err(Status::invalid_argument("audience must be specified"));
        }
        if svid.is_empty() {
            return Err(Status::invalid_argument("svid must be specified"));
        }
        let keys = known(&asked.source).await?.borrow().clone().unwrap_or_default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let validated = validate(&svid, &audience, asked.source.current().trust_domain(), &keys, now)
            .map_err(|reason| Status::invalid_argument(format!("the token is not valid: {reason}")))?;
        let spiffe_id = validated.id.to_string();
        Ok(Response::new(wire::ValidateJwtsvidResponse { spiffe_id, claims: Some(validated.claims) }))
    }
}

/// The keys of tokens, of which at least one set is known.
async fn known(source: &Source) -> Result<watch::Receiver<Option<Arc<str>>>, Status> {
    let mut keys = source.keys();
    let waited = tokio::time::timeout(PATIENCE, keys.wait_for(Option::is_some)).await.is_ok_and(|told| told.is_ok());
    waited.then_some(keys).ok_or_else(|| Status::unavailable("the control plane has not told its keys yet; try again"))
}

/// What is known, now and after each change that makes a difference, as long as the caller is who it was and the
/// identity is renewed.
fn told<T, M>(
    asked: Asked,
    mut values: watch::Receiver<T>,
    answer: impl Fn(&T) -> Option<M> + Send + 'static,
) -> Answers<M>
where
    T: Send + Sync + 'static,
    M: PartialEq + Clone + Send + 'static,
{
    let (answers, stream) = mpsc::channel(1);
    values.mark_changed();
    tokio::spawn(async move {
        let mut last = None;
        loop {
            let changed = tokio::select! {
                // What there is to tell is told before the end.
                biased;
                () = answers.closed() => return,
                changed = values.changed() => changed,
                () = asked.source.ended() => return,
            };
            if changed.is_err() || !asked.caller.is_there() {
                return;
            }
            let now = answer(&values.borrow_and_update());
            if now == last {
                continue;
            }
            last.clone_from(&now);
            let Some(now) = now else { continue };
            if answers.send(Ok(now)).await.is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

fn certificate(svid: &Arc<Svid>) -> wire::X509svidResponse {
    let svid = wire::X509svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: joined(svid.chain()),
        x509_svid_key: svid.key().to_vec(),
        bundle: joined(svid.roots()),
        hint: String::new(),
    };
    wire::X509svidResponse { svids: vec![svid], crl: Vec::new(), federated_bundles: BTreeMap::new() }
}

fn bundles(svid: &Arc<Svid>) -> wire::X509BundlesResponse {
    let bundles = BTreeMap::from([(name(svid.trust_domain()), joined(svid.roots()))]);
    wire::X509BundlesResponse { crl: Vec::new(), bundles }
}

/// A trust domain as a SPIFFE ID.
fn name(trust_domain: &TrustDomain) -> String {
    format!("spiffe://{trust_domain}")
}

/// Certificates one after another.
fn joined(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    certificates.iter().flat_map(|certificate| certificate.iter().copied()).collect()
}
