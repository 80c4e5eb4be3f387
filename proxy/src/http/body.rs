//! The body of a message: frames of data, perhaps trailers at the end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::h1;
use super::h2;
use super::headers::Headers;
use super::paced::Paced;
use crate::alarm::{self, Alarm};

/// A piece of a body.
#[derive(Clone, Debug)]
pub enum Frame {
    Data(Bytes),
    Trailers(Box<Headers>),
}

/// Why a body ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the sender closed the connection in the middle of the body")]
    Truncated,
    #[error("the body is not framed as HTTP/1.1 demands: {0}")]
    Framing(&'static str),
    #[error("the stream was reset: {0}")]
    Reset(String),
    #[error("reading the body failed: {0}")]
    Io(String),
    #[error("no data came within the idle timeout")]
    Idle,
    #[error("the body did not end in time")]
    Late,
}

/// Watches a body as it passes: how many bytes, and how it ended.
pub trait Observer {
    fn data(&mut self, bytes: usize);
    /// The bytes themselves.
    fn bytes(&mut self, data: &[u8]) {
        self.data(data.len());
    }
    /// Called once: after the last frame, on an error, or (with `None`) when the body is dropped before its end.
    fn end(&mut self, outcome: Option<Result<Option<&Headers>, &BodyError>>);
}

/// The body of a request or response.
pub enum Body {
    Empty,
    Full(Bytes),
    H1(h1::Incoming),
    H2(h2::Incoming),
    /// A request body that is kept for a retry as it passes.
    Replay(ReplayReader),
    Observed(Box<Observed>),
    Limited(Box<Limited>),
    Held(Box<Held>),
    Paced(Box<Paced>),
}

/// A body that must end in time, and must not pause for too long.
pub struct Limited {
    inner: Body,
    end: Option<Instant>,
    /// Zero is for ever.
    pause: Duration,
    pause_until: Option<Instant>,
    alarm: Alarm,
}

/// Frames that were looked at, and the body that they came from.
pub struct Held {
    frames: VecDeque<Frame>,
    rest: Body,
}

/// A body and the one who watches it.
pub struct Observed {
    inner: Body,
    observer: Box<dyn Observer>,
    ended: bool,
}

impl Body {
    /// The next frame, or `None` at the end.
    pub async fn frame(&mut self) -> Option<Result<Frame, BodyError>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::Data(bytes))))
            }
            Self::H1(body) => body.poll_frame(cx),
            Self::H2(body) => body.poll_frame(cx),
            Self::Replay(body) => body.poll_frame(cx),
            Self::Observed(body) => body.poll_frame(cx),
            Self::Limited(body) => body.poll_frame(cx),
            Self::Held(body) => body.poll_frame(cx),
            Self::Paced(body) => body.poll_frame(cx),
        }
    }

    /// Whether nothing more will come.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::H1(body) => body.is_end(),
            Self::H2(body) => body.is_end(),
            Self::Replay(body) => body.is_end(),
            Self::Observed(body) => body.inner.is_end(),
            Self::Limited(body) => body.inner.is_end(),
            Self::Held(body) => body.frames.is_empty() && body.rest.is_end(),
            Self::Paced(body) => body.is_end(),
        }
    }

    /// How many bytes are left, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::H1(body) => body.length(),
            Self::H2(body) => body.length(),
            Self::Replay(body) => body.length(),
            Self::Observed(body) => body.inner.length(),
            Self::Limited(body) => body.inner.length(),
            Self::Held(body) => body.length(),
            Self::Paced(body) => body.length(),
        }
    }

    /// Fails the body if it has not ended at `end`, or if nothing comes for `pause` (zero: for ever).
    pub fn limited(self, end: Option<Instant>, pause: Duration) -> Self {
        if self.is_end() || (end.is_none() && pause.is_zero()) {
            return self;
        }
        Self::Limited(Box::new(Limited { inner: self, end, pause, pause_until: None, alarm: Alarm::default() }))
    }

    /// This body with frames that were read from it before it again.
    pub fn after(self, frames: Vec<Frame>) -> Self {
        if frames.is_empty() {
            return self;
        }
        Self::Held(Box::new(Held { frames: frames.into(), rest: self }))
    }

    /// Lets so many bytes go in a second, and keeps something for as long as it lasts.
    pub fn paced(self, bytes_per_second: u64, held: Box<dyn std::fmt::Debug>) -> Self {
        Self::Paced(Box::new(Paced::new(self, bytes_per_second, held)))
    }

    /// Attaches an observer; its `end` is called exactly once.
    pub fn observed(self, observer: Box<dyn Observer>) -> Self {
        Self::Observed(Box::new(Observed { inner: self, observer, ended: false }))
    }
}

