//! The control plane as the agent sees it: a TLS connection to whoever proves to be it, and one call, to sign.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::SpiffeId;
use api::istio::v1::auth::IstioCertificateRequest;
use api::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use runtime::Clock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use zeroize::Zeroizing;

use super::tls::{Failure, control_plane_config};
use super::token::JoinToken;
use super::{IdentityError, IdentityOptions, Svid};

/// Connecting, the handshake, and the call have this long each.
const DEADLINE: Duration = Duration::from_secs(10);

/// A control plane that wants to be left alone for longer is asked all the same.
const LONGEST_PUSHBACK: Duration = Duration::from_secs(60);

/// Carries an expired certificate and its intermediate.
const EXPIRED: &str = "weft-expired-certificate-bin";

/// What shows who asks, and by what the control plane is recognised.
#[derive(Clone, Debug)]
pub enum Credential {
    Token(JoinToken),
    Svid(Arc<Svid>),
    /// One that expired, and tells who asks only together with a request for its own key.
    Expired(Arc<Svid>),
}

/// Has a signing request signed: leaf first, root last.
pub trait Signer: Send + Sync + 'static {
    fn sign(
        &self,
        csr: String,
        credential: Credential,
    ) -> BoxFuture<'_, Result<Vec<CertificateDer<'static>>, IdentityError>>;
}

/// The control plane at one address.
pub struct ControlPlane {
    address: String,
    name: ServerName<'static>,
    id: SpiffeId,
    clock: Clock,
}

impl ControlPlane {
    pub fn new(options: &IdentityOptions) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Address(options.control_plane.clone());
        let address = options.control_plane.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        port.parse::<u16>().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| wrong())?;
        Ok(Self { address, name, id: options.control_plane_id.clone(), clock: options.clock.clone() })
    }

    async fn call(&self, csr: String, credential: Credential) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let stream = self.connect(&credential).await?;
        let channel = channel(stream).await.map_err(|error| self.unreachable(error))?;
        let mut request = Request::new(IstioCertificateRequest { csr, validity_duration: 0, metadata: None });
        request.set_timeout(DEADLINE);
        if let Credential::Token(token) = &credential {
            let bearer = Zeroizing::new(format!("Bearer {}", token.text().as_str()));
            let mut value = bearer.parse::<tonic::metadata::AsciiMetadataValue>().map_err(|_| IdentityError::Token)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        if let Credential::Expired(svid) = &credential {
            for certificate in svid.chain() {
                request.metadata_mut().append_bin(EXPIRED, MetadataValue::from_bytes(certificate));
            }
        }
        let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await;
        let answer = answer.map_err(|status| self.refusal(status))?;
        let chain = answer.into_inner().cert_chain;
        let parsed = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()));
        parsed.collect::<Result<_, _>>().map_err(|error| IdentityError::BadAnswer(error.to_string()))
    }

    async fn connect(&self, credential: &Credential) -> Result<TlsStream<TcpStream>, IdentityError> {
        let config = control_plane_config(credential, &self.id, &self.clock)?;
        let stream = timeout(DEADLINE, TcpStream::connect(&self.address))
            .await
            .map_err(|_| self.unreachable("no answer to the connection attempt"))?
            .map_err(|error| self.unreachable(error))?;
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream))
            .await
            .map_err(|_| self.unreachable("no answer to the TLS handshake"))?
            .map_err(|error| match Failure::of_io(&error) {
                Failure::Other(_) => self.unreachable(error),
                cause => IdentityError::Untrusted { address: self.address.clone(), cause },
            })
    }

    fn unreachable(&self, cause: impl ToString) -> IdentityError {
        IdentityError::Unreachable { address: self.address.clone(), cause: cause.to_string() }
    }

    fn refusal(&self, status: Status) -> IdentityError {
        let message = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => IdentityError::Refused(message),
            Code::ResourceExhausted => IdentityError::TooMuch { after: pushback(&status), message },
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted => IdentityError::Busy(message),
            _ => self.unreachable(status),
        }
    }
}

/// When to come again (gRFC A6).
fn pushback(status: &Status) -> Duration {
    let told = status.metadata().get("grpc-retry-pushback-ms").and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_millis(told.unwrap_or(0)).min(LONGEST_PUSHBACK)
}

impl Signer for ControlPlane {
    fn sign(
        &self,
        csr: String,
        credential: Credential,
    ) -> BoxFuture<'_, Result<Vec<CertificateDer<'static>>, IdentityError>> {
        Box::pin(self.call(csr, credential))
    }
}

/// HTTP/2 over a connection that is already there; it is used for one call and closed.
async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        std::future::ready(stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
    });
    Endpoint::from_static("http://control-plane").timeout(DEADLINE).connect_with_connector(connector).await
}
