//! Serves a router on a socket whose clients are not trusted with its time: a request's head must come soon, a
//! connection on which nothing is asked, or whose client neither sends nor takes what is under way, is closed, and there
//! are only so many connections.

mod held;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::listen::Peer;
use held::{Calls, Held};

/// How long clients may take, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the head of a request, from the moment that one can come: so long a client may also keep still between two.
    pub head: Duration,
    /// While nothing is asked over HTTP/2, and while a client sends nothing of what it asks or takes nothing of what it
    /// is answered.
    pub idle: Duration,
    /// Those that come when there are so many wait until another ends.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(30), idle: Duration::from_secs(60), connections: 1024 }
    }
}

/// A client of HTTP/2 that answers no ping is gone.
const PING: Duration = Duration::from_secs(30);

/// Serves until `draining` is over and the last request is answered. Handlers find their client as `ConnectInfo<Peer>`.
pub async fn serve<L>(mut listener: L, router: Router, limits: Limits, draining: impl Future<Output = ()>)
where
    L: Listener<Addr = SocketAddr>,
    L::Io: Unpin,
{
    let (room, open) = (Arc::new(Semaphore::new(limits.connections)), GracefulShutdown::new());
    tokio::pin!(draining);
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (io, from)) = tokio::select! {
            next = next => next,
            () = &mut draining => break,
        };
        let connection = open.watch(connection(io, from, router.clone(), limits));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%from, %error, "a client's connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

fn connection<Io>(
    io: Io,
    from: SocketAddr,
    router: Router,
    limits: Limits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let calls = Arc::new(Calls::default());
    let io = TokioIo::new(Held::new(io, Arc::clone(&calls), limits));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(Peer(from)));
        let (call, router) = (Calls::begin(&calls), router.clone());
        async move {
            let request = request.map(|body| call.held_from_the_beginning_of(body));
            let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(answer.map(|body| call.until_the_end_of(body)))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).enable_connect_protocol();
    builder.serve_connection_with_upgrades(io, service).into_owned()
}

/// The same for a listener that can fail to begin.
pub async fn serve_on<L>(listener: io::Result<L>, router: Router, draining: impl Future<Output = ()>) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    L::Io: Unpin,
{
    serve(listener?, router, Limits::default(), draining).await;
    Ok(())
}
