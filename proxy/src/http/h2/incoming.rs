//! The body of a message that is being read from an HTTP/2 stream.

use std::task::{Context, Poll, ready};

use h2::RecvStream;

use super::convert;
use crate::http::body::{BodyError, Frame};

/// Reads a body frame by frame and gives the window back as it goes.
pub struct Incoming {
    stream: RecvStream,
    length: Option<u64>,
    data_done: bool,
    done: bool,
    /// The rest of the request body, still being sent while the response is read.
    sending: Option<super::client::Sending>,
    /// Counted as active on its connection until dropped.
    _active: Option<super::client::Active>,
}

impl Incoming {
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        let done = stream.is_end_stream();
        Self { stream, length, data_done: done, done, sending: None, _active: None }
    }

    pub(super) fn response(
        stream: RecvStream,
        length: Option<u64>,
        sending: Option<super::client::Sending>,
        active: super::client::Active,
    ) -> Self {
        Self { sending, _active: Some(active), ..Self::new(stream, length) }
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(sending) = &mut self.sending
            && sending.as_mut().poll(cx).is_ready()
        {
            self.sending = None;
        }
        if self.done {
            return Poll::Ready(None);
        }
        if !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.length = self.length.map(|left| left.saturating_sub(data.len() as u64));
                    self.done = self.stream.is_end_stream();
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(error)) => return self.fail(error),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        match trailers {
            Ok(trailers) => {
                self.done = true;
                Poll::Ready(trailers.map(|map| Ok(Frame::Trailers(Box::new(convert::trailers(&map))))))
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: h2::Error) -> Poll<Option<Result<Frame, BodyError>>> {
        self.done = true;
        // A peer that ends a stream early but without an error has said all it will (RFC 9113 section 8.1).
        // That is for answers: a request that is reset is not whole, nor is an answer shorter than it declared.
        let whole = self._active.is_some() && self.length.is_none_or(|left| left == 0);
        if whole && error.reason() == Some(h2::Reason::NO_ERROR) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(BodyError::Reset(error.to_string()))))
    }

    pub fn is_end(&self) -> bool {
        self.done
    }

    /// Known only when the sender declared it; trailers may follow.
    pub fn length(&self) -> Option<u64> {
        if self.done { Some(0) } else { self.length }
    }
}
