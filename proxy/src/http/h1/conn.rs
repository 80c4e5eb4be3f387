//! A connection and its buffers. Idle connections hold no buffer: it is lent from the worker's pool when bytes come.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunked::{Chunked, Decoded};
use super::{Framing, encode};
use crate::http::body::{BodyError, Frame};
use crate::io::{Io, Prefixed};

/// A connection shared between the loop that reads and writes heads and the body under way. One thread only.
pub type Shared = Rc<RefCell<Conn>>;

const FIRST_READ: usize = 8 * 1024;
const MAX_READ: usize = 256 * 1024;
const POOL: usize = 64;

/// Data of a body that is at least this long is written from where it lies, not gathered with the rest.
const LARGE: usize = 8 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// How far the body that is being read has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    Length(u64),
    Chunked(Chunked),
    Close,
    Done,
    Failed,
}

pub struct Conn {
    pub(super) io: Io,
    pub(super) buf: BytesMut,
    out: Vec<u8>,
    written: usize,
    /// Goes out after `out`. It lies apart, as few answers have one.
    tail: Option<Box<Bytes>>,
    pub(super) decoder: Decoder,
    read_size: usize,
    /// How large a read grows.
    most_read: usize,
    /// Written before the body is first waited for.
    pub(super) expects_continue: bool,
    pub(super) eof: bool,
    /// Counts the messages read, so that a body that outlives its own does not read the next one's.
    pub(super) message: u64,
}

impl Conn {
    pub fn new(io: Io, already_read: BytesMut) -> Self {
        Self {
            io,
            buf: already_read,
            out: Vec::new(),
            written: 0,
            tail: None,
            decoder: Decoder::Done,
            read_size: FIRST_READ,
            most_read: MAX_READ,
            expects_continue: false,
            eof: false,
            message: 0,
        }
    }

    pub fn share(self) -> Shared {
        Rc::new(RefCell::new(self))
    }

    /// Gives up the connection, with what was read of it.
    pub fn into_unread(self) -> Prefixed {
        Prefixed { prefix: self.buf.freeze(), io: self.io }
    }

    /// Whether the connection begins with these bytes; reads only as much as it takes to tell.
    pub fn poll_begins_with(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let n = self.buf.len().min(bytes.len());
            if self.buf[..n] != bytes[..n] {
                return Poll::Ready(Ok(false));
            }
            if n == bytes.len() {
                return Poll::Ready(Ok(true));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// Holds what is read at a time below a limit, as far as a head still fits.
    pub(super) fn limit_reads(&mut self, limit: usize) {
        self.most_read = limit.clamp(FIRST_READ, MAX_READ);
    }

    /// Reads more into the buffer; `Ok(0)` is the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buf.capacity() - self.buf.len() < FIRST_READ / 2 {
            if self.buf.is_empty() && self.read_size == FIRST_READ {
                self.buf = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
            }
            self.buf.reserve(self.read_size);
        }
        let spare = self.buf.spare_capacity_mut();
        let room = spare.len();
        let mut read = ReadBuf::uninit(spare);
        let result = Pin::new(&mut self.io).poll_read(cx, &mut read);
        let n = read.filled().len();
        match result {
            Poll::Pending => {
                self.give_back_buffer();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                self.advance(n);
                self.eof = n == 0;
                if n == room {
                    self.read_size = (self.read_size * 2).min(self.most_read);
                }
                Poll::Ready(Ok(n))
            }
        }
    }

    #[allow(unsafe_code)]
    fn advance(&mut self, n: usize) {
        // SAFETY: `poll_fill` has just had the stream write `n` bytes at the start of the spare capacity: `ReadBuf`
        // counts as filled only bytes that were initialised.
        unsafe { self.buf.set_len(self.buf.len() + n) }
    }

    /// Lends an empty buffer back to the worker's pool.
    fn give_back_buffer(&mut self) {
        if self.buf.is_empty() && self.buf.capacity() > 0 {
            let buf = std::mem::take(&mut self.buf);
            self.read_size = FIRST_READ;
            if buf.capacity() <= 2 * FIRST_READ {
                BUFFERS.with_borrow_mut(|pool| {
                    if pool.len() < POOL {
                        pool.push(buf);
                    }
                });
            }
        }
    }

