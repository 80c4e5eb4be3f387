//! The server side: reads requests one after another, hands each to the handler, writes its answer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite as _;

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
use crate::io::{Io, Prefixed};

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
pub async fn serve(
    io: Io,
    already_read: BytesMut,
    options: &ServerOptions,
    drain: &Drain,
    handler: impl AsyncFn(Request) -> Response,
    refused: impl Fn(ParseError) -> Response,
) -> io::Result<()> {
    let conn = Conn::shared(io, already_read);
    let mut waits = Waits { draining: drain.waiting(), alarm: Alarm::default() };
    conn.borrow_mut().limit_reads(options.buffer_limit);
    loop {
        let parsed = match next_head(&conn, options, &mut waits).await? {
            Head::End => return Ok(()),
            Head::Refused(error) => return refuse(&conn, refused(error), options, &mut waits.alarm).await,
            Head::Request(parsed) => *parsed,
        };
        let (version, method) = (parsed.head.version, parsed.head.method.clone());
        // What follows an offer to switch protocols may be in the other protocol already.
        let switches = parsed.head.upgrade.as_deref().is_some_and(|protocol| protocol != "h2c");
        let mut keep_alive = parsed.keep_alive && !switches && method != "CONNECT";
        let body = begin(&conn, &parsed);
        // On the heap, so that an idle connection does not hold the room that a request needs.
        let handling = Box::pin(handler(Request { head: parsed.head, body }));
        let Some(response) = respond(&conn, handling).await else { return Ok(()) };
        if response.tunnel.is_some() {
            return Box::pin(tunnel(conn, response, &method, version)).await;
        }
        keep_alive &= !drain.is_draining();
        if conn.borrow().body_failed() && conn.borrow().eof {
            // Nobody is there for the answer to a body that was cut.
            return Ok(());
        }
        keep_alive &= !conn.borrow().body_failed() && !response.close;
        let framing = encode::response_framing(response.head.status, &method, response.body.length(), version);
        keep_alive &= framing != Framing::Close;
        conn.borrow_mut().expects_continue = false;
        write_head(&conn, &response.head, framing, !keep_alive, version, options);
        let limit = response.idle.unwrap_or(options.stream_idle_timeout);
        write_body(&conn, response.body, framing, Stuck::new(&mut waits.alarm, limit)).await?;
        if !keep_alive || !discard_request(&conn).await {
            return close(&conn, options, &mut waits.alarm).await;
        }
    }
}

enum Head {
    Request(Box<Parsed<RequestHead>>),
    Refused(ParseError),
    /// The client closed, was idle too long, or the listener drains.
    End,
}

/// What a connection waits for besides bytes.
struct Waits {
    draining: Waiting,
    alarm: Alarm,
}

/// Whether a head is complete in the buffer; cheaper than parsing it in vain.
pub(super) fn has_head(buf: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', buf).any(|lf| buf[lf + 1..].starts_with(b"\n") || buf[lf + 1..].starts_with(b"\r\n"))
}

async fn next_head(conn: &Shared, options: &ServerOptions, waits: &mut Waits) -> io::Result<Head> {
    // Some clients send a line end too many after a body (RFC 9112 section 2.2).
    while conn.borrow().buf.starts_with(b"\r\n") {
        let _ = conn.borrow_mut().buf.split_to(2);
    }
    if conn.borrow().buf.is_empty() {
        let idle_until = alarm::after(options.idle_timeout);
        let first = poll_fn(|cx| {
            if let Poll::Ready(read) = conn.borrow_mut().poll_fill(cx) {
                return Poll::Ready(Some(read));
            }
            let late = idle_until.is_some_and(|at| waits.alarm.poll(at, cx).is_ready());
            if late || waits.draining.poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        });
        match first.await {
            Some(Ok(n)) if n > 0 => {}
            Some(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
            _ => return Ok(Head::End),
        }
    }
    let whole = poll_fn(|cx| poll_head(conn, options, cx));
    let head = alarm::within(&mut waits.alarm, alarm::after(options.headers_timeout), pin!(whole)).await;
    head.unwrap_or(Ok(Head::Refused(ParseError { status: 408, detail: "request_header_timeout" })))
}

fn poll_head(conn: &Shared, options: &ServerOptions, cx: &mut Context<'_>) -> Poll<io::Result<Head>> {
    let mut conn = conn.borrow_mut();
    loop {
        if has_head(&conn.buf) || conn.buf.len() > options.limits.bytes || looks_wrong(&conn.buf) {
            match parse_request(&conn.buf, options.limits, options.scheme) {
                Ok(Some(parsed)) => {
                    let _ = conn.buf.split_to(parsed.size);
                    return Poll::Ready(Ok(accept(parsed, options)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Ok(Head::Refused(error))),
            }
        }
        match ready!(conn.poll_fill(cx)) {
            Ok(0) => return Poll::Ready(Ok(Head::End)),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Whether the first bytes can be no request, so that it need not be waited for.
fn looks_wrong(buf: &[u8]) -> bool {
    buf.iter().find(|b| !matches!(b, b'\r' | b'\n')).is_some_and(|b| !crate::http::headers::is_token(*b))
}

fn accept(mut parsed: Parsed<RequestHead>, options: &ServerOptions) -> Head {
    if parsed.head.version == Version::Http10 && !options.accept_http_10 {
        return Head::Refused(ParseError { status: 426, detail: "low_version" });
    }
    if parsed.head.authority.is_empty() && parsed.head.version == Version::Http10 {
        parsed.head.authority.clone_from(&options.default_host_for_http_10);
    }
    Head::Request(Box::new(parsed))
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
async fn respond(conn: &Shared, mut handler: Pin<Box<impl Future<Output = Response>>>) -> Option<Response> {
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

async fn refuse(conn: &Shared, answer: Response, options: &ServerOptions, alarm: &mut Alarm) -> io::Result<()> {
    let framing = Framing::Length(answer.body.length().unwrap_or(0));
    write_head(conn, &answer.head, framing, true, Version::Http11, options);
    write_body(conn, answer.body, framing, Stuck::new(alarm, options.stream_idle_timeout)).await?;
    close(conn, options, alarm).await
}

/// Closes our side, and reads on for a while: unread bytes would make the kernel reset the connection, and the client
/// lose the answer (RFC 9112 section 9.6).
async fn close(conn: &Shared, options: &ServerOptions, alarm: &mut Alarm) -> io::Result<()> {
    let shut = pin!(poll_fn(|cx| poll_shutdown(conn, cx)));
    let Some(shut) = alarm::within(alarm, alarm::after(options.stream_idle_timeout), shut).await else {
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
async fn tunnel(conn: Shared, response: Response, method: &str, version: Version) -> io::Result<()> {
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
