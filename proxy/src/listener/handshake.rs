//! Ends TLS with a client, and keeps what the handshake told of both sides.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, HandshakeKind, OtherError, ProtocolVersion, ServerConnection};
use tokio_rustls::TlsAcceptor;

use crate::access_log::{TlsInfo, tls_names};
use crate::downstream::Peer;
use crate::identity::tls::Failure;
use crate::io::Rewind;
use crate::stats::{Choice, Counter, HandshakeFailure, ListenerStats, TlsStats};
use crate::tls::Rejected;
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
    let shaking = TlsAcceptor::from(Arc::clone(config)).accept(stream).into_fallible();
    let accepted = match limit.is_zero() {
        true => Ok(shaking.await),
        false => tokio::time::timeout(limit, shaking).await,
    };
    // Counted before the connection closes, so that whoever sees its end finds it counted.
    let (error, _stream) = match accepted {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(failed)) => failed,
        Err(_) => {
            stats.handshake_timeout.add(1);
            worker.shard.handshake_failed(HandshakeFailure::Timeout);
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    worker.shard.handshake_failed(count_failure(&error, &stats.tls));
    Err(error)
}

/// Counts a failed handshake under the name that Envoy gives its cause.
fn count_failure(error: &io::Error, stats: &TlsStats) -> HandshakeFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => {
            stats.fail_verify_no_cert.add(1);
            HandshakeFailure::NoCertificate
        }
        Some(rustls::Error::InvalidCertificate(error)) => {
            certificate_counter(error, stats).add(1);
            HandshakeFailure::Certificate
        }
        other => {
            stats.connection_error.add(1);
            other.map_or(HandshakeFailure::Io, |_| HandshakeFailure::Protocol)
        }
    }
}

fn certificate_counter<'a>(error: &CertificateError, stats: &'a TlsStats) -> &'a Counter {
    let CertificateError::Other(OtherError(inner)) = error else { return &stats.fail_verify_error };
    match (inner.downcast_ref::<Rejected>(), inner.downcast_ref::<Failure>()) {
        (Some(Rejected::Name), _) | (_, Some(Failure::NotAllowed(_))) => &stats.fail_verify_san,
        (Some(Rejected::Hash), _) => &stats.fail_verify_cert_hash,
        _ => &stats.fail_verify_error,
    }
}

/// Counts a handshake that succeeded, and what it chose.
fn count(connection: &ServerConnection, info: &TlsInfo, stats: &TlsStats) {
    stats.handshake.add(1);
    if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
        stats.session_reused.add(1);
    }
    if info.peer_certificates.is_empty() {
        stats.no_certificate.add(1);
    }
    stats.chose(Choice::Version, info.version);
    stats.chose(Choice::Cipher, &info.cipher);
    if !info.group.is_empty() {
        stats.chose(Choice::Group, info.group);
    }
}

/// What the handshake told of both sides. A client that was let in untrusted is nobody, whoever it says it is.
pub fn facts(
    connection: &ServerConnection,
    trusted: bool,
    worker: &Worker,
    stats: &ListenerStats,
) -> (Box<TlsInfo>, Option<Peer>) {
    let certificates = connection.peer_certificates().unwrap_or_default();
    let mut peer = if trusted { Peer::of(certificates) } else { None };
    if let Some(peer) = &mut peer {
        peer.principal = worker.series.principal(Arc::clone(&peer.principal));
    }
    let group = connection.negotiated_key_exchange_group();
    let info = TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: connection.negotiated_cipher_suite().map(|suite| tls_names::cipher(suite.suite())).unwrap_or_default(),
        group: group.map(|group| tls_names::group(group.name())).unwrap_or_default(),
        local_uri_sans: worker.tls.identity.iter().map(|identity| identity.current().id().to_string()).collect(),
        peer_certificates: certificates.iter().cloned().map(CertificateDer::into_owned).collect(),
        peer_names: OnceLock::new(),
    };
    count(connection, &info, &stats.tls);
    (Box::new(info), peer)
}
