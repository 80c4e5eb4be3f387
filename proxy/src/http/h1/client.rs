//! The client side: one request at a time on one connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::conn::{Conn, Shared};
use super::incoming::{Incoming, OnEnd};
use super::parse::{Limits, Parsed, parse_response};
use super::{Framing, casing, encode};
use crate::http::Response;
use crate::http::body::{Body, Frame};
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::tunnel::Tunnel;
use crate::io::{Io, Prefixed};

/// Bytes that are gathered before they are written.
const GATHER: usize = 16 * 1024;
/// Interim answers (1xx) that may come in one go.
const MAX_INTERIM: usize = 100;

/// A connection to a server, ready for a request.
pub struct Client {
    conn: Shared,
    /// Requests it has served.
    pub served: u32,
    /// Whether names of headers are written as `Content-Type`.
    pub proper_case: bool,
}

/// How the sending of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    /// The server takes no more; its answer may still come.
    Cut,
    /// The client's side failed.
    BodyFailed,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection ended before a byte of the answer came.
    #[error("the upstream closed the connection before it answered: {0}")]
    BeforeAnswer(String),
    #[error("the upstream closed the connection in the middle of its answer")]
    Truncated,
    #[error("the upstream's answer is not HTTP/1.1: {0}")]
    Protocol(&'static str),
    #[error("the client's request body failed")]
    RequestBody,
}

impl Client {
    pub fn new(io: Io) -> Self {
        Self { conn: Conn::new(io, Default::default()).share(), served: 0, proper_case: false }
    }

    /// A connection that served before and ended cleanly.
    pub(crate) fn again(conn: Shared, served: u32) -> Self {
        Self { conn, served, proper_case: false }
    }

    /// Whether the server closed the connection, or spoke out of turn, while it was idle.
    pub fn is_stale(&self) -> bool {
        let mut conn = self.conn.borrow_mut();
        conn.eof || !conn.buf.is_empty() || conn.io.is_stale()
    }

