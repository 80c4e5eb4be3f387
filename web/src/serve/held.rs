//! A client's connection, held open only while something is asked on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Calls {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// A request until its answer is written.
pub struct Call(Arc<Calls>);

impl Calls {
    pub fn begin(calls: &Arc<Self>) -> Call {
        calls.begun.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(calls))
    }

    /// How many were ever begun and ended.
    fn count(&self) -> (usize, usize) {
        (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Call {
    pub fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Answer { body, _call: self })
    }
}

struct Answer {
    body: Body,
    _call: Call,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connection. Reading fails once nothing was asked for too long.
pub struct Held<Io> {
    io: Io,
    calls: Arc<Calls>,
    limits: Limits,
    /// When the time is over, unless something is asked until then.
    over: Pin<Box<Sleep>>,
    /// What was counted when that was set.
    seen: (usize, usize),
}

impl<Io> Held<Io> {
    pub fn new(io: Io, calls: Arc<Calls>, limits: Limits) -> Self {
        Self { io, calls, limits, over: Box::pin(tokio::time::sleep(limits.head)), seen: (0, 0) }
    }

    /// Whether nothing was asked since the time began.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.over.as_mut().poll(cx).is_ready() {
            let now = self.calls.count();
            if now.0 == now.1 && now == self.seen {
                return true;
            }
            self.seen = now;
            self.over.as_mut().reset(Instant::now() + self.limits.idle);
        }
        false
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Held<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Held<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
