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

use super::arrival::Arrival;
use super::chain::{self, Facts};
use super::chains::{Active, ChainState};
use super::connection_log::ConnectionLog;
use super::handshake;
use crate::access_log::ConnectionInfo;
use crate::config::{Codec, Direction, FilterChain, HttpManager, NetworkFilter};
use crate::downstream::Downstream;
use crate::drain::Drain;
use crate::http::{h1, h2};
use crate::io::{Io, Prefixed, Rewind};
use crate::network_filter::{Verdict, admit};
use crate::stats::ListenerStats;
use crate::worker::Worker;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Serves a connection that was just accepted.
pub async fn connection(worker: Rc<Worker>, active: Rc<Active>, tcp: TcpStream, peer: SocketAddr) {
    let Some(_counted) = worker.connection(active.listener.ignores_global_limit) else {
        active.stats.cx_overflow.add(1);
        return;
    };
    let _ = tcp.set_nodelay(true);
    let listener = Arc::clone(&active.listener);
    if let Err(error) = arrive(&worker, active, tcp, peer).await {
        tracing::debug!(listener = listener.name, %peer, %error, "connection ended");
    }
}

/// Lets the listener's filters look at the connection, and those of the listener that it was meant for.
async fn arrive(worker: &Rc<Worker>, mut active: Rc<Active>, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut arrival = Arrival::new(tcp, peer)?;
    inspect(&mut arrival, &active).await?;
    if active.listener.use_original_dst
        && arrival.restored
        && let Some(meant) = worker.chains.meant_for(arrival.local).filter(|meant| !Rc::ptr_eq(meant, &active))
    {
        active = meant;
        inspect(&mut arrival, &active).await?;
    }
    let stats = Arc::clone(&active.stats);
    stats.cx_total.add(1);
    stats.cx_active.up();
    let served = serve(worker, &active, arrival).await;
    stats.cx_active.down();
    served
}

async fn inspect(arrival: &mut Arrival, active: &Active) -> io::Result<()> {
    let stats = &active.stats;
    let inspected = Box::pin(arrival.inspect(&active.listener, stats)).await;
    match &inspected {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => stats.filter_remote_close.add(1),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => stats.filter_error.add(1),
        _ => {}
    }
    inspected
}

async fn serve(worker: &Rc<Worker>, active: &Active, arrival: Arrival) -> io::Result<()> {
    let stats = &active.stats;
    let Arrival { tcp, read, local, remote, direct, restored, sniffed, tlvs } = arrival;
    let facts = Facts { destination: local, source: remote, direct_source: direct, sniffed: &sniffed };
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let mut log = ConnectionLog::begin(&active.listener, || ConnectionInfo {
        direct_remote_address: direct,
        requested_server_name: sniffed.server_name.clone(),
        listener: Some(Arc::clone(&active.listener)),
        ..ConnectionInfo::between(id, local, remote)
    });
    let Some(chain) = chain::pick(&active.listener, &facts) else {
        stats.no_filter_chain_match.add(1);
        log.no_filter_chain();
        log.end(worker);
        return Ok(());
    };
    let Some(state) = active.state(chain) else { return Ok(()) };
    let direct_local = if restored || direct != remote { tcp.local_addr()? } else { local };
    let (io, read, tls) = match &state.tls {
        None => (Io::Tcp(tcp), read, None),
        Some(Err(reason)) => return Err(io::Error::other(reason.clone())),
        Some(Ok(config)) => {
            let stream = Rewind { prefix: read.freeze(), tcp };
            let accepting = handshake::accept(worker, stats, stream, config, chain.handshake_timeout);
            let stream = match Box::pin(accepting).await {
                Ok(stream) => stream,
                Err(error) => {
                    log.handshake_failed(&error);
                    log.end(worker);
                    return Err(error);
                }
            };
            let trusted = chain.tls.as_ref().is_none_or(|tls| !tls.common.peers.accept_untrusted);
            let facts = handshake::facts(stream.get_ref().1, trusted, worker, stats);
            (Io::Tls(Box::new(stream.into())), BytesMut::new(), Some(facts))
        }
    };
    let (tls, peer_identity) = tls.unzip();
    let info = ConnectionInfo {
        id,
        local_address: local,
        local_address_restored: restored,
        remote_address: remote,
        direct_local_address: direct_local,
        direct_remote_address: direct,
        proxy_tlvs: tlvs,
        requested_server_name: sniffed.server_name,
        tls,
        listener: Some(Arc::clone(&active.listener)),
        filter_chain: Some(Arc::clone(chain)),
    };
    let downstream = Downstream {
        worker: Rc::clone(worker),
        direction: active.listener.direction,
        info: Arc::new(info),
        peer: peer_identity.flatten(),
    };
    log.learnt(&downstream.info);
    // Of opaque connections the TCP proxy knows the most, and writes it.
    let opaque = matches!(chain.filter, NetworkFilter::Tcp(_));
    let served = hand_over(downstream, chain, &state, io, read, stats).await;
    if !opaque {
        log.end(worker);
    }
    served
}

