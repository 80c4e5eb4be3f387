//! A client's connection, held open only while something is asked on it and the client does its part: it sends what it
//! asks and takes what it is answered. An answer that has nothing to say may take as long as it likes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;

/// So much of an answer is handed over at once: over HTTP/2 the next is asked for when the client has taken it.
const PIECE: usize = 16 * 1024;

/// The requests of one connection.
#[derive(Debug, Default)]
pub struct Calls {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Those that wait for the client.
    theirs: AtomicUsize,
    /// Pieces of bodies that went to and fro.
    moved: AtomicUsize,
}

/// What was counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    begun: usize,
    ended: usize,
    moved: usize,
}

/// A request until its answer is written.
pub struct Call(Arc<Calls>);

impl Calls {
    pub fn begin(calls: &Arc<Self>) -> Call {
        calls.begun.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(calls))
    }

    fn count(&self) -> Count {
        let [begun, ended, moved] = [&self.begun, &self.ended, &self.moved].map(|count| count.load(Ordering::Relaxed));
        Count { begun, ended, moved }
    }

    /// Whether nothing of what is under way waits for us.
    fn wait_for_client(&self, Count { begun, ended, .. }: Count) -> bool {
        begun.saturating_sub(ended) <= self.theirs.load(Ordering::Relaxed)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Call {
    /// The body of the request.
    pub fn held_from_the_beginning_of<B>(&self, body: B) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        Body::new(Asked { body, turn: Turn::of(&self.0) })
    }

    /// The body of the answer.
    pub fn until_the_end_of(self, body: Body) -> Body {
        let mut turn = Turn::of(&self.0);
        turn.is_theirs(true);
        Body::new(Answer { body, rest: Bytes::new(), turn, _call: self })
    }
}

/// Whose turn it is.
struct Turn {
    calls: Arc<Calls>,
    theirs: bool,
}

impl Turn {
    fn of(calls: &Arc<Calls>) -> Self {
        Self { calls: Arc::clone(calls), theirs: false }
    }

    fn is_theirs(&mut self, theirs: bool) {
        match (self.theirs, theirs) {
            (false, true) => self.calls.theirs.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.calls.theirs.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.theirs = theirs;
    }

    fn moved(&self) {
        self.calls.moved.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.is_theirs(false);
    }
}

/// It is the client's turn while more is waited for.
struct Asked<B> {
    body: B,
    turn: Turn,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Asked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.turn.is_theirs(polled.is_pending());
        if polled.is_ready() {
            self.turn.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// It is the client's turn from when a piece was handed over until the next is asked for.
struct Answer {
    body: Body,
    /// What was not handed over yet of what there is.
    rest: Bytes,
    turn: Turn,
    _call: Call,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.turn.is_theirs(false);
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let size = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(size);
        self.turn.moved();
        self.turn.is_theirs(true);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// The connection. It fails once nothing was asked, sent or taken for too long.
pub struct Held<Io> {
    io: Io,
    calls: Arc<Calls>,
    limits: Limits,
    /// When the time is over, unless something happens until then.
    over: Pin<Box<Sleep>>,
    /// What was counted when that was set.
    seen: (Count, usize),
    /// Whether there is something to write, or written and to be sent, and no room for it.
    stuck: [bool; 2],
    /// How often something was written.
    written: usize,
}

impl<Io> Held<Io> {
    pub fn new(io: Io, calls: Arc<Calls>, limits: Limits) -> Self {
        let (over, seen) = (Box::pin(tokio::time::sleep(limits.head)), Default::default());
        Self { io, calls, limits, over, seen, stuck: [false; 2], written: 0 }
    }

    /// Whether the client did nothing since the time began, and it was its turn.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.over.as_mut().poll(cx).is_ready() {
            let now = (self.calls.count(), self.written);
            let is_over = match self.stuck {
                // The last of an answer takes its time on its way after all of it was handed over.
                [false, false] => now.0 == self.seen.0 && self.calls.wait_for_client(now.0),
                _ => now.1 == self.seen.1,
            };
            if is_over {
                return true;
            }
            self.seen = now;
            self.over.as_mut().reset(Instant::now() + self.limits.idle);
        }
        false
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_over(cx) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// `way`: 0 where something is written, 1 where it is sent.
    fn tried<T>(&mut self, way: usize, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let was_stuck = std::mem::replace(&mut self.stuck[way], polled.is_pending());
        self.written += usize::from(polled.is_ready() && (way == 0 || was_stuck));
        polled
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Held<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Held<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.tried(0, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.tried(1, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.tried(0, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