    /// Where heads and frames are written to. Nothing is added while a tail waits.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.out
    }

    /// Adds a piece of a body.
    pub(super) fn push_data(&mut self, framing: Framing, data: Bytes) {
        if data.len() >= LARGE && framing != Framing::Chunked {
            self.tail = Some(Box::new(data));
        } else {
            encode::data(self.out(), framing, &data);
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending_out() > 0 {
            let out = &self.out[self.written..];
            let io = Pin::new(&mut self.io);
            let n = match &self.tail {
                None => ready!(io.poll_write(cx, out))?,
                Some(tail) if out.is_empty() => ready!(io.poll_write(cx, tail))?,
                Some(tail) => ready!(io.poll_write_vectored(cx, &[IoSlice::new(out), IoSlice::new(tail)]))?,
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_out = n.min(out.len());
            self.written += of_out;
            if let Some(tail) = &mut self.tail {
                tail.advance(n - of_out);
                if tail.is_empty() {
                    self.tail = None;
                }
            }
        }
        if self.written > 0 {
            self.written = 0;
            self.give_back_output();
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn give_back_output(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        if out.capacity() <= 4 * FIRST_READ {
            out.clear();
            OUTPUTS.with_borrow_mut(|pool| {
                if pool.len() < POOL {
                    pool.push(out);
                }
            });
        }
    }

    /// Whether there is room to gather more before it is written.
    pub(super) fn may_gather(&self, most: usize) -> bool {
        self.tail.is_none() && self.pending_out() < most.min(self.most_read)
    }

    /// Bytes waiting to be written.
    pub(super) fn pending_out(&self) -> usize {
        self.out.len() - self.written + self.tail.as_ref().map_or(0, |tail| tail.len())
    }

    /// Prepares for the body that follows a head.
    pub(super) fn begin_body(&mut self, framing: Framing) {
        self.message += 1;
        self.decoder = match framing {
            Framing::None | Framing::Length(0) => Decoder::Done,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(Chunked::Size),
            Framing::Close => Decoder::Close,
        };
    }

    pub(super) fn body_done(&self) -> bool {
        self.decoder == Decoder::Done
    }

    pub(super) fn body_failed(&self) -> bool {
        self.decoder == Decoder::Failed
    }

    /// The next frame of the body being read.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        loop {
            match self.decode() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.decoder == Decoder::Done => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return self.fail(BodyError::Framing(error)),
            }
            if self.expects_continue {
                self.expects_continue = false;
                self.out().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if self.pending_out() > 0 && self.decoder != Decoder::Close {
                // An interim answer must not wait behind the body that it asks for.
                let _ = self.poll_flush(cx);
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if self.decoder == Decoder::Close => {
                    self.decoder = Decoder::Done;
                    return Poll::Ready(None);
                }
                Ok(0) => return self.fail(BodyError::Truncated),
                Ok(_) => {}
                Err(error) => return self.fail(BodyError::Io(error.to_string())),
            }
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame, BodyError>>> {
        self.decoder = Decoder::Failed;
        Poll::Ready(Some(Err(error)))
    }

    /// A frame from the bytes at hand, if there is one.
    fn decode(&mut self) -> Result<Option<Frame>, &'static str> {
        match &mut self.decoder {
            Decoder::Done => Ok(None),
            Decoder::Failed => Err("the body failed before"),
            Decoder::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buf.len());
                *left -= take as u64;
                if *left == 0 {
                    self.decoder = Decoder::Done;
                }
                Ok((take > 0).then(|| Frame::Data(take_bytes(&mut self.buf, take))))
            }
            Decoder::Close => {
                let take = self.buf.len();
                Ok((take > 0).then(|| Frame::Data(take_bytes(&mut self.buf, take))))
            }
            Decoder::Chunked(chunked) => {
                let decoded = chunked.decode(&mut self.buf)?;
                // The last chunk often comes with the data: then the end is known without another read.
                if matches!(decoded, Decoded::Data(_))
                    && *chunked == Chunked::DataEnd
                    && self.buf.starts_with(b"\r\n0\r\n\r\n")
                {
                    self.buf.advance(7);
                    *chunked = Chunked::Done;
                }
                if *chunked == Chunked::Done {
                    self.decoder = Decoder::Done;
                }
                Ok(match decoded {
                    Decoded::Data(data) => Some(Frame::Data(data)),
                    Decoded::Trailers(trailers) => Some(Frame::Trailers(Box::new(trailers))),
                    Decoded::Wait | Decoded::End => None,
                })
            }
        }
    }
}

/// Takes bytes out of the read buffer: small pieces are copied, so that the buffer stays whole and is used again;
/// large ones are split off.
fn take_bytes(buf: &mut BytesMut, n: usize) -> Bytes {
    if n <= 2048 {
        let bytes = Bytes::copy_from_slice(&buf[..n]);
        buf.advance(n);
        if buf.is_empty() {
            buf.clear();
        }
        bytes
    } else {
        buf.split_to(n).freeze()
    }
}
