//! A connection whose filter chain is known and whose TLS is ended, and what serves it from then on. While it is idle it
//! costs what lies in the future here, and no more.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::chains::{Active, InForce};
use super::connection_log::ConnectionLog;
use super::lifetime::Watch;
use crate::access_log::ConnectionInfo;
use crate::config::{Codec, Direction, HttpManager, Listener, NetworkFilter, TcpProxy};
use crate::downstream::Downstream;
use crate::drain::Drain;
use crate::filter::DynamicMetadata;
use crate::forward::Connection;
use crate::http::h1::{self, Conn, ParseError};
use crate::http::h2;
use crate::io::{Io, Prefixed};
use crate::network_filter::{Held, Verdict, admit};
use crate::worker::Counted;

/// Serves a connection to its end.
pub type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// A connection and what serves it.
pub type Served = (Open, Serving);

/// A connection that counts among those that its listener has, until it is dropped.
pub struct Open {
    pub active: Rc<Active>,
    pub log: ConnectionLog,
    kept: Option<Box<Kept>>,
    _counted: Counted,
}

/// What few connections need for as long as they last.
#[derive(Default)]
struct Kept {
    /// The places that its network filters gave it.
    _held: Vec<Held>,
    /// What ends it in time.
    watch: Option<Watch>,
}

impl Open {
    pub fn new(active: Rc<Active>, counted: Counted) -> Self {
        active.stats.cx_total.add(1);
        active.stats.cx_active.up();
        Self { active, log: ConnectionLog::default(), kept: None, _counted: counted }
    }

    fn keep(&mut self, held: Vec<Held>) {
        if !held.is_empty() {
            self.kept = Some(Box::new(Kept { _held: held, watch: None }));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        std::mem::take(&mut self.log).end();
        self.active.stats.cx_active.down();
    }
}

pub fn tell_end(listener: &Listener, peer: SocketAddr, error: &io::Error) {
    tracing::debug!(listener = listener.name, %peer, %error, "connection ended");
}

fn ended(info: &ConnectionInfo, error: &io::Error) {
    if let Some(listener) = &info.listener {
        tell_end(listener, info.direct_remote_address(), error);
    }
}

/// A connection whose filter chain is known, and whose TLS is ended.
pub struct Settled {
    pub open: Open,
    pub downstream: Downstream,
    pub chain: Rc<InForce>,
    pub io: Io,
    pub read: BytesMut,
}

impl Settled {
    /// Lets the network filters see the connection, and has the last one of them take it; `None` if it is over.
    pub async fn hand_over(mut self) -> io::Result<Option<Served>> {
        let rules = Arc::clone(&self.chain.rules);
        let verdict = match rules.before.is_empty() {
            true => Verdict::Goes(Vec::new(), None),
            false => {
                let leaving = self.chain.state.leaving().or(self.downstream.worker.drain());
                Box::pin(admit(&rules.before, &self.downstream, &mut self.io, &mut self.read, &leaving)).await?
            }
        };
        match (verdict, &rules.filter) {
            (Verdict::Closed(info), NetworkFilter::Tcp(proxy)) => {
                self.open.log = ConnectionLog::default();
                crate::tcp_proxy::log_closed(&self.downstream, proxy, *info);
                Ok(None)
            }
            (Verdict::Closed(_), NetworkFilter::Http(_)) => Ok(None),
            (Verdict::Goes(held, metadata), NetworkFilter::Tcp(proxy)) => {
                // Of opaque connections the TCP proxy knows the most, and writes it.
                self.open.log = ConnectionLog::default();
                self.open.keep(held);
                Ok(Some(self.opaque(Arc::clone(proxy), metadata)))
            }
            (Verdict::Goes(held, _), NetworkFilter::Http(manager)) => {
                self.open.keep(held);
                self.http(Arc::clone(manager)).await
            }
        }
    }

    fn opaque(self, proxy: Arc<TcpProxy>, metadata: Option<Box<DynamicMetadata>>) -> Served {
        let Self { open, downstream, chain, io, read } = self;
        let serving = async move {
            let stream = Prefixed { prefix: read.freeze(), io };
            crate::tcp_proxy::serve(downstream, proxy, metadata, stream, &chain.state.leaving()).await;
        };
        (open, Box::pin(serving))
    }

    /// Finds out which version of HTTP is spoken.
    async fn http(self, manager: Arc<HttpManager>) -> io::Result<Option<Served>> {
        let Self { mut open, downstream, chain, io, read } = self;
        let worker = &downstream.worker;
        // What the application asks of others while the proxy drains is served to its end.
        let outbound = downstream.direction == Direction::Outbound;
        let to_its_end = outbound && worker.is_draining();
        let leaving = chain.state.leaving();
        let mut drain = if to_its_end { leaving } else { leaving.or(worker.drain()) };
        let by_alpn = matches!(&io, Io::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"));
        let mut conn = Conn::new(io, read);
        let http2 = match manager.codec {
            Codec::Http1 => false,
            Codec::Http2 => true,
            Codec::Auto if by_alpn => true,
            Codec::Auto => tokio::select! {
                told = within(manager.idle_timeout, poll_fn(|cx| conn.poll_begins_with(h2::PREFACE, cx))) => told??,
                () = drain.draining() => return Ok(None),
            },
        };
        let options = chain.http1(&open.active.listener, &manager);
        let connection = Rc::new(Connection::new(downstream, manager));
        connection.speaks(http2);
        if let Some(bounds) = &connection.bounds {
            let (bounded, watch) = bounds.watch(&drain, http2);
            drain = bounded;
            open.kept.get_or_insert_default().watch = Some(watch);
        }
        let limit = open.active.listener.buffer_limit;
        let serving: Serving = match http2 {
            true => Box::pin(serve_http2(connection, conn.into_unread(), drain, options.scheme, limit)),
            false => Box::pin(serve_http1(connection, conn.share(), drain, options)),
        };
        Ok(Some((open, serving)))
    }
}

/// No `async fn`, in which what is handed over would lie twice.
#[expect(clippy::manual_async_fn)]
fn serve_http1(
    connection: Rc<Connection>,
    conn: h1::Shared,
    drain: Drain,
    options: Rc<h1::ServerOptions>,
) -> impl Future<Output = ()> {
    async move {
        let refused = |error: ParseError| connection.refuse(error);
        let handler = async |request| Rc::clone(&connection).handle(request).await;
        if let Err(error) = h1::serve(conn, &options, &drain, handler, refused).await {
            ended(&connection.downstream.info, &error);
        }
    }
}

async fn serve_http2(
    connection: Rc<Connection>,
    stream: Prefixed,
    drain: Drain,
    scheme: &'static str,
    buffer_limit: usize,
) {
    let (manager, info) = (Arc::clone(&connection.manager), Arc::clone(&connection.downstream.info));
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
    if let Err(error) = h2::serve(stream, &options, &drain, handler).await {
        ended(&info, &error);
    }
}

/// Runs a future within a limit; zero is none.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> io::Result<T> {
    if limit.is_zero() { Ok(future.await) } else { Ok(tokio::time::timeout(limit, future).await?) }
}
