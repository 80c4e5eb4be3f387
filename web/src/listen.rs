//! The sockets: loopback only, unless there is TLS.

use std::io;
use std::net::SocketAddr;

use runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::follow::follow;
use crate::metrics;
use crate::router::router;
use crate::serve::serve_on;
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
    let router = router(state.clone());
    let following = tokio::spawn(follow(state));
    let served = match tls {
        None => serve_on(Ok(listener), router, draining).await,
        Some(tls) => serve_on(TlsListener::new(listener, &tls), router, draining).await,
    };
    following.abort();
    served
}

/// Serves the control plane's own metrics, without a token, until drained.
pub async fn serve_metrics(listener: TcpListener, state: State, shutdown: Shutdown) -> io::Result<()> {
    serve_on(Ok(listener), metrics::router(state), async move { shutdown.draining().await }).await
}
