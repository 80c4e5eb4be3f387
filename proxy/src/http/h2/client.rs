//! The client side: many requests at a time on one connection.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use h2::ext::Protocol;

use super::gather::gather;
use super::server::content_length;
use super::{Incoming, SendBodyError, StreamIo, convert, keepalive, send_body};
use crate::config::Http2Options;
use crate::http::body::Body;
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::http::tunnel::Tunnel;
use crate::http::{Response, websocket};
use crate::io::Io;

#[derive(Clone, Copy, Debug)]
pub struct ClientOptions<'a> {
    pub max_headers_bytes: u32,
    pub http2: &'a Http2Options,
}

/// A connection to a server. Clones share it.
#[derive(Clone)]
pub struct Client {
    send: SendRequest<Bytes>,
    active: Rc<Cell<u32>>,
    served: Rc<Cell<u32>>,
    closed: Rc<Cell<bool>>,
    idle_since: Rc<Cell<Instant>>,
}

/// The rest of a request's body on its way.
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<(), SendBodyError>>>>;

/// A stream that is under way, counted on its connection.
pub struct Active(Rc<Cell<u32>>, Rc<Cell<Instant>>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
        if self.0.get() == 0 {
            self.1.set(Instant::now());
        }
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The request cannot be said in HTTP/2 (a host or path that is no URI); nothing was sent.
    #[error("the request is malformed")]
    Malformed,
    #[error("the client's request body failed")]
    RequestBody,
    /// The server refused the stream or left before it looked at it: it may be sent again (RFC 9113 section 8.7).
    #[error("the upstream refused the stream")]
    Refused,
    #[error("the upstream reset the stream: {0}")]
    Reset(String),
    #[error("the connection failed: {0}")]
    Connection(String),
}

/// Begins HTTP/2 on a connection; the connection itself runs as a task of the worker.
pub async fn handshake(io: Io, options: ClientOptions<'_>) -> Result<Client, SendError> {
    let (io, turns) = gather(io);
    let (send, mut connection) = h2::client::Builder::new()
        .initial_window_size(options.http2.stream_window)
        .initial_connection_window_size(options.http2.connection_window)
        .header_table_size(options.http2.hpack_table_size)
        .max_header_list_size(options.max_headers_bytes)
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|error| SendError::Connection(error.to_string()))?;
    let closed = Rc::new(Cell::new(false));
    let ended = Rc::clone(&closed);
    let lost = keepalive::lost(connection.ping_pong(), options.http2.keepalive);
    tokio::task::spawn_local(async move {
        let (mut connection, mut lost) = (pin!(connection), pin!(lost));
        poll_fn(|cx| match turns.poll(cx, |cx| connection.as_mut().poll(cx)) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => lost.as_mut().poll(cx),
        })
        .await;
        ended.set(true);
    });
    let idle_since = Rc::new(Cell::new(Instant::now()));
    Ok(Client { send, active: Rc::default(), served: Rc::default(), closed, idle_since })
}

impl Client {
    /// Whether it takes no more streams: it has ended, or the server has said goodbye.
    pub fn is_closed(&mut self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        self.closed.get() || matches!(self.send.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Streams under way.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Requests it has served or is serving.
    pub fn served(&self) -> u32 {
        self.served.get()
    }

    /// When the last stream ended.
    pub fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Streams that the server takes at a time, as far as it has said.
    pub fn peer_limit(&self) -> u32 {
        u32::try_from(self.send.current_max_send_streams()).unwrap_or(u32::MAX)
    }

    /// Whether the server takes another stream now, if it takes any.
    pub fn has_room(&self, limit: u32) -> bool {
        self.active() < limit.min(self.peer_limit())
    }

    /// Sends a request and reads the head of the answer.
    pub async fn send(self, head: &RequestHead, body: Body) -> Result<Response, SendError> {
        let request = convert_request(head, body.length()).ok_or(SendError::Malformed)?;
        let mut send = self.send.ready().await.map_err(failure)?;
        let switches = head.upgrade.is_some();
        let end = body.is_end() && !switches;
        let (answer, stream) = send.send_request(request, end).map_err(failure)?;
        self.active.set(self.active.get() + 1);
        self.served.set(self.served.get() + 1);
        let active = Active(self.active, self.idle_since);
        let mut answer = pin!(answer);
        if switches {
            let response = answer.await.map_err(failure)?;
            return Ok(switched(head, response, stream, active));
        }
        let mut sending: Option<Sending> = (!end).then(|| Box::pin(send_body(stream, body, Duration::ZERO)) as _);
        let response = poll_fn(|cx| {
            if let Some(rest) = &mut sending
                && let Poll::Ready(sent) = rest.as_mut().poll(cx)
            {
                sending = None;
                if matches!(sent, Err(SendBodyError::Body)) {
                    return Poll::Ready(Err(SendError::RequestBody));
                }
            }
            answer.as_mut().poll(cx).map_err(failure)
        })
        .await?;
        Ok(convert_response(response, sending, active))
    }
}

fn failure(error: h2::Error) -> SendError {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => SendError::Refused,
        _ if error.is_go_away() && error.is_remote() => SendError::Refused,
        Some(_) if error.is_reset() => SendError::Reset(error.to_string()),
        _ => SendError::Connection(error.to_string()),
    }
}

fn convert_request(head: &RequestHead, length: Option<u64>) -> Option<http::Request<()>> {
    let uri = if head.method == "CONNECT" && head.upgrade.is_none() {
        http::Uri::builder().authority(head.authority.as_str()).build().ok()?
    } else {
        http::Uri::builder()
            .scheme(head.scheme)
            .authority(head.authority.as_str())
            .path_and_query(head.path.as_str())
            .build()
            .ok()?
    };
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.parse().ok()?;
    if let Some(protocol) = &head.upgrade {
        *request.method_mut() = http::Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol.as_str()));
    }
    *request.uri_mut() = uri;
    *request.headers_mut() = convert::header_map(&head.headers);
    if let Some(length) = length.filter(|length| *length > 0) {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    Some(request)
}

/// The answer to an extended CONNECT, in the words of HTTP/1.1 that the rest of the proxy knows (RFC 8441 section 5).
fn switched(
    head: &RequestHead,
    response: http::Response<h2::RecvStream>,
    mut send: SendStream<Bytes>,
    active: Active,
) -> Response {
    if !response.status().is_success() {
        let _ = send.send_data(Bytes::new(), true);
        return convert_response(response, None, active);
    }
    let (parts, receive) = response.into_parts();
    let mut headers = convert::headers(&parts.headers);
    if let Some(protocol) = &head.upgrade {
        headers.append("upgrade", protocol);
    }
    if let Some(key) = head.headers.get(websocket::KEY)
        && !headers.contains(websocket::ACCEPT)
    {
        headers.append(websocket::ACCEPT, websocket::accept(key));
    }
    let stream = StreamIo::new(receive, send, Some(active));
    let head = ResponseHead { status: 101, version: Version::Http2, headers };
    Response { tunnel: Some(Box::new(Tunnel::Stream(stream))), ..Response::new(head, Body::Empty) }
}

fn convert_response(response: http::Response<h2::RecvStream>, sending: Option<Sending>, active: Active) -> Response {
    let (parts, stream) = response.into_parts();
    let mut headers = convert::headers(&parts.headers);
    let length = content_length(&parts.headers).flatten();
    let body = Incoming::response(stream, length, sending, active);
    let body = if body.is_end() {
        Body::Empty
    } else {
        headers.remove("content-length");
        Body::H2(body)
    };
    Response::new(ResponseHead { status: parts.status.as_u16(), version: Version::Http2, headers }, body)
}
