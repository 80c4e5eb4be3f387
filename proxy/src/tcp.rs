//! Opaque bytes: what is read on one side is written on the other. A side that waits holds no buffer; bytes that move
//! in bulk between two plain sockets do not come by here at all (see `splice`).

mod splice;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::alarm::Alarm;
use splice::Splice;

/// Large enough that bulk costs few system calls.
const BUFFER: usize = 64 * 1024;
/// A read of this much is bulk.
const BULK: usize = 16 * 1024;
/// So many reads in bulk, one after the other, and the kernel may move the rest by itself.
const PROVEN: u32 = 16;

thread_local! {
    /// What is read goes through here: one buffer for all connections of a thread.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// One side of a copy.
pub trait Side: AsyncRead + AsyncWrite + Unpin {
    /// The socket, if its bytes are those that this side reads and writes from now on.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

/// One direction of a copy.
struct Way {
    /// What was read and not written yet.
    held: Bytes,
    eof: bool,
    done: bool,
    /// Reads in bulk, one after the other.
    bulk: u32,
    splice: Option<Splice>,
}

impl Way {
    fn new() -> Self {
        Self { held: Bytes::new(), eof: false, done: false, bulk: 0, splice: None }
    }

    /// Copies until neither side can go on.
    fn poll<A: Side, B: Side>(
        &mut self,
        from: &mut A,
        to: &mut B,
        cx: &mut Context<'_>,
        moved: &mut dyn FnMut(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            if !self.held.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
                written(n)?;
                self.held.advance(n);
                moved(n);
            } else if self.eof {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
            } else if let (Some(splice), Some(from), Some(to)) = (&mut self.splice, from.plain(), to.plain()) {
                ready!(splice.poll(from, to, cx, moved))?;
                self.eof = true;
            } else if self.read(from, to, cx, moved)?.is_pending() {
                // What was written before must not wait for more to read.
                let _ = Pin::new(&mut *to).poll_flush(cx)?;
                return Poll::Pending;
            }
        }
    }

    /// Reads once, and writes as much of it as goes at once.
    fn read<A: Side, B: Side>(
        &mut self,
        from: &mut A,
        to: &mut B,
        cx: &mut Context<'_>,
        moved: &mut dyn FnMut(usize),
    ) -> io::Result<Poll<()>> {
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
        let mut read = ReadBuf::new(&mut scratch);
        let result = Pin::new(&mut *from).poll_read(cx, &mut read);
        let bytes = read.filled();
        let outcome = match result {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => self.pass(bytes, to, cx, moved).map(Poll::Ready),
        };
        if let Ok(Poll::Ready(())) = outcome {
            self.weigh(bytes.len(), from, to);
        }
        SCRATCH.set(Some(scratch));
        outcome
    }

    /// Writes what goes at once and holds the rest. Nothing is the end.
    fn pass<B: Side>(
        &mut self,
        bytes: &[u8],
        to: &mut B,
        cx: &mut Context<'_>,
        moved: &mut dyn FnMut(usize),
    ) -> io::Result<()> {
        self.eof = bytes.is_empty();
        let mut at = 0;
        while at < bytes.len() {
            match Pin::new(&mut *to).poll_write(cx, &bytes[at..])? {
                Poll::Ready(n) => {
                    written(n)?;
                    at += n;
                    moved(n);
                }
                Poll::Pending => {
                    self.held = Bytes::copy_from_slice(&bytes[at..]);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Lets the kernel move a stream by itself once it has proven to be bulk: for small messages that costs more.
    fn weigh<A: Side, B: Side>(&mut self, read: usize, from: &A, to: &B) {
        self.bulk = if read >= BULK { self.bulk + 1 } else { 0 };
        if self.bulk == PROVEN && from.plain().is_some() && to.plain().is_some() {
            self.splice = Splice::new().ok();
        }
    }
}

fn written(n: usize) -> io::Result<()> {
    if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
}

/// Copies both ways until both sides have ended, one fails, or nothing moves for `idle` (zero: for ever). `moved` is
/// told bytes from `a` to `b` and from `b` to `a`.
pub async fn copy_both<A: Side, B: Side>(
    a: &mut A,
    b: &mut B,
    idle: Duration,
    moved: &mut dyn FnMut(usize, usize),
) -> io::Result<()> {
    let (mut there, mut back) = (Way::new(), Way::new());
    let mut alarm = Alarm::default();
    let mut until = crate::alarm::after(idle);
    poll_fn(|cx| {
        let mut progress = false;
        let first = there.poll(a, b, cx, &mut |n| {
            progress = true;
            moved(n, 0);
        })?;
        let second = back.poll(b, a, cx, &mut |n| {
            progress = true;
            moved(0, n);
        })?;
        if first.is_ready() && second.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if progress {
            until = crate::alarm::after(idle);
        }
        let Some(end) = until else { return Poll::Pending };
        ready!(alarm.poll(end, cx));
        if Instant::now() < end { Poll::Pending } else { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) }
    })
    .await
}
