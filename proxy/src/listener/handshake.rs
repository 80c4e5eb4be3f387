//! Ends TLS with a client, and keeps what the handshake told of both sides.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use crate::access_log::{TlsInfo, tls_names};
use crate::downstream::Peer;
use crate::io::Rewind;
use crate::stats::{HandshakeFailure, ListenerStats};
use crate::worker::Worker;

pub type ServerStream = tokio_rustls::server::TlsStream<Rewind>;

/// Shakes hands within a limit; zero is none.
pub async fn accept(
    worker: &Worker,
    stats: &ListenerStats,
    stream: Rewind,
    config: &Arc<rustls::ServerConfig>,
    limit: Duration,
) -> io::Result<ServerStream> {
    let shaking = TlsAcceptor::from(Arc::clone(config)).accept(stream);
    let accepted = match limit.is_zero() {
        true => Ok(shaking.await),
        false => tokio::time::timeout(limit, shaking).await,
    };
    let error = match accepted {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error,
        Err(_) => {
            stats.handshake_timeout.add(1);
            worker.shard.handshake_failed(HandshakeFailure::Timeout);
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    let cause = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        None => HandshakeFailure::Io,
        Some(rustls::Error::NoCertificatesPresented) => HandshakeFailure::NoCertificate,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => HandshakeFailure::Certificate,
        Some(_) => HandshakeFailure::Protocol,
    };
    worker.shard.handshake_failed(cause);
    Err(error)
}

/// What the handshake told of both sides.
pub fn facts(connection: &rustls::ServerConnection, worker: &Worker) -> (TlsInfo, Option<Peer>) {
    let certificates = connection.peer_certificates().unwrap_or_default();
    let peer = Peer::of(certificates);
    let info = TlsInfo {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: connection.negotiated_cipher_suite().map(|suite| tls_names::cipher(suite.suite())).unwrap_or_default(),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| tls_names::group(group.name()))
            .unwrap_or_default(),
        local_uri_sans: worker.tls.identity.iter().map(|identity| identity.current().id().to_string()).collect(),
        peer_certificates: certificates.iter().cloned().map(CertificateDer::into_owned).collect(),
        peer_names: OnceLock::new(),
    };
    (info, peer)
}
