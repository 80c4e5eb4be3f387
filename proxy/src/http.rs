//! HTTP as the proxy sees it, whatever version carries it: heads, headers, bodies, and the codecs that move them.

pub mod body;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod message;
mod paced;
pub mod tunnel;
mod websocket;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use body::Body;
use message::{RequestHead, ResponseHead};
use tunnel::Tunnel;

use crate::upstream::Counted;

/// A request on its way from a client.
#[derive(Debug)]
pub struct Request {
    pub head: RequestHead,
    pub body: Body,
}

/// An answer on its way to a client.
#[derive(Debug)]
pub struct Response {
    pub head: ResponseHead,
    pub body: Body,
    /// The upstream's side, where the answer switches protocols (101, or 200 to a CONNECT): bytes flow both ways
    /// between it and the client once the head is written.
    pub tunnel: Option<Box<Tunnel>>,
    /// The connection that the answer came on; `None` for one that is made here.
    pub via: Option<Rc<Via>>,
    /// Whether the connection ends with it (HTTP/1.1).
    pub close: bool,
    /// How long the client may leave it unread, where the route says so; zero is for ever.
    pub idle: Option<Duration>,
}

/// What is known of a connection to an upstream for as long as it lasts.
#[derive(Debug)]
pub struct Via {
    /// Unique in this process.
    pub id: u64,
    pub local_address: Option<SocketAddr>,
    pub _counted: Option<Counted>,
}

impl Response {
    pub fn new(head: ResponseHead, body: Body) -> Self {
        Self { head, body, tunnel: None, via: None, close: false, idle: None }
    }
}
