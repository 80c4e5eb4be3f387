//! Bytes inside one HTTP/2 stream, once a CONNECT was answered (RFC 9113 section 8.5, RFC 8441). The peer's window
//! opens as its bytes are taken, so that who reads slowly holds up only the one who writes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Active;
use super::poll_capacity;
use crate::http::tunnel::Cut;
use crate::tcp::Side;

pub struct StreamIo {
    receive: RecvStream,
    send: SendStream<Bytes>,
    came: Bytes,
    ended: bool,
    /// Counted as active on its connection until dropped.
    _active: Option<Active>,
}

impl StreamIo {
    pub(super) fn new(receive: RecvStream, send: SendStream<Bytes>, active: Option<Active>) -> Self {
        Self { receive, send, came: Bytes::new(), ended: false, _active: active }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.came.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(data) => this.came = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = this.came.len().min(buf.remaining());
        buf.put_slice(&this.came[..n]);
        this.came.advance(n);
        let _ = this.receive.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let send = &mut self.get_mut().send;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        send.reserve_capacity(buf.len());
        let room = ready!(poll_capacity(send, cx)).map_err(io::Error::other)?;
        let n = room.min(buf.len());
        send.send_data(Bytes::copy_from_slice(&buf[..n]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.send.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Side for StreamIo {}

impl Cut for StreamIo {
    fn cut(&mut self) {
        self.send.send_reset(Reason::CONNECT_ERROR);
    }
}

impl fmt::Debug for StreamIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.receive.stream_id())
    }
}