impl Frame {
    /// Bytes of data; trailers have none.
    pub fn data_len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl Held {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => self.rest.poll_frame(cx),
        }
    }

    fn length(&self) -> Option<u64> {
        let held = self.frames.iter().map(|frame| frame.data_len() as u64).sum::<u64>();
        self.rest.length().map(|rest| held + rest)
    }
}

impl Limited {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Poll::Ready(frame) = self.inner.poll_frame(cx) {
            self.pause_until = None;
            return Poll::Ready(frame);
        }
        self.pause_until = self.pause_until.or_else(|| alarm::after(self.pause));
        let Some(wake) = [self.end, self.pause_until].into_iter().flatten().min() else { return Poll::Pending };
        ready!(self.alarm.poll(wake, cx));
        let late = self.end.is_some_and(|end| end <= Instant::now());
        Poll::Ready(Some(Err(if late { BodyError::Late } else { BodyError::Idle })))
    }
}

impl Observed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let frame = ready!(self.inner.poll_frame(cx));
        match &frame {
            Some(Ok(Frame::Data(data))) => {
                self.observer.bytes(data);
                if self.inner.is_end() {
                    self.end(Some(Ok(None)));
                }
            }
            Some(Ok(Frame::Trailers(trailers))) => self.end(Some(Ok(Some(trailers)))),
            Some(Err(error)) => self.end(Some(Err(error))),
            None => self.end(Some(Ok(None))),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, outcome: Option<Result<Option<&Headers>, &BodyError>>) {
        if !self.ended {
            self.ended = true;
            self.observer.end(outcome);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let outcome = self.inner.is_end().then_some(Ok(None));
        self.end(outcome);
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::H1(_) => "H1",
            Self::H2(_) => "H2",
            Self::Replay(_) => "Replay",
            Self::Observed(_) => "Observed",
            Self::Limited(_) => "Limited",
            Self::Held(_) => "Held",
            Self::Paced(_) => "Paced",
        };
        write!(f, "{name}(length {:?})", self.length())
    }
}

/// A request body that several attempts may read: what passed is kept, up to a limit, so that a later attempt begins
/// anew. Over the limit it is given up, and only the attempt under way goes on.
#[derive(Clone)]
pub struct Replay(Rc<RefCell<ReplayState>>);

struct ReplayState {
    source: Body,
    kept: Vec<Frame>,
    kept_bytes: usize,
    limit: usize,
    overflowed: bool,
    failed: Option<BodyError>,
    length: Option<u64>,
}

/// One attempt's reading of a [`Replay`].
pub struct ReplayReader {
    state: Rc<RefCell<ReplayState>>,
    next: usize,
    bytes_read: u64,
}

/// What a kept frame takes besides its bytes.
const FRAME_COST: usize = size_of::<Frame>() + 64;

impl Replay {
    pub fn new(source: Body, limit: usize) -> Self {
        let length = source.length();
        Self(Rc::new(RefCell::new(ReplayState {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            overflowed: false,
            failed: None,
            length,
        })))
    }

    /// Whether another attempt can still send the whole body.
    pub fn can_restart(&self) -> bool {
        let state = self.0.borrow();
        !state.overflowed && state.failed.is_none()
    }

    /// A copy of a body that has passed whole; `None` if it has not, or was too large to keep.
    pub fn copy(&self) -> Option<Body> {
        let state = self.0.borrow();
        (self.can_restart() && state.source.is_end()).then(|| self.reader())
    }

    /// A body that begins at the beginning.
    pub fn reader(&self) -> Body {
        Body::Replay(ReplayReader { state: Rc::clone(&self.0), next: 0, bytes_read: 0 })
    }
}

impl ReplayReader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(frame) = state.kept.get(self.next) {
            self.next += 1;
            if let Frame::Data(data) = frame {
                self.bytes_read += data.len() as u64;
            }
            return Poll::Ready(Some(Ok(frame.clone())));
        }
        if let Some(error) = &state.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let frame = ready!(state.source.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Frame::Data(data) = frame {
                    self.bytes_read += data.len() as u64;
                    state.kept_bytes += data.len();
                }
                // Many small frames cost more than the bytes in them.
                state.kept_bytes += FRAME_COST;
                if state.kept_bytes > state.limit {
                    state.overflowed = true;
                    state.kept.clear();
                    self.next = 0;
                } else if !state.overflowed {
                    state.kept.push(frame.clone());
                    self.next += 1;
                }
            }
            Some(Err(error)) => state.failed = Some(error.clone()),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        let state = self.state.borrow();
        self.next >= state.kept.len() && state.source.is_end()
    }

    fn length(&self) -> Option<u64> {
        Some(self.state.borrow().length?.saturating_sub(self.bytes_read))
    }
}
