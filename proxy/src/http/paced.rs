//! A body that comes no faster than so many bytes in a second.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep};

use super::body::{Body, BodyError, Frame};

/// Bytes are let go at each tick.
const TICK: Duration = Duration::from_millis(50);

pub struct Paced {
    inner: Body,
    per_tick: usize,
    left: usize,
    tick: Pin<Box<Sleep>>,
    data: Bytes,
    /// Kept for as long as the body is.
    _held: Box<dyn fmt::Debug>,
}

impl Paced {
    pub fn new(inner: Body, bytes_per_second: u64, held: Box<dyn fmt::Debug>) -> Self {
        let per_tick = usize::try_from(bytes_per_second / 20).unwrap_or(usize::MAX).max(1);
        Self { inner, per_tick, left: per_tick, tick: Box::pin(sleep(TICK)), data: Bytes::new(), _held: held }
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        while self.data.is_empty() {
            match ready!(self.inner.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => self.data = data,
                other => return Poll::Ready(other),
            }
        }
        if self.left == 0 {
            ready!(self.tick.as_mut().poll(cx));
            self.tick.as_mut().reset(Instant::now() + TICK);
            self.left = self.per_tick;
        }
        let some = self.data.split_to(self.left.min(self.data.len()));
        self.left -= some.len();
        Poll::Ready(Some(Ok(Frame::Data(some))))
    }

    pub fn is_end(&self) -> bool {
        self.data.is_empty() && self.inner.is_end()
    }

    pub fn length(&self) -> Option<u64> {
        self.inner.length().map(|rest| rest + self.data.len() as u64)
    }
}
