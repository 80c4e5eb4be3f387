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
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroizing;

use super::{Asked, Decide};
use crate::identity::Svid;

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
    let mut names: Option<BTreeSet<String>> = None;
    let mut version = 0;
    loop {
        tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                if let Some(error) = &request.error_detail {
                    tracing::warn!(%caller, error = error.message, "secrets were refused");
                }
                // One that answers an older answer says nothing new.
                if !request.response_nonce.is_empty() && request.response_nonce != version.to_string() {
                    continue;
                }
                match wanted(&request) {
                    Ok(now) if names.as_ref() == Some(&now) => continue,
                    Ok(now) => names = Some(now),
                    Err(status) => {
                        let _ = answers.send(Err(status)).await;
                        return;
                    }
                }
            }
            changed = svids.changed() => if changed.is_err() || !caller.is_there() { return },
        }
        let Some(names) = &names else { continue };
        version += 1;
        let told = answer(&svids.borrow_and_update().clone(), names, version);
        let failed = told.is_err();
        if answers.send(told).await.is_err() || failed {
            return;
        }
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
    let chain: String = svid.chain().iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
    let key = Zeroizing::new(pem("PRIVATE KEY", svid.key()));
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(inline(chain.as_bytes())),
        private_key: Some(inline(key.as_bytes())),
        ..tls::TlsCertificate::default()
    };
    secret(name, tls::secret::Type::TlsCertificate(certificate))
}

fn roots(name: &str, svid: &Svid) -> tls::Secret {
    let roots: String = svid.roots().iter().map(|root: &CertificateDer<'_>| pem("CERTIFICATE", root)).collect();
    let context = tls::CertificateValidationContext {
        trusted_ca: Some(inline(roots.as_bytes())),
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

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
