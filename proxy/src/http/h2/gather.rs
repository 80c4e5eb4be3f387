//! What an HTTP/2 connection writes in one turn of its task, written at once. The codec hands each DATA frame down on
//! its own, and a system call costs more than all that a request is put through; so its frames gather here while it
//! runs, and leave when it has no more to do. Bytes come the same way: as many as there are at a time, whatever piece
//! the codec asks for.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that gather before they leave in any case, and that are read at a time.
const SIZE: usize = 32 * 1024;
/// A write larger than this, and a read into more room, goes down as it is.
const LARGE: usize = 8 * 1024;
/// Buffers kept for later, per thread.
const KEPT: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory lent by the thread: an empty one holds none.
#[derive(Default)]
struct Lent {
    /// All of it initialised, once.
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Lent {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Room for more.
    fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            let kept = BUFFERS.try_with(|buffers| buffers.borrow_mut().pop()).ok().flatten();
            self.bytes = kept.unwrap_or_else(|| vec![0; SIZE]);
        }
        &mut self.bytes[self.to..]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.to += bytes.len();
    }

    /// So many bytes have gone; the memory goes with the last.
    fn take(&mut self, n: usize) {
        self.from += n;
        if self.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        (self.from, self.to) = (0, 0);
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return;
        }
        // At the end of the thread there is nowhere to keep it.
        let _ = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            if buffers.len() < KEPT {
                buffers.push(bytes);
            }
        });
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.give_back();
    }
}

struct State<T> {
    io: T,
    out: Lent,
    /// Read, and not yet asked for.
    came: Lent,
    /// Whether the connection is at its turn: what it flushes waits for the end of that.
    gathers: bool,
}

impl<T: AsyncWrite + Unpin> State<T> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.out.waiting()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.out.take(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Takes the slices if they are small enough to gather; makes room for them first.
    fn poll_gather(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<Option<usize>>> {
        let size = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if size > LARGE || self.out.to + size > SIZE {
            ready!(self.poll_drain(cx))?;
        }
        if size > LARGE {
            return Poll::Ready(Ok(None));
        }
        slices.iter().filter(|slice| !slice.is_empty()).for_each(|slice| self.out.push(slice));
        Poll::Ready(Ok(Some(size)))
    }
}

/// The stream that a connection reads and writes.
pub struct Gather<T>(Rc<RefCell<State<T>>>);

/// Gives the connection its turns.
pub struct Turns<T>(Rc<RefCell<State<T>>>);

/// A stream for a connection, and what gives that its turns.
pub fn gather<T>(io: T) -> (Gather<T>, Turns<T>) {
    let state = State { io, out: Lent::default(), came: Lent::default(), gathers: false };
    let state = Rc::new(RefCell::new(state));
    (Gather(Rc::clone(&state)), Turns(state))
}

impl<T: AsyncWrite + Unpin> Turns<T> {
    /// Polls the connection, and sends off what it wrote unless it is to be polled again at once.
    pub fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        connection: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<io::Result<R>> {
        self.0.borrow_mut().gathers = true;
        let polled = connection(cx);
        let mut state = self.0.borrow_mut();
        state.gathers = false;
        if let Poll::Ready(result) = polled {
            return Poll::Ready(Ok(result));
        }
        match state.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let State { io, came, .. } = &mut *self.0.borrow_mut();
        if came.is_empty() {
            if buf.remaining() > LARGE {
                return Pin::new(io).poll_read(cx, buf);
            }
            let mut read = ReadBuf::new(came.room());
            let polled = Pin::new(io).poll_read(cx, &mut read);
            came.to = read.filled().len();
            if came.is_empty() {
                came.give_back();
                return polled;
            }
        }
        let n = came.waiting().len().min(buf.remaining());
        buf.put_slice(&came.waiting()[..n]);
        came.take(n);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.borrow_mut();
        match ready!(state.poll_gather(cx, slices))? {
            Some(n) => Poll::Ready(Ok(n)),
            None => Pin::new(&mut state.io).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        if state.gathers { Poll::Ready(Ok(())) } else { state.poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        ready!(state.poll_drain(cx))?;
        Pin::new(&mut state.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
