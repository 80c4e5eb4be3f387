//! One downstream connection from accept to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::chain::{self, Facts};
use super::chains::{Active, ChainState};
use super::sniff::{Sniffed, sniff};
use crate::access_log::{ConnectionInfo, TlsInfo};
use crate::config::{Codec, FilterChain, HttpManager, Listener, NetworkFilter};
use crate::downstream::{Downstream, Peer};
use crate::drain::Drain;
use crate::http::{h1, h2};
use crate::io::{Io, Prefixed, Rewind};
use crate::stats::{HandshakeFailure, ListenerStats};
use crate::worker::Worker;

/// A TLS handshake may take this long (Envoy `transport_socket_connect_timeout`).
const HANDSHAKE: Duration = Duration::from_secs(15);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Serves a connection that was just accepted.
pub async fn connection(worker: Rc<Worker>, tcp: TcpStream, peer: SocketAddr, address: SocketAddr) {
    let Some(active) = worker.chains.at(address) else { return };
    let stats = worker.shard.listener(&active.listener.name);
    let Some(_counted) = worker.connection() else {
        stats.cx_overflow.add(1);
        return;
    };
    stats.cx_total.add(1);
    stats.cx_active.up();
    if let Err(error) = serve(&worker, &active, &stats, tcp, peer).await {
        tracing::debug!(listener = active.listener.name, %peer, %error, "connection ended");
    }
    stats.cx_active.down();
}

async fn serve(
    worker: &Rc<Worker>,
    active: &Active,
    stats: &ListenerStats,
    mut tcp: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let _ = tcp.set_nodelay(true);
    let local = tcp.local_addr()?;
    let listener = &active.listener;
    let mut read = BytesMut::new();
    let sniffed = inspect(listener, &mut tcp, &mut read).await?;
    let facts = Facts { destination: local, source: peer, sniffed: &sniffed };
    let Some(chain) = chain::pick(listener, &facts) else {
        stats.no_filter_chain_match.add(1);
        return Ok(());
    };
    let Some(state) = active.state(chain) else { return Ok(()) };
    let (io, read, tls) = match &state.tls {
        None => (Io::Tcp(tcp), read, None),
        Some(Err(reason)) => return Err(io::Error::other(reason.clone())),
        Some(Ok(config)) => {
            let stream = handshake(worker, Rewind { prefix: read.freeze(), tcp }, config).await?;
            let (info, peer) = tls_facts(stream.get_ref().1, worker);
            (Io::Tls(Box::new(stream.into())), BytesMut::new(), Some((info, peer)))
        }
    };
    let (tls, peer_identity) = tls.unzip();
    let info = ConnectionInfo {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        local_address: local,
        remote_address: peer,
        requested_server_name: sniffed.server_name.clone(),
        tls,
    };
    let downstream = Downstream {
        worker: Rc::clone(worker),
        direction: listener.direction,
        info: Arc::new(info),
        peer: peer_identity.flatten(),
    };
    hand_over(downstream, chain, &state, io, read, stats).await
}

