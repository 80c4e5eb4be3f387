//! The server side: each stream is a task of the worker.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::SendResponse;
use tokio::time::Instant;

use super::flood::Guarded;
use super::gather::gather;
use super::{Incoming, StreamIo, convert, keepalive, send_body};
use crate::alarm::{self, Alarm};
use crate::config::Http2Options;
use crate::drain::Drain;
use crate::http::body::Body;
use crate::http::headers::is_token;
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::http::tunnel::{Tunnel, join};
use crate::http::{Request, Response, h1, websocket};
use crate::io::Prefixed;

#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub scheme: &'static str,
    pub http2: Http2Options,
    pub max_headers_bytes: usize,
    /// Bytes that the client may send before they are taken, on the whole connection.
    pub buffer_limit: usize,
    pub max_headers_count: usize,
    pub idle_timeout: Duration,
    /// How long a client may leave an answer unread; zero is for ever.
    pub stream_idle_timeout: Duration,
}

/// The window of a connection cannot begin smaller (RFC 9113 section 6.9.2).
const SMALLEST_WINDOW: u32 = 65_535;
/// Resets of streams that the peer opened and gave up at once, before the connection is ended (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// What of an answer waits, per stream, for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// The preface and the first settings must come within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client that is told to go, and has nothing under way, may take to read that.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub async fn serve<H>(io: Prefixed, options: &ServerOptions, drain: &Drain, handler: Rc<H>) -> io::Result<()>
where
    H: AsyncFn(Request) -> Response + 'static,
{
    let window = u32::try_from(options.buffer_limit).unwrap_or(u32::MAX).max(SMALLEST_WINDOW);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(options.http2.stream_window.min(window))
        .initial_connection_window_size(options.http2.connection_window.min(window))
        .header_table_size(options.http2.hpack_table_size)
        .max_concurrent_streams(options.http2.max_concurrent_streams)
        .max_header_list_size(u32::try_from(options.max_headers_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(MAX_PENDING_RESETS);
    if options.http2.allow_connect {
        builder.enable_connect_protocol();
    }
    let (io, turns) = gather(Guarded::new(io, options.http2.floods));
    let handshake = tokio::time::timeout(HANDSHAKE, builder.handshake::<_, Bytes>(io));
    let mut conn = handshake.await?.map_err(io::Error::other)?;
    let mut lost = pin!(keepalive::lost(conn.ping_pong(), options.http2.keepalive));
    let (mut waiting, mut quiet) = (drain.waiting(), Quiet::default());
    let mut leaving = false;
    let active = Rc::new(());
    loop {
        // A stream that ends wakes this task, for its last frame is written here.
        let event = poll_fn(|cx| {
            match turns.poll(cx, |cx| conn.poll_accept(cx)) {
                Poll::Ready(Ok(next)) => return Poll::Ready(Event::Next(next)),
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
                Poll::Pending => {}
            }
            if lost.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Lost);
            }
            if !leaving && waiting.poll(cx).is_ready() {
                return Poll::Ready(Event::Leave);
            }
            let limit = if leaving { LAST_WORDS } else { options.idle_timeout };
            match quiet.poll(limit, Rc::strong_count(&active) > 1, cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) if leaving => Poll::Ready(Event::Lost),
                Poll::Ready(()) => Poll::Ready(Event::Leave),
            }
        });
        let next = match event.await {
            Event::Next(next) => next,
            Event::Failed(error) => return Err(error),
            Event::Lost => return Err(io::ErrorKind::TimedOut.into()),
            Event::Leave => {
                (leaving, quiet) = (true, Quiet::default());
                conn.graceful_shutdown();
                continue;
            }
        };
        let (request, respond) = match next {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Ok(()),
        };
        let (handler, limits) = (Rc::clone(&handler), Limits::of(options));
        let active = Rc::clone(&active);
        tokio::task::spawn_local(async move {
            // Kept until the stream is done with.
            let _active = active;
            // On the heap: the runtime moves what it is given a few times.
            Box::pin(serve_stream(request, respond, limits, &*handler)).await;
        });
        if !leaving && drain.is_draining() {
            (leaving, quiet) = (true, Quiet::default());
            conn.graceful_shutdown();
        }
    }
}

type Stream = (http::Request<RecvStream>, SendResponse<Bytes>);

/// What a connection waits for.
enum Event {
    /// A stream, an error, or the end.
    Next(Option<Result<Stream, h2::Error>>),
    /// Nothing can be written any more.
    Failed(io::Error),
    /// It was idle for too long, or the listener drains.
    Leave,
    /// The client does not answer any more.
    Lost,
}

/// Tells when a connection has had no stream for a while. A stream that ends while the client takes no bytes wakes
/// nobody, so a busy connection is looked at too when the time is over.
#[derive(Default)]
struct Quiet {
    alarm: Alarm,
    until: Option<Instant>,
    since_then: bool,
}

impl Quiet {
    /// Ready after so long (zero: never) without a stream.
    fn poll(&mut self, limit: Duration, busy: bool, cx: &mut Context<'_>) -> Poll<()> {
        if !busy && !self.since_then {
            self.until = None;
        }
        self.since_then = !busy;
        loop {
            self.until = self.until.or_else(|| alarm::after(limit));
            let Some(until) = self.until else { return Poll::Pending };
            ready!(self.alarm.poll(until, cx));
            self.until = None;
            if !busy {
                return Poll::Ready(());
            }
        }
    }
}

/// What a stream needs of the options.
#[derive(Clone, Copy)]
struct Limits {
    scheme: &'static str,
    headers: usize,
    idle: Duration,
}

