//! One downstream connection from accept to where its filter chain takes over.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::arrival::{Arrival, Known};
use super::chain::{self, Facts};
use super::chains::Active;
use super::connection_log::ConnectionLog;
use super::handshake;
use super::serving::{Open, Served, Settled, tell_end};
use crate::access_log::{ConnectionInfo, Transport};
use crate::downstream::Downstream;
use crate::identity::live;
use crate::io::{Io, Rewind};
use crate::node_proxy::refuse;
use crate::worker::{Counted, Worker};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Serves a connection that was just accepted. What it takes to make it ready is not held while it is served.
pub fn connection(
    worker: Rc<Worker>,
    active: Rc<Active>,
    tcp: TcpStream,
    peer: SocketAddr,
    known: Known,
) -> impl Future<Output = ()> {
    let arriving = Box::pin(arrive(worker, active, tcp, peer, known));
    async move {
        if let Some((open, serving)) = arriving.await {
            serving.await;
            drop(open);
        }
    }
}

async fn arrive(
    worker: Rc<Worker>,
    active: Rc<Active>,
    tcp: TcpStream,
    peer: SocketAddr,
    known: Known,
) -> Option<Served> {
    let Some(counted) = worker.connection(active.listener.ignores_global_limit) else {
        active.stats.cx_overflow.add(1);
        return None;
    };
    if let Some(told) = worker.turns_away(&active.listener, &tcp, peer) {
        tracing::debug!(%peer, told, "a request of another user");
        let _ = Box::pin(refuse(tcp, "403 Forbidden", &told)).await;
        return None;
    }
    let _ = tcp.set_nodelay(true);
    let listener = Arc::clone(&active.listener);
    let arrived = Arrival::new(tcp, peer, known);
    let settled = async { Box::pin(settle(&worker, active, arrived?, counted)).await };
    let served = match settled.await {
        Ok(Some(settled)) => settled.hand_over().await,
        Ok(None) => return None,
        Err(error) => Err(error),
    };
    served.inspect_err(|error| tell_end(&listener, peer, error)).ok().flatten()
}

/// Lets the listener's filters look at the connection, and those of the listener that it was meant for; finds its
/// filter chain and ends TLS. `None` where that was its end.
async fn settle(
    worker: &Rc<Worker>,
    mut active: Rc<Active>,
    mut arrival: Arrival,
    counted: Counted,
) -> io::Result<Option<Settled>> {
    inspect(&mut arrival, &active).await?;
    if active.listener.use_original_dst
        && arrival.restored
        && let Some(meant) = worker.chains.meant_for(arrival.local).filter(|meant| !Rc::ptr_eq(meant, &active))
    {
        active = meant;
        inspect(&mut arrival, &active).await?;
    }
    take_up(worker, Open::new(active, counted), arrival).await
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

async fn take_up(worker: &Rc<Worker>, mut open: Open, arrival: Arrival) -> io::Result<Option<Settled>> {
    let active = Rc::clone(&open.active);
    let stats = &active.stats;
    let Arrival { tcp, read, local, remote, direct, restored, sniffed, tlvs } = arrival;
    let facts = Facts { destination: local, source: remote, direct_source: direct, sniffed: &sniffed };
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let transport = if restored || direct != remote || !tlvs.is_empty() {
        let own = tcp.local_addr()?;
        Some(Box::new(Transport { local_address: own, remote_address: direct, proxy_tlvs: tlvs }))
    } else {
        None
    };
    open.log = ConnectionLog::begin(worker, &active.listener, || ConnectionInfo {
        transport: transport.clone(),
        requested_server_name: sniffed.server_name.clone(),
        listener: Some(Arc::clone(&active.listener)),
        ..ConnectionInfo::between(id, local, remote)
    });
    let Some(chain) = chain::pick(&active.listener, &facts) else {
        stats.no_filter_chain_match.add(1);
        open.log.no_filter_chain();
        return Ok(None);
    };
    let Some(chain) = active.in_force(chain) else { return Ok(None) };
    let (io, read, tls) = match &chain.state.tls {
        None => (Io::Tcp(tcp), read, None),
        Some(Err(reason)) => return Err(io::Error::other(reason.clone())),
        Some(Ok(config)) => {
            let stream = Rewind { prefix: read.freeze(), live: None, tcp };
            let accepting = handshake::accept(worker, stats, stream, config, chain.rules.handshake_timeout);
            let mut stream = match Box::pin(accepting).await {
                Ok(stream) => stream,
                Err(error) => {
                    open.log.handshake_failed(&error);
                    return Err(error);
                }
            };
            let (rewind, session) = stream.get_mut();
            rewind.live = live::enter(&rewind.tcp, session.peer_certificates());
            let trusted = chain.rules.tls.as_ref().is_none_or(|tls| !tls.common.peers.accept_untrusted);
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
        transport,
        requested_server_name: sniffed.server_name,
        tls,
        listener: Some(Arc::clone(&active.listener)),
        filter_chain: Some(Arc::clone(&chain.rules)),
    };
    let downstream = Downstream {
        worker: Rc::clone(worker),
        direction: active.listener.direction,
        info: Arc::new(info),
        peer: peer_identity.flatten(),
    };
    open.log.learnt(&downstream.info);
    Ok(Some(Settled { open, downstream, chain, io, read }))
}