/// Reads what the listener's inspectors need.
async fn inspect(listener: &Listener, tcp: &mut TcpStream, read: &mut BytesMut) -> io::Result<Sniffed> {
    if !listener.tls_inspector && !listener.http_inspector {
        return Ok(Sniffed::nothing());
    }
    let sniffing = sniff(tcp, read, listener.http_inspector);
    let limit = listener.listener_filters_timeout;
    if limit.is_zero() {
        return sniffing.await;
    }
    match tokio::time::timeout(limit, sniffing).await {
        Ok(sniffed) => sniffed,
        Err(_) if listener.continue_on_listener_filters_timeout => Ok(Sniffed::nothing()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

type ServerStream = tokio_rustls::server::TlsStream<Rewind>;

async fn handshake(worker: &Worker, stream: Rewind, config: &Arc<rustls::ServerConfig>) -> io::Result<ServerStream> {
    let accepted = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(Arc::clone(config)).accept(stream)).await;
    let error = match accepted {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error,
        Err(_) => {
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
fn tls_facts(connection: &rustls::ServerConnection, worker: &Worker) -> (TlsInfo, Option<Peer>) {
    let peer = connection.peer_certificates().and_then(Peer::of);
    let info = TlsInfo {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        peer_uri_sans: peer.iter().map(|peer| peer.id.to_string()).collect(),
        local_uri_sans: worker.tls.identity.iter().map(|identity| identity.current().id().to_string()).collect(),
        peer_subject: String::new(),
    };
    (info, peer)
}

async fn hand_over(
    downstream: Downstream,
    chain: &Arc<FilterChain>,
    state: &Rc<ChainState>,
    io: Io,
    read: BytesMut,
    stats: &ListenerStats,
) -> io::Result<()> {
    match &chain.filter {
        NetworkFilter::Tcp(proxy) => {
            let stream = Prefixed { prefix: read.freeze(), io };
            crate::tcp_proxy::serve(downstream, Arc::clone(proxy), stream, &state.leaving()).await;
            Ok(())
        }
        NetworkFilter::Http(manager) => {
            let drain = state.leaving().or(downstream.worker.drain());
            http(downstream, manager, io, read, &drain, stats).await
        }
    }
}

async fn http(
    downstream: Downstream,
    manager: &Arc<HttpManager>,
    mut io: Io,
    mut read: BytesMut,
    drain: &Drain,
    stats: &ListenerStats,
) -> io::Result<()> {
    let http2 = match (manager.codec, &io) {
        (Codec::Http1, _) => false,
        (Codec::Http2, _) => true,
        (Codec::Auto, Io::Tls(tls)) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => true,
        (Codec::Auto, _) => {
            let told = tokio::select! {
                told = within(manager.idle_timeout, has_preface(&mut io, &mut read)) => told?,
                () = drain.draining() => return Ok(()),
            };
            told?
        }
    };
    let scheme = if downstream.info.tls.is_some() { "https" } else { "http" };
    let connection = Rc::new(crate::forward::Connection::new(downstream, Arc::clone(manager)));
    if http2 {
        let options = h2::ServerOptions {
            scheme,
            max_concurrent_streams: manager.max_concurrent_streams,
            max_headers_bytes: manager.max_request_headers_bytes,
            idle_timeout: manager.idle_timeout,
        };
        let handler = Rc::new(async move |request| Rc::clone(&connection).handle(request).await);
        return h2::serve(Prefixed { prefix: read.freeze(), io }, &options, drain, handler).await;
    }
    let options = h1::ServerOptions {
        limits: h1::Limits { bytes: manager.max_request_headers_bytes, headers: manager.max_request_headers_count },
        scheme,
        idle_timeout: manager.idle_timeout,
        headers_timeout: manager.request_headers_timeout,
        accept_http_10: manager.accept_http_10,
        server_name: manager.server_name.clone(),
    };
    let refused = |error: h1::ParseError| {
        stats.rq_refused.add(1);
        connection.log_refused(error);
    };
    h1::serve(io, read, &options, drain, async |request| Rc::clone(&connection).handle(request).await, refused).await
}

/// Runs a future within a limit; zero is none.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> io::Result<T> {
    if limit.is_zero() { Ok(future.await) } else { Ok(tokio::time::timeout(limit, future).await?) }
}

/// Whether the connection begins with HTTP/2's preface. Reads only as much as it takes to tell.
async fn has_preface(io: &mut Io, read: &mut BytesMut) -> io::Result<bool> {
    loop {
        let n = read.len().min(h2::PREFACE.len());
        if read[..n] != h2::PREFACE[..n] {
            return Ok(false);
        }
        if n == h2::PREFACE.len() {
            return Ok(true);
        }
        if io.read_buf(read).await? == 0 {
            return Ok(false);
        }
    }
}
