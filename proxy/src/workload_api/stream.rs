//! A connection to the socket: who is at its other end, and its bytes as our HTTP/2 library takes them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

use super::Caller;
use super::authority::Mender;
use super::socket::Place;

const CHUNK: usize = 8192;

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    caller: Arc<Caller>,
    mender: Mender,
    /// Mended, and handed on up to `taken`.
    ready: Vec<u8>,
    taken: usize,
    _place: Place,
}

impl Connection {
    pub fn new(stream: UnixStream, caller: Caller, place: Place) -> Self {
        let caller = Arc::new(caller);
        Self { stream, caller, mender: Mender::default(), ready: Vec::new(), taken: 0, _place: place }
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Caller>;

    fn connect_info(&self) -> Arc<Caller> {
        Arc::clone(&self.caller)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.taken == this.ready.len() {
            this.ready.clear();
            this.taken = 0;
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.mender.take(read.filled(), &mut this.ready);
        }
        let left = &this.ready[this.taken..];
        let now = left.len().min(buf.remaining());
        buf.put_slice(&left[..now]);
        this.taken += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
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
