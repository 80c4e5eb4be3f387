//! What an upstream gave for a switch of protocols: a connection of its own, or one stream of a connection. Bytes flow
//! both ways between it and the client until both sides have ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::h2;
use crate::io::Prefixed;
use crate::tcp::{self, Side};

#[derive(Debug)]
pub enum Tunnel {
    Connection(Prefixed),
    Stream(h2::StreamIo),
}

/// A side of a tunnel that can be cut off.
pub trait Cut: Side {
    /// An abort on one side must not look like a clean end on the other.
    fn cut(&mut self);
}

/// Copies until both sides have ended, or cuts both off.
pub async fn join(downstream: &mut impl Cut, upstream: &mut impl Cut) -> io::Result<()> {
    let ended = tcp::copy_both(downstream, upstream, Duration::ZERO, &mut |_, _| {}).await;
    if ended.is_err() {
        downstream.cut();
        upstream.cut();
    }
    ended
}

impl Cut for Prefixed {
    fn cut(&mut self) {
        self.io.reset_on_drop();
    }
}

impl Cut for Tunnel {
    fn cut(&mut self) {
        match self {
            Self::Connection(io) => io.cut(),
            Self::Stream(io) => io.cut(),
        }
    }
}

impl Side for Tunnel {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Connection(io) => io.plain(),
            Self::Stream(_) => None,
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_read(cx, buf),
            Self::Stream(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_write(cx, buf),
            Self::Stream(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_flush(cx),
            Self::Stream(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_shutdown(cx),
            Self::Stream(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
