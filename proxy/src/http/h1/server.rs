//! The server side: reads requests one after another, hands each to the handler, writes its answer.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf as _;
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use super::conn::{Conn, Shared};
use super::incoming::Incoming;
use super::parse::{Limits, ParseError, Parsed, parse_request};
use super::stuck::Stuck;
use super::{Framing, casing, encode};
use crate::alarm::{self, Alarm};
use crate::drain::{Drain, Waiting};
use crate::http::body::{Body, Frame};
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::http::{Request, Response};
use crate::io::Prefixed;

#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub limits: Limits,
    /// `https` where the connection is TLS.
    pub scheme: &'static str,
    /// Between requests; zero is for ever.
    pub idle_timeout: Duration,
    /// For a whole head once its first byte came; zero is for ever.
    pub headers_timeout: Duration,
    pub accept_http_10: bool,
    /// Whether methods are taken that no registry knows.
    pub custom_methods: bool,
    /// Bytes of bodies that are held at a time, each way.
    pub buffer_limit: usize,
    /// How long a client may leave an answer unread; zero is for ever.
    pub stream_idle_timeout: Duration,
    /// How long the client may go on sending once the last answer is out; zero is not at all.
    pub delayed_close: Duration,
    /// Of HTTP/1.0 requests without a host; empty is none.
    pub default_host_for_http_10: String,
    /// Whether names of headers are written as `Content-Type`.
    pub proper_case: bool,
}

const GATHER: usize = 64 * 1024;
/// What of an unread request body is read and thrown away to keep a connection.
const MAX_DISCARD: usize = 64 * 1024;
const MAX_AHEAD: usize = 16 * 1024;

/// Serves a connection until it ends. `refused` makes the answer to what could not be parsed.
///
/// What this future holds it holds while the connection is idle. So each request has a future of its own, and this is
/// written out: an `async fn` would keep room for what comes between two waits, too.
pub fn serve<'a>(
    conn: Shared,
    options: &'a ServerOptions,
    drain: &'a Drain,
    handler: impl AsyncFn(Request) -> Response + Copy + 'a,
    refused: impl Fn(ParseError) -> Response + 'a,
) -> impl Future<Output = io::Result<()>> + 'a {
    conn.borrow_mut().limit_reads(options.buffer_limit);
    let mut waits = Waits { draining: drain.waiting(), alarm: Alarm::default(), head_began: false, until: None };
    let mut state = State::Waits(conn);
    poll_fn(move |cx| {
        loop {
            state = match &mut state {
                State::Waits(conn) => {
                    let begin = |parsed| Box::pin(exchange(Rc::clone(conn), parsed, options, drain, handler));
                    match ready!(poll_next(conn, options, &mut waits, &begin, cx))? {
                        Next::End => return Poll::Ready(Ok(())),
                        Next::Refused(error) => State::Last(Box::pin(refuse(Rc::clone(conn), refused(error), options))),
                        Next::Exchange(exchange) => State::Exchange(exchange),
                    }
                }
                State::Exchange(exchange) => match ready!(exchange.as_mut().poll(cx))? {
                    After::Next(conn) => State::Waits(conn),
                    After::End => return Poll::Ready(Ok(())),
                    After::Tunnel(switched) => State::Last(Box::pin(tunnel(*switched))),
                },
                State::Last(last) => return last.as_mut().poll(cx),
            };
        }
    })
}

/// What a connection is at.
enum State<'a, E> {
    Waits(Shared),
    Exchange(Pin<Box<E>>),
    /// What is done on it before it ends.
    Last(Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>),
}

