//! A small HTTP client that keeps connections alive and honours `http_proxy` and `no_proxy`.

mod proxy;

use anyhow::{Context as _, anyhow, bail};
use axum::http::{HeaderMap, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
pub use proxy::Proxy;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

/// The largest answer read; more is an error.
const MAX_BODY: usize = 1 << 20;

/// Clones share one pool of connections.
#[derive(Clone)]
pub struct Client(Pool<Dial, Empty<Bytes>>);

impl Client {
    /// A client that goes where `http_proxy` and `no_proxy` of this process say.
    pub fn from_environment() -> anyhow::Result<Self> {
        Ok(Self::new(Proxy::from_environment(|name| std::env::var(name).ok())?))
    }

    pub fn new(proxy: Proxy) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(Dial { proxy });
        Self(pool)
    }

    /// GETs the whole answer; `timeout` covers connecting, the headers and the body.
    pub async fn get(&self, url: &Uri, headers: HeaderMap, timeout: Duration) -> anyhow::Result<Response<Bytes>> {
        let late = || anyhow!("no answer within {} ms", timeout.as_millis());
        tokio::time::timeout(timeout, self.exchange(url, headers)).await.map_err(|_| late())?
    }

    async fn exchange(&self, url: &Uri, headers: HeaderMap) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers;
        let (head, body) = self.0.request(request).await.map_err(root_cause)?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| anyhow!(error))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// `base` with its path replaced by `path`, which begins with a slash.
pub fn join(base: &Uri, path: &str) -> Uri {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| base.clone())
}

/// The pool's own error says only "client error (Connect)"; what to do next is in the innermost one.
fn root_cause(error: PoolError) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    anyhow!("{}", error.root_cause())
}

/// Opens connections for the pool, to the proxy where one applies.
#[derive(Clone)]
struct Dial {
    proxy: Proxy,
}

impl Service<Uri> for Dial {
    type Response = Link;
    type Error = anyhow::Error;
    type Future = Pin<Box<dyn Future<Output = anyhow::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let proxy = self.proxy.clone();
        Box::pin(async move {
            if url.scheme_str() != Some("http") {
                bail!("{url} is not an http:// URL");
            }
            let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
            let via = proxy.applies_to(host);
            let (host, port) = via.unwrap_or((host, url.port_u16().unwrap_or(80)));
            let stream = TcpStream::connect((host, port)).await;
            let stream = stream.with_context(|| format!("cannot connect to {host}:{port}"))?;
            stream.set_nodelay(true)?;
            Ok(Link { stream: TokioIo::new(stream), proxied: via.is_some() })
        })
    }
}

/// A connection that knows whether a proxy is at its other end, so that requests carry the whole URL.
struct Link {
    stream: TokioIo<TcpStream>,
    proxied: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