async fn hand_over(
    downstream: Downstream,
    chain: &Arc<FilterChain>,
    state: &Rc<ChainState>,
    mut io: Io,
    mut read: BytesMut,
    stats: &ListenerStats,
) -> io::Result<()> {
    let verdict = match chain.before.is_empty() {
        true => Verdict::Goes(Vec::new()),
        false => Box::pin(admit(&chain.before, &downstream, &mut io, &mut read)).await?,
    };
    let _held = match verdict {
        Verdict::Goes(held) => held,
        Verdict::Closed(reason) => {
            if let NetworkFilter::Tcp(proxy) = &chain.filter {
                crate::tcp_proxy::log_closed(&downstream, proxy, reason);
            }
            return Ok(());
        }
    };
    match &chain.filter {
        NetworkFilter::Tcp(proxy) => {
            let stream = Prefixed { prefix: read.freeze(), io };
            Box::pin(crate::tcp_proxy::serve(downstream, Arc::clone(proxy), stream, &state.leaving())).await;
            Ok(())
        }
        NetworkFilter::Http(manager) => {
            let worker = &downstream.worker;
            // What the application asks of others while the proxy drains is served to its end.
            let outbound = downstream.direction == Direction::Outbound;
            let to_its_end = outbound && worker.is_draining();
            let drain = if to_its_end { state.leaving() } else { state.leaving().or(worker.drain()) };
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
                told = within(manager.idle_timeout, Box::pin(has_preface(&mut io, &mut read))) => told?,
                () = drain.draining() => return Ok(()),
            };
            told?
        }
    };
    let scheme = if downstream.info.tls.is_some() { "https" } else { "http" };
    let listener = downstream.info.listener.as_ref();
    let buffer_limit = listener.map_or(usize::MAX, |listener| listener.buffer_limit);
    let connection = Rc::new(crate::forward::Connection::new(downstream, Arc::clone(manager)));
    connection.speaks(http2);
    let watch = connection.bounds.as_ref().map(|bounds| bounds.watch(drain, http2));
    let drain = watch.as_ref().map_or(drain, |watch| &watch.drain);
    if http2 {
        let options = h2::ServerOptions {
            scheme,
            http2: manager.http2.clone(),
            max_headers_bytes: manager.max_request_headers_bytes,
            buffer_limit,
            max_headers_count: manager.max_request_headers_count,
            idle_timeout: manager.idle_timeout,
            stream_idle_timeout: manager.stream_idle_timeout,
        };
        let handler = Rc::new(async move |request| Rc::clone(&connection).handle(request).await);
        return Box::pin(h2::serve(Prefixed { prefix: read.freeze(), io }, &options, drain, handler)).await;
    }
    let options = h1::ServerOptions {
        limits: h1::Limits { bytes: manager.max_request_headers_bytes, headers: manager.max_request_headers_count },
        scheme,
        idle_timeout: manager.idle_timeout,
        headers_timeout: manager.request_headers_timeout,
        accept_http_10: manager.accept_http_10,
        buffer_limit,
        stream_idle_timeout: manager.stream_idle_timeout,
        delayed_close: manager.delayed_close_timeout,
        default_host_for_http_10: manager.default_host_for_http_10.clone(),
        proper_case: manager.proper_case,
    };
    let refused = |error: h1::ParseError| {
        stats.rq_refused.add(1);
        connection.refuse(error)
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
