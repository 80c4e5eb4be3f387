//! The sockets: loopback only, unless there is TLS.

use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::follow::follow;
use crate::metrics;
use crate::router::router;
use crate::state::State;
use crate::tls::{ApiTls, TlsListener};

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is not a loopback address, and there is no TLS: listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    #[error("{address} cannot be bound: {cause}")]
    Bind { address: SocketAddr, cause: io::Error },
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Takes a loopback port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    bind_any(address).await
}

/// Takes any port: for what is served with TLS.
pub async fn bind_any(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|cause| ListenError::Bind { address, cause })
}

/// Serves the API until drained, and follows what it tells of.
pub async fn serve(listener: TcpListener, tls: Option<ApiTls>, state: State, shutdown: Shutdown) -> io::Result<()> {
    let feed = state.kept.feed.clone();
    let draining = async move {
        shutdown.draining().await;
        feed.close();
    };
    let service = router(state.clone()).into_make_service_with_connect_info::<Peer>();
    let following = tokio::spawn(follow(state));
    let served = match tls {
        None => axum::serve(listener, service).with_graceful_shutdown(draining).await,
        Some(tls) => axum::serve(TlsListener::new(listener, &tls)?, service).with_graceful_shutdown(draining).await,
    };
    following.abort();
    served
}

/// Serves the control plane's own metrics, without a token, until drained.
pub async fn serve_metrics(listener: TcpListener, state: State, shutdown: Shutdown) -> io::Result<()> {
    axum::serve(listener, metrics::router(state)).with_graceful_shutdown(async move { shutdown.draining().await }).await
}
