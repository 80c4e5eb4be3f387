//! rustls configurations. Sessions are never resumed: a resumed one skips the peer's certificate, so it would outlive
//! an expired certificate, a removed root, or a changed list of who is allowed. Upstream connections are pooled, so
//! full handshakes are rare.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use api::SpiffeId;
use runtime::Clock;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{ALL_VERSIONS, ClientConfig, Error, ServerConfig, SupportedProtocolVersion};
use tokio::sync::watch;

use super::super::Svid;
use super::super::control_plane::Credential;
use super::verifier::Trust;
use super::{Allowed, CertResolver, PeerVerifier};

/// What both sides choose.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Protocols to negotiate, the preferred first.
    pub alpn: Vec<Vec<u8>>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Suites and groups.
    pub provider: Arc<CryptoProvider>,
    pub clock: Clock,
}

/// What a server asks of clients.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// A client without a certificate is refused.
    Required(Allowed),
    /// A client may come without a certificate; one that has one must be allowed.
    Optional(Allowed),
    None,
}

impl Default for TlsOptions {
    /// TLS 1.2 and 1.3, no ALPN.
    fn default() -> Self {
        let provider = Arc::new(default_provider());
        Self { alpn: Vec::new(), versions: ALL_VERSIONS.to_vec(), provider, clock: Clock::system() }
    }
}

/// Serves the live identity.
pub fn server_config(
    svids: watch::Receiver<Arc<Svid>>,
    clients: ClientAuth,
    options: &TlsOptions,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_details(Arc::clone(&options.provider), TlsTime::of(&options.clock))
        .with_protocol_versions(&options.versions)?;
    let resolver = Arc::new(CertResolver::new(svids.clone()));
    let verifier = |allowed, insist| Arc::new(PeerVerifier::new(svids, allowed, insist));
    let builder = match clients {
        ClientAuth::Required(allowed) => builder.with_client_cert_verifier(verifier(allowed, true)),
        ClientAuth::Optional(allowed) => builder.with_client_cert_verifier(verifier(allowed, false)),
        ClientAuth::None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = options.alpn.clone();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Presents the live identity to servers of the mesh.
pub fn client_config(
    svids: watch::Receiver<Arc<Svid>>,
    servers: Allowed,
    options: &TlsOptions,
) -> Result<ClientConfig, Error> {
    let resolver = Arc::new(CertResolver::new(svids.clone()));
    let verifier = PeerVerifier::new(svids, servers, true);
    let mut config = ClientConfig::builder_with_details(Arc::clone(&options.provider), TlsTime::of(&options.clock))
        .with_protocol_versions(&options.versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(resolver);
    config.alpn_protocols = options.alpn.clone();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For the agent's own calls: before the first answer the token's pin tells the control plane, then the bundle does.
pub fn control_plane_config(credential: &Credential, id: &SpiffeId, clock: &Clock) -> Result<ClientConfig, Error> {
    let options = TlsOptions { alpn: vec![b"h2".to_vec()], clock: clock.clone(), ..TlsOptions::default() };
    let allowed = Allowed::Ids(BTreeSet::from([id.clone()]));
    match credential {
        Credential::Svid(svid) => client_config(watch::channel(svid.clone()).1, allowed, &options),
        // An expired certificate would end the handshake: it is shown in the request.
        Credential::Token(_) | Credential::Expired(_) => {
            let trust = match credential {
                Credential::Token(token) => Trust::Pinned(token.pins.clone(), id.trust_domain().clone()),
                Credential::Svid(svid) | Credential::Expired(svid) => Trust::Live(watch::channel(svid.clone()).1),
            };
            let verifier = PeerVerifier::with(trust, allowed, true);
            let mut config = ClientConfig::builder_with_details(Arc::new(default_provider()), TlsTime::of(clock))
                .with_protocol_versions(&options.versions)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            config.alpn_protocols = options.alpn;
            config.resumption = Resumption::disabled();
            Ok(config)
        }
    }
}

/// Our clock as rustls asks for it.
struct TlsTime(Clock);

impl TlsTime {
    fn of(clock: &Clock) -> Arc<dyn TimeProvider> {
        Arc::new(Self(clock.clone()))
    }
}

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

impl fmt::Debug for TlsTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
