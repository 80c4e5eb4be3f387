//! Envoy's secret discovery service, for Envoys that nobody configures otherwise: `default` or the workload's SPIFFE ID
//! is its certificate and key; `ROOTCA` or the trust domain's SPIFFE ID are the roots (the names of SPIRE's agent and of
//! Istio's). An Envoy that names nothing gets both.

use std::collections::BTreeSet;
use std::pin::Pin;

use api::envoy::config::core::v3::{DataSource, data_source};
use api::envoy::extensions::transport_sockets::tls::v3 as tls;
use api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use api::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use api::prost_types::Any;
use api::{any, type_url};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Asked, Decide};
use crate::identity::Svid;
use crate::tls::pem;

const CERTIFICATE: &str = "default";
const ROOTS: &str = "ROOTCA";

/// The service.
pub struct Secrets(pub Decide);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Secrets {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("secrets are told by the state of the world: use api_type GRPC, not DELTA_GRPC"))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        tracing::info!(caller = %asked.caller, identity = %asked.source.current().id(), "secrets are handed out");
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(serve(asked, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn fetch_secrets(&self, request: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        let asked = Asked::of(&request, &self.0)?;
        let names = wanted(request.get_ref())?;
        Ok(Response::new(answer(&asked.source.current(), &names, 1)?))
    }
}

/// One stream, to its end.
async fn serve(
    Asked { caller, source }: Asked,
    mut requests: Streaming<DiscoveryRequest>,
    answers: mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    let mut svids = source.svids();
    let mut told = Told::default();
    loop {
        tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                if let Some(error) = &request.error_detail {
                    tracing::warn!(%caller, error = error.message, "secrets were refused");
                }
                // One that answers an older answer says nothing new.
                if !request.response_nonce.is_empty() && request.response_nonce != told.version.to_string() {
                    continue;
                }
                match wanted(&request) {
                    Ok(now) => told.ask(now),
                    Err(status) => {
                        let _ = answers.send(Err(status)).await;
                        return;
                    }
                }
            }
            changed = svids.changed() => if changed.is_err() || !caller.is_there() { return },
        }
        let current = svids.borrow_and_update().clone();
        let Some(answer) = told.next(&current).transpose() else { continue };
        let failed = answer.is_err();
        if answers.send(answer).await.is_err() || failed {
            return;
        }
    }
}

/// What a stream asked for, and was told.
#[derive(Default)]
struct Told {
    names: Option<BTreeSet<String>>,
    /// The answer to these names.
    resources: Option<Vec<Any>>,
    version: u64,
}

impl Told {
    /// Other names than before want an answer in any case.
    fn ask(&mut self, names: BTreeSet<String>) {
        if self.names.as_ref() != Some(&names) {
            self.resources = None;
            self.names = Some(names);
        }
    }

    /// The next answer; `None` if it would say what the last one said.
    fn next(&mut self, svid: &Svid) -> Result<Option<DiscoveryResponse>, Status> {
        let Some(names) = &self.names else { return Ok(None) };
        let answer = answer(svid, names, self.version + 1)?;
        if self.resources.as_ref() == Some(&answer.resources) {
            return Ok(None);
        }
        self.version += 1;
        self.resources = Some(answer.resources.clone());
        Ok(Some(answer))
    }
}

fn wanted(request: &DiscoveryRequest) -> Result<BTreeSet<String>, Status> {
    if !matches!(request.type_url.as_str(), "" | type_url::SECRET) {
        return Err(Status::invalid_argument(format!("{} is not told of here; ask for secrets", request.type_url)));
    }
    Ok(request.resource_names.iter().cloned().collect())
}

fn answer(svid: &Svid, names: &BTreeSet<String>, version: u64) -> Result<DiscoveryResponse, Status> {
    let (id, domain) = (svid.id().to_string(), format!("spiffe://{}", svid.trust_domain()));
    let one = |name: &str| -> Result<Any, Status> {
        match name {
            name if name == CERTIFICATE || name == id => Ok(any(&certificate(name, svid))),
            name if name == ROOTS || name == domain => Ok(any(&roots(name, svid))),
            name => {
                let words = format!("{name:?} is no secret of this workload: ask for {CERTIFICATE} or {ROOTS}");
                Err(Status::invalid_argument(words))
            }
        }
    };
    let resources: Result<Vec<Any>, Status> = match names.is_empty() {
        true => [CERTIFICATE, ROOTS].into_iter().map(one).collect(),
        false => names.iter().map(|name| one(name)).collect(),
    };
    Ok(DiscoveryResponse {
        version_info: version.to_string(),
        nonce: version.to_string(),
        type_url: type_url::SECRET.to_owned(),
        resources: resources?,
        ..DiscoveryResponse::default()
    })
}

fn certificate(name: &str, svid: &Svid) -> tls::Secret {
    let chain = pem::certificates(svid.chain());
    let key = pem::pem("PRIVATE KEY", svid.key());
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(inline(chain.as_bytes())),
        private_key: Some(inline(key.as_bytes())),
        ..tls::TlsCertificate::default()
    };
    secret(name, tls::secret::Type::TlsCertificate(certificate))
}

fn roots(name: &str, svid: &Svid) -> tls::Secret {
    let context = tls::CertificateValidationContext {
        trusted_ca: Some(inline(pem::certificates(svid.roots()).as_bytes())),
        ..tls::CertificateValidationContext::default()
    };
    secret(name, tls::secret::Type::ValidationContext(context))
}

fn secret(name: &str, kind: tls::secret::Type) -> tls::Secret {
    tls::Secret { name: name.to_owned(), r#type: Some(kind) }
}

fn inline(bytes: &[u8]) -> DataSource {
    let specifier = Some(data_source::Specifier::InlineBytes(bytes.to_vec()));
    DataSource { specifier, ..DataSource::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use api::DenyList;
    use api::weft::v1::denied::Who;

    use super::*;
    use crate::identity::test_kit::{Ca, RATINGS, REVIEWS, shape};

    #[test]
    fn an_envoy_is_told_again_only_what_is_different_or_asked_for() {
        let ca = Ca::new("root");
        let svid = || ca.svid(&shape(REVIEWS, SystemTime::now(), Duration::from_secs(60))).unwrap();
        let (first, second) = (svid(), svid());
        let mut told = Told::default();
        assert!(told.next(&first).unwrap().is_none(), "nothing was asked for");
        told.ask([CERTIFICATE.to_owned()].into());
        assert_eq!(told.next(&first).unwrap().unwrap().version_info, "1");
        let mut denied = DenyList::default();
        denied.add(Who::Identity(RATINGS.into()), "");
        let denying = first.with_denied(Arc::new(denied));
        assert!(told.next(&denying).unwrap().is_none(), "who is denied is none of its secrets");
        assert_eq!(told.next(&second).unwrap().unwrap().version_info, "2");
        told.ask([CERTIFICATE.to_owned()].into());
        assert!(told.next(&second).unwrap().is_none());
        told.ask([ROOTS.to_owned()].into());
        assert_eq!(told.next(&second).unwrap().unwrap().resources.len(), 1);
        assert!(told.next(&first).unwrap().is_none(), "the roots are the same");
        told.ask(["another".to_owned()].into());
        assert!(told.next(&first).is_err());
    }
}