/// One request and its answer.
async fn exchange(
    held: Shared,
    parsed: Parsed<RequestHead>,
    options: &ServerOptions,
    drain: &Drain,
    handler: impl AsyncFn(Request) -> Response,
) -> io::Result<After> {
    let conn = &held;
    let (version, method) = (parsed.head.version, telling(&parsed.head.method));
    // What follows an offer to switch protocols may be in the other protocol already.
    let switches = parsed.head.upgrade.as_deref().is_some_and(|protocol| protocol != "h2c");
    let mut keep_alive = parsed.keep_alive && !switches && method != "CONNECT";
    let body = begin(conn, &parsed);
    let response = {
        let handling = pin!(handler(Request { head: parsed.head, body }));
        respond(conn, handling).await
    };
    let Some(response) = response else { return Ok(After::End) };
    if response.tunnel.is_some() {
        return Ok(After::Tunnel(Box::new(Switched { conn: held, response, method, version })));
    }
    keep_alive &= !drain.is_draining();
    if conn.borrow().body_failed() && conn.borrow().eof {
        // Nobody is there for the answer to a body that was cut.
        return Ok(After::End);
    }
    keep_alive &= !conn.borrow().body_failed() && !response.close;
    let framing = encode::response_framing(response.head.status, method, response.body.length(), version);
    keep_alive &= framing != Framing::Close;
    conn.borrow_mut().expects_continue = false;
    write_head(conn, &response.head, framing, !keep_alive, version, options);
    let mut alarm = Alarm::default();
    let limit = response.idle.unwrap_or(options.stream_idle_timeout);
    write_body(conn, response.body, framing, Stuck::new(&mut alarm, limit)).await?;
    if !keep_alive || !discard_request(conn).await {
        Box::pin(close(conn, options)).await?;
        return Ok(After::End);
    }
    Ok(After::Next(held))
}

/// What of a method its answer depends on.
fn telling(method: &str) -> &'static str {
    match method {
        "HEAD" => "HEAD",
        "CONNECT" => "CONNECT",
        _ => "",
    }
}

/// What comes next on a connection.
enum Next<E> {
    Exchange(E),
    Refused(ParseError),
    /// The client closed, was idle too long, or the listener drains.
    End,
}

/// What becomes of a connection once a request is answered.
enum After {
    Next(Shared),
    End,
    Tunnel(Box<Switched>),
}

/// An answer that switches protocols.
struct Switched {
    conn: Shared,
    response: Response,
    method: &'static str,
    version: Version,
}

/// What a connection waits for besides bytes.
struct Waits {
    draining: Waiting,
    alarm: Alarm,
    /// Whether something of the next head has come.
    head_began: bool,
    /// When that, or the whole of it, must have come; set once there is something to wait for.
    until: Option<Instant>,
}

/// Whether a head is complete in the buffer; cheaper than parsing it in vain.
pub(super) fn has_head(buf: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', buf).any(|lf| buf[lf + 1..].starts_with(b"\n") || buf[lf + 1..].starts_with(b"\r\n"))
}

/// Waits for a request, and begins the exchange that it opens.
fn poll_next<E>(
    conn: &Shared,
    options: &ServerOptions,
    waits: &mut Waits,
    begin: &impl Fn(Parsed<RequestHead>) -> E,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Next<E>>> {
    if !waits.head_began {
        match poll_first(&mut conn.borrow_mut(), cx) {
            Poll::Ready(Ok(n)) if n > 0 => (waits.head_began, waits.until) = (true, None),
            Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => {
                return Poll::Ready(Err(error));
            }
            Poll::Ready(_) => return Poll::Ready(Ok(Next::End)),
            Poll::Pending => {
                let late = waits.is_late(options.idle_timeout, cx);
                let ends = late || waits.draining.poll(cx).is_ready();
                return if ends { Poll::Ready(Ok(Next::End)) } else { Poll::Pending };
            }
        }
    }
    match poll_head(conn, options, cx) {
        Poll::Pending if waits.is_late(options.headers_timeout, cx) => {
            Poll::Ready(Ok(Next::Refused(ParseError { status: 408, detail: "request_header_timeout" })))
        }
        Poll::Pending => Poll::Pending,
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(None)) => Poll::Ready(Ok(Next::End)),
        Poll::Ready(Ok(Some(Err(error)))) => Poll::Ready(Ok(Next::Refused(error))),
        Poll::Ready(Ok(Some(Ok(parsed)))) => {
            (waits.head_began, waits.until) = (false, None);
            Poll::Ready(Ok(Next::Exchange(begin(parsed))))
        }
    }
}

impl Waits {
    /// Whether a wait has lasted for longer than its limit; zero is none.
    fn is_late(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        self.until = self.until.or_else(|| alarm::after(limit));
        self.until.is_some_and(|until| self.alarm.poll(until, cx).is_ready())
    }
}

/// Whether anything has come; some clients send a line end too many after a body (RFC 9112 section 2.2).
fn poll_first(conn: &mut Conn, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    while conn.buf.starts_with(b"\r\n") {
        conn.buf.advance(2);
    }
    if conn.buf.is_empty() { conn.poll_fill(cx) } else { Poll::Ready(Ok(conn.buf.len())) }
}