impl Limits {
    fn of(options: &ServerOptions) -> Self {
        Self { scheme: options.scheme, headers: options.max_headers_count, idle: options.stream_idle_timeout }
    }
}

async fn serve_stream<H>(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    limits: Limits,
    handler: &H,
) where
    H: AsyncFn(Request) -> Response,
{
    if request.headers().len() > limits.headers {
        return refuse(&mut respond, http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    // A client that has a key of its own (a proxy that stands for one of HTTP/1.1) waits for its acceptance.
    let has_key = request.headers().contains_key(websocket::KEY);
    let Some((request, receive)) = convert_request(request, limits.scheme) else {
        return refuse(&mut respond, http::StatusCode::BAD_REQUEST);
    };
    let method = request.head.method.clone();
    let mut answer = pin!(handler(request));
    let answer = poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        respond.poll_reset(cx).map(|_| None)
    })
    .await;
    let Some(mut answer) = answer else { return };
    if let (Some(upstream), Some(receive)) = (answer.tunnel.take(), receive) {
        if !has_key {
            answer.head.headers.remove(websocket::ACCEPT);
        }
        return Box::pin(tunnel(respond, receive, answer, *upstream)).await;
    }
    let body = if method == "HEAD" { Body::Empty } else { answer.body };
    let end = body.is_end();
    // An empty answer that is made here says nothing of its length, as in Envoy.
    let told = answer.via.is_some()
        && (answer.head.version != crate::http::message::Version::Http2
            || answer.head.headers.contains("content-length"));
    let length = body.length().filter(|length| *length > 0 || told);
    let head = convert_response(&answer.head, &method, length);
    if let Ok(stream) = respond.send_response(head, end)
        && !end
    {
        let _ = send_body(stream, body, answer.idle.unwrap_or(limits.idle)).await;
    }
}

/// Says that the switch of protocols is made, then copies bytes both ways (RFC 8441 section 5).
async fn tunnel(mut respond: SendResponse<Bytes>, receive: RecvStream, mut answer: Response, mut upstream: Tunnel) {
    answer.head.status = 200;
    let head = convert_response(&answer.head, "CONNECT", None);
    // Whoever observes the body learns of the end of the tunnel by its drop.
    let _observed = answer.body;
    if let Ok(send) = respond.send_response(head, false) {
        let _ = join(&mut StreamIo::new(receive, send, None), &mut upstream).await;
    }
}

fn refuse(respond: &mut SendResponse<Bytes>, status: http::StatusCode) {
    let mut refused = http::Response::new(());
    *refused.status_mut() = status;
    let _ = respond.send_response(refused, true);
}

/// The request, and for a CONNECT what is to come on its stream, which is no body. `None`: the request is malformed in
/// a way that the framing layer does not see.
fn convert_request(request: http::Request<RecvStream>, scheme: &'static str) -> Option<(Request, Option<RecvStream>)> {
    let (parts, stream) = request.into_parts();
    let mut headers = convert::request_headers(&parts.headers);
    let length = content_length(&parts.headers)?;
    let host = headers.get_str("host").map(str::to_owned);
    if headers.get_all("host").count() > 1 {
        return None;
    }
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority.as_str()) => return None,
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host,
        (None, None) => return None,
    };
    if authority.is_empty() || !h1::valid_authority(&authority) {
        return None;
    }
    headers.remove("host");
    headers.remove("content-length");
    join_cookies(&mut headers);
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
    let connect = parts.method == http::Method::CONNECT;
    let upgrade = parts.extensions.get::<Protocol>().map(|protocol| protocol.as_str().to_ascii_lowercase());
    let bare = connect && upgrade.is_none();
    if !path.bytes().all(|b| b.is_ascii_graphic()) || (!bare && path.is_empty()) {
        return None;
    }
    if let Some(protocol) = &upgrade {
        if !protocol.bytes().all(is_token) {
            return None;
        }
        if protocol == "websocket" && !headers.contains(websocket::KEY) {
            headers.append(websocket::KEY, websocket::fresh_key());
        }
    }
    // What HTTP/2 calls an extended CONNECT is a GET with an upgrade to all that judges and routes (Envoy).
    let method = if upgrade.is_some() { "GET" } else { parts.method.as_str() };
    let head =
        RequestHead { method: method.to_owned(), scheme, authority, path, version: Version::Http2, headers, upgrade };
    if connect {
        return Some((Request { head, body: Body::Empty }, Some(stream)));
    }
    let body = Incoming::new(stream, length);
    let body = if body.is_end() { Body::Empty } else { Body::H2(body) };
    Some((Request { head, body }, None))
}

/// The declared length; `None` if it is no number.
#[allow(clippy::option_option)]
pub(super) fn content_length(headers: &http::HeaderMap) -> Option<Option<u64>> {
    match headers.get(http::header::CONTENT_LENGTH) {
        None => Some(None),
        Some(value) => value.to_str().ok()?.parse().ok().map(Some),
    }
}

/// One cookie header out of several (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut crate::http::headers::Headers) {
    if headers.get_all("cookie").nth(1).is_some() {
        let joined = headers.get_all("cookie").collect::<Vec<_>>().join(&b"; "[..]);
        headers.set("cookie", joined);
    }
}

fn convert_response(head: &ResponseHead, method: &str, length: Option<u64>) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *response.headers_mut() = convert::header_map(&head.headers);
    let bodiless = method == "HEAD" || matches!(head.status, 204 | 304);
    if bodiless {
        if let Some(length) = head.headers.get("content-length")
            && let Ok(value) = http::HeaderValue::from_bytes(length)
        {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, value);
        }
    } else if let Some(length) = length
        && !head.is_grpc()
    {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}
