//! The sockets: loopback only, because there is no TLS here.

use std::io;
use std::net::SocketAddr;

use runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::follow::follow;
use crate::metrics;
use crate::router::router;
use crate::state::State;

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{0} is not a loopback address: the API has no TLS of its own, so it serves this machine only; listen on \
         127.0.0.1 and put a TLS proxy in front of it"
    )]
    NotLoopback(SocketAddr),
    #[error("{address} cannot be bound: {cause}")]
    Bind { address: SocketAddr, cause: io::Error },
}

/// Takes a loopback port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|cause| ListenError::Bind { address, cause })
}

/// Serves the API until drained, and follows what it tells of.
pub async fn serve(listener: TcpListener, state: State, shutdown: Shutdown) -> io::Result<()> {
    let feed = state.kept.feed.clone();
    let draining = async move {
        shutdown.draining().await;
        feed.close();
    };
    let serving = axum::serve(listener, router(state.clone())).with_graceful_shutdown(draining);
    let following = tokio::spawn(follow(state));
    let served = serving.await;
    following.abort();
    served
}

/// Serves the control plane's own metrics, without a token, until drained.
pub async fn serve_metrics(listener: TcpListener, state: State, shutdown: Shutdown) -> io::Result<()> {
    axum::serve(listener, metrics::router(state)).with_graceful_shutdown(async move { shutdown.draining().await }).await
}