    /// Sends a request and reads the head of the answer. `reuse` gets the connection back if it can serve again.
    pub async fn send(
        self,
        head: &RequestHead,
        mut body: Body,
        limits: Limits,
        reuse: impl FnOnce(Client) + 'static,
    ) -> Result<Response, SendError> {
        let conn = self.conn;
        let framing = match body.length() {
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        encode::request(conn.borrow_mut().out(), head, framing);
        if self.proper_case {
            casing::names(conn.borrow_mut().out());
        }
        let mut sending: Option<Pin<Box<dyn Future<Output = Sent>>>> = None;
        if !poll_fn(|cx| poll_first_write(&conn, &mut body, framing, cx)).await? {
            sending = Some(Box::pin(send_rest(Rc::clone(&conn), body, framing)));
        }
        let parsed = poll_fn(|cx| {
            if let Some(rest) = &mut sending
                && let Poll::Ready(sent) = rest.as_mut().poll(cx)
            {
                if sent == Sent::BodyFailed {
                    return Poll::Ready(Err(SendError::RequestBody));
                }
                sending = (sent == Sent::Cut).then(|| Box::pin(std::future::ready(Sent::Cut)) as _);
            }
            poll_head(&conn, &head.method, head.upgrade.is_some(), limits, cx)
        })
        .await?;
        Ok(response(conn, parsed, sending, &head.method, self.served + 1, reuse))
    }
}

fn response(
    conn: Shared,
    parsed: Parsed<ResponseHead>,
    sending: Option<Pin<Box<dyn Future<Output = Sent>>>>,
    method: &str,
    served: u32,
    reuse: impl FnOnce(Client) + 'static,
) -> Response {
    let status = parsed.head.status;
    if status == 101 || (method == "CONNECT" && (200..300).contains(&status)) {
        drop(sending);
        let tunnel = Rc::try_unwrap(conn).ok().map(|conn| {
            let conn = conn.into_inner();
            Box::new(Tunnel::Connection(Prefixed { prefix: conn.buf.freeze(), io: conn.io }))
        });
        return Response { tunnel, ..Response::new(parsed.head, Body::Empty) };
    }
    conn.borrow_mut().begin_body(parsed.framing);
    let keep_alive = parsed.keep_alive;
    let on_end: OnEnd = Box::new(move |conn, clean| {
        let reusable = clean && keep_alive && conn.borrow().buf.is_empty() && conn.borrow().pending_out() == 0;
        if reusable {
            reuse(Client::again(conn, served));
        }
    });
    if sending.is_none() && parsed.framing == Framing::Length(0) || parsed.framing == Framing::None {
        drop(Incoming::response(conn, sending, on_end));
        return Response::new(parsed.head, Body::Empty);
    }
    Response::new(parsed.head, Body::H1(Incoming::response(conn, sending, on_end)))
}

/// Writes the head with the part of the body that is at hand; `true` if that was all of it.
fn poll_first_write(
    conn: &Shared,
    body: &mut Body,
    framing: Framing,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, SendError>> {
    let mut ended = framing == Framing::Length(0);
    while !ended && conn.borrow().may_gather(GATHER) {
        match body.poll_frame(cx) {
            Poll::Pending => break,
            Poll::Ready(frame) => ended = append(conn, framing, frame).map_err(|()| SendError::RequestBody)?,
        }
        ended |= framing != Framing::Chunked && body.is_end();
    }
    match ready!(conn.borrow_mut().poll_flush(cx)) {
        Ok(()) => Poll::Ready(Ok(ended)),
        // The server may have answered and closed before it read the request: the answer is what counts.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Poll::Ready(Ok(ended)),
        Err(error) => Poll::Ready(Err(SendError::BeforeAnswer(error.to_string()))),
    }
}

/// Appends a frame; `true` at the end of the body.
fn append(
    conn: &Shared,
    framing: Framing,
    frame: Option<Result<Frame, crate::http::body::BodyError>>,
) -> Result<bool, ()> {
    let mut conn = conn.borrow_mut();
    match frame {
        Some(Ok(Frame::Data(data))) => {
            conn.push_data(framing, data);
            return Ok(false);
        }
        Some(Ok(Frame::Trailers(trailers))) => encode::end(conn.out(), framing, Some(&trailers)),
        None => encode::end(conn.out(), framing, None),
        Some(Err(_)) => return Err(()),
    }
    Ok(true)
}

/// Sends the rest of a body; `false` if it could not be sent whole.
async fn send_rest(conn: Shared, mut body: Body, framing: Framing) -> Sent {
    loop {
        let frame = body.frame().await;
        let Ok(ended) = append(&conn, framing, frame) else {
            // The server must not take a cut body for a whole one.
            conn.borrow_mut().io.reset_on_drop();
            return Sent::BodyFailed;
        };
        if poll_fn(|cx| conn.borrow_mut().poll_flush(cx)).await.is_err() {
            return Sent::Cut;
        }
        if ended {
            return Sent::Whole;
        }
    }
}

fn poll_head(
    conn: &Shared,
    method: &str,
    asked: bool,
    limits: Limits,
    cx: &mut Context<'_>,
) -> Poll<Result<Parsed<ResponseHead>, SendError>> {
    let mut conn = conn.borrow_mut();
    let mut interim = 0;
    loop {
        if super::server::has_head(&conn.buf) || conn.buf.len() > limits.bytes {
            let parsed = parse_response(&conn.buf, limits, method).map_err(|e| SendError::Protocol(e.detail))?;
            if let Some(parsed) = parsed {
                let _ = conn.buf.split_to(parsed.size);
                // Interim answers are for this hop, except the one that switches protocols.
                if parsed.head.status == 101 && !asked {
                    return Poll::Ready(Err(SendError::Protocol("a switch of protocols that was not asked for")));
                }
                if parsed.head.status >= 200 || parsed.head.status == 101 {
                    return Poll::Ready(Ok(parsed));
                }
                interim += 1;
                if interim > MAX_INTERIM {
                    return Poll::Ready(Err(SendError::Protocol("interim answers without end")));
                }
                continue;
            }
        }
        match ready!(conn.poll_fill(cx)) {
            Ok(0) if conn.buf.is_empty() => {
                return Poll::Ready(Err(SendError::BeforeAnswer("end of stream".to_owned())));
            }
            Ok(0) => return Poll::Ready(Err(SendError::Truncated)),
            Ok(_) => {}
            Err(error) if conn.buf.is_empty() => {
                return Poll::Ready(Err(SendError::BeforeAnswer(error.to_string())));
            }
            Err(_) => return Poll::Ready(Err(SendError::Truncated)),
        }
    }
}