/// The next head, or why it is refused; `None` at the end of the connection.
#[allow(clippy::type_complexity)]
fn poll_head(
    conn: &Shared,
    options: &ServerOptions,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Result<Parsed<RequestHead>, ParseError>>>> {
    let mut conn = conn.borrow_mut();
    loop {
        if has_head(&conn.buf) || conn.buf.len() > options.limits.bytes || looks_wrong(&conn.buf) {
            match parse_request(&conn.buf, options.limits, options.scheme) {
                Ok(Some(parsed)) => {
                    conn.buf.advance(parsed.size);
                    return Poll::Ready(Ok(Some(accept(parsed, options))));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Ok(Some(Err(error)))),
            }
        }
        match ready!(conn.poll_fill(cx)) {
            Ok(0) => return Poll::Ready(Ok(None)),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Whether the first bytes can be no request, so that it need not be waited for.
fn looks_wrong(buf: &[u8]) -> bool {
    buf.iter().find(|b| !matches!(b, b'\r' | b'\n')).is_some_and(|b| !crate::http::headers::is_token(*b))
}

fn accept(mut parsed: Parsed<RequestHead>, options: &ServerOptions) -> Result<Parsed<RequestHead>, ParseError> {
    if parsed.head.version == Version::Http10 && !options.accept_http_10 {
        return Err(ParseError { status: 426, detail: "low_version" });
    }
    if !options.custom_methods && !super::methods::is_known(&parsed.head.method) {
        return Err(ParseError { status: 400, detail: "http1.codec_error" });
    }
    if parsed.head.authority.is_empty() && parsed.head.version == Version::Http10 {
        parsed.head.authority.clone_from(&options.default_host_for_http_10);
    }
    Ok(parsed)
}

fn write_head(
    conn: &Shared,
    head: &ResponseHead,
    framing: Framing,
    last: bool,
    version: Version,
    options: &ServerOptions,
) {
    let mut conn = conn.borrow_mut();
    let out = conn.out();
    let start = out.len();
    encode::response(out, head, framing, last);
    if version == Version::Http10 && !last {
        // A client of HTTP/1.0 that asked for it has to be told (RFC 9112 appendix C.2.2).
        out.truncate(out.len() - 2);
        out.extend_from_slice(b"connection: keep-alive\r\n\r\n");
    }
    if options.proper_case || version == Version::Http10 {
        casing::response(&mut out[start..], version, options.proper_case);
    }
}

fn begin(conn: &Shared, parsed: &Parsed<RequestHead>) -> Body {
    conn.borrow_mut().begin_body(parsed.framing);
    conn.borrow_mut().expects_continue = parsed.expects_continue;
    let done = conn.borrow().body_done();
    if done { Body::Empty } else { Body::H1(Incoming::new(Rc::clone(conn))) }
}

/// Runs the handler, and drops it if the client goes away meanwhile.
async fn respond(conn: &Shared, mut handler: Pin<&mut impl Future<Output = Response>>) -> Option<Response> {
    poll_fn(|cx| {
        if let Poll::Ready(response) = handler.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if gone(&mut conn.borrow_mut(), cx) { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Whether the client has closed. What it sends ahead is kept, up to a limit.
fn gone(conn: &mut Conn, cx: &mut Context<'_>) -> bool {
    while conn.body_done() && !conn.eof && conn.buf.len() < MAX_AHEAD {
        match conn.poll_fill(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(n)) if n > 0 => {}
            Poll::Ready(_) => return true,
        }
    }
    conn.eof
}

async fn write_body(conn: &Shared, mut body: Body, framing: Framing, mut stuck: Stuck<'_>) -> io::Result<()> {
    let mut ended = framing == Framing::None || body.is_end();
    let mut cut = None;
    if ended {
        encode::end(conn.borrow_mut().out(), framing, None);
    }
    loop {
        poll_fn(|cx| {
            while !ended && conn.borrow().may_gather(GATHER) {
                match body.poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Err(error))) => {
                        ended = true;
                        cut = Some(io::Error::other(error));
                        break;
                    }
                    Poll::Ready(frame) => ended = append(conn, framing, frame),
                }
                if !ended && body.is_end() {
                    ended = true;
                    encode::end(conn.borrow_mut().out(), framing, None);
                }
            }
            let mut conn = conn.borrow_mut();
            if conn.pending_out() == 0 && !ended {
                return if gone(&mut conn, cx) {
                    Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
                } else {
                    Poll::Pending
                };
            }
            stuck.poll_flush(&mut conn, cx)
        })
        .await?;
        if ended {
            return match cut {
                None => Ok(()),
                Some(error) => {
                    if framing == Framing::Close {
                        // A cut answer must not look whole.
                        conn.borrow().io.reset_on_drop();
                    }
                    Err(error)
                }
            };
        }
    }
}

/// Appends a frame of the answer; `true` at its end. Trailers have no place unless the client asked, and HTTP/1.1
/// clients rarely do: as in Envoy they are left out.
fn append(conn: &Shared, framing: Framing, frame: Option<Result<Frame, crate::http::body::BodyError>>) -> bool {
    let mut conn = conn.borrow_mut();
    match frame {
        Some(Ok(Frame::Data(data))) => {
            conn.push_data(framing, data);
            false
        }
        _ => {
            encode::end(conn.out(), framing, None);
            true
        }
    }
}

/// Reads what is left of a request body; `false` if that is more than it is worth.
async fn discard_request(conn: &Shared) -> bool {
    let mut left = MAX_DISCARD;
    loop {
        if conn.borrow().body_done() {
            return true;
        }
        conn.borrow_mut().expects_continue = false;
        let frame = poll_fn(|cx| match conn.borrow_mut().poll_body(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => Poll::Ready(Some(Err(crate::http::body::BodyError::Truncated))),
        })
        .await;
        match frame {
            Some(Ok(Frame::Data(data))) if data.len() <= left => left -= data.len(),
            Some(Ok(Frame::Trailers(_))) => {}
            None => return true,
            _ => return false,
        }
    }
}

async fn refuse(conn: Shared, answer: Response, options: &ServerOptions) -> io::Result<()> {
    let conn = &conn;
    let framing = Framing::Length(answer.body.length().unwrap_or(0));
    write_head(conn, &answer.head, framing, true, Version::Http11, options);
    let mut alarm = Alarm::default();
    write_body(conn, answer.body, framing, Stuck::new(&mut alarm, options.stream_idle_timeout)).await?;
    close(conn, options).await
}

/// Closes our side, and reads on for a while: unread bytes would make the kernel reset the connection, and the client
/// lose the answer (RFC 9112 section 9.6).
async fn close(conn: &Shared, options: &ServerOptions) -> io::Result<()> {
    let mut alarm = Alarm::default();
    let shut = pin!(poll_fn(|cx| poll_shutdown(conn, cx)));
    let Some(shut) = alarm::within(&mut alarm, alarm::after(options.stream_idle_timeout), shut).await else {
        conn.borrow().io.reset_on_drop();
        return Err(io::ErrorKind::TimedOut.into());
    };
    shut?;
    let drained = poll_fn(|cx| {
        let mut conn = conn.borrow_mut();
        loop {
            conn.buf.clear();
            if !matches!(ready!(conn.poll_fill(cx)), Ok(n) if n > 0) {
                return Poll::Ready(());
            }
        }
    });
    let _ = tokio::time::timeout(options.delayed_close, drained).await;
    Ok(())
}

fn poll_shutdown(conn: &Shared, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut conn = conn.borrow_mut();
    ready!(conn.poll_flush(cx))?;
    Pin::new(&mut conn.io).poll_shutdown(cx)
}

/// Writes the head of a switch of protocols, then copies bytes both ways.
async fn tunnel(switched: Switched) -> io::Result<()> {
    let Switched { conn, response, method, version } = switched;
    let framing = encode::response_framing(response.head.status, method, None, version);
    encode::response(conn.borrow_mut().out(), &response.head, framing, false);
    poll_fn(|cx| conn.borrow_mut().poll_flush(cx)).await?;
    // Whoever observes the body learns of the end of the tunnel by its drop.
    let _observed = response.body;
    let (Some(upstream), Ok(conn)) = (response.tunnel, Rc::try_unwrap(conn)) else { return Ok(()) };
    let conn = conn.into_inner();
    let mut downstream = Prefixed { prefix: conn.buf.freeze(), io: conn.io };
    let mut upstream = *upstream;
    crate::http::tunnel::join(&mut downstream, &mut upstream).await
}
