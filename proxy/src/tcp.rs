//! Opaque bytes: what is read on one side is written on the other.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Large enough that bulk costs few system calls.
const BUFFER: usize = 64 * 1024;

/// One direction of a copy.
struct Way {
    buf: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    eof: bool,
    done: bool,
}

impl Way {
    fn new() -> Self {
        Self { buf: None, start: 0, end: 0, eof: false, done: false }
    }

    /// Copies until neither side can go on. The buffer is held only while bytes are in it.
    fn poll<A: AsyncRead + Unpin, B: AsyncWrite + Unpin>(
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
            if self.start == self.end && !self.eof {
                let mut buf = self.buf.take().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
                let mut read = ReadBuf::new(&mut buf);
                let result = Pin::new(&mut *from).poll_read(cx, &mut read);
                let n = read.filled().len();
                if result.is_pending() {
                    // What was written before must not wait for more to read.
                    let _ = Pin::new(&mut *to).poll_flush(cx)?;
                    return Poll::Pending;
                }
                ready!(result)?;
                (self.start, self.end, self.eof) = (0, n, n == 0);
                self.buf = Some(buf);
            }
            if self.start < self.end
                && let Some(buf) = &self.buf
            {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &buf[self.start..self.end]))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += n;
                moved(n);
            } else if self.eof {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
            }
        }
    }
}

/// Copies both ways until both sides have ended, one fails, or nothing moves for `idle` (zero: for ever). `moved` is
/// told bytes from `a` to `b` and from `b` to `a`.
pub async fn copy_both<A, B>(
    a: &mut A,
    b: &mut B,
    idle: Duration,
    moved: &mut dyn FnMut(usize, usize),
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (Way::new(), Way::new());
    let mut last = tokio::time::Instant::now();
    let mut timer = std::pin::pin!(tokio::time::sleep(idle));
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
        if idle.is_zero() {
            return Poll::Pending;
        }
        if progress {
            last = tokio::time::Instant::now();
        }
        while timer.as_mut().poll_elapsed(cx) {
            if last.elapsed() >= idle {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(last + idle);
        }
        Poll::Pending
    })
    .await
}

/// Polls a timer as a question.
trait PollElapsed {
    fn poll_elapsed(self, cx: &mut Context<'_>) -> bool;
}

impl PollElapsed for Pin<&mut tokio::time::Sleep> {
    fn poll_elapsed(self, cx: &mut Context<'_>) -> bool {
        std::future::Future::poll(self, cx).is_ready()
    }
}
