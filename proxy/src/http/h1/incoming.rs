//! The body of a message that is being read from an HTTP/1.1 connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::client::Sent;
use super::conn::{Decoder, Shared};
use crate::http::body::{BodyError, Frame};

/// What happens to the connection when the body has ended: `true` if it ended cleanly.
pub(super) type OnEnd = Box<dyn FnOnce(Shared, bool)>;

/// Reads a body frame by frame.
pub struct Incoming {
    conn: Option<Shared>,
    on_end: Option<OnEnd>,
    /// The rest of the request body, still being sent while the response is read.
    sending: Option<Pin<Box<dyn Future<Output = Sent>>>>,
    sent_whole: bool,
    /// The message this is the body of; the connection may have gone on to another.
    message: u64,
}

impl Incoming {
    pub(super) fn new(conn: Shared) -> Self {
        let message = conn.borrow().message;
        Self { conn: Some(conn), on_end: None, sending: None, sent_whole: true, message }
    }

    /// For a response: `on_end` gets the connection back; `sending` goes on in the meantime.
    pub(super) fn response(conn: Shared, sending: Option<Pin<Box<dyn Future<Output = Sent>>>>, on_end: OnEnd) -> Self {
        let sent_whole = sending.is_none();
        let message = conn.borrow().message;
        let mut body = Self { conn: Some(conn), on_end: Some(on_end), sending, sent_whole, message };
        if body.is_end() {
            body.finish(true);
        }
        body
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(sent) = sending.as_mut().poll(cx)
        {
            self.sending = None;
            self.sent_whole = sent == Sent::Whole;
        }
        let Some(conn) = &self.conn else { return Poll::Ready(None) };
        if conn.borrow().message != self.message {
            return Poll::Ready(Some(Err(BodyError::Truncated)));
        }
        let frame = std::task::ready!(conn.borrow_mut().poll_body(cx));
        if !matches!(frame, Some(Ok(_))) || conn.borrow().body_done() {
            self.finish(!matches!(frame, Some(Err(_))));
        }
        Poll::Ready(frame)
    }

    pub fn is_end(&self) -> bool {
        self.conn.as_ref().is_none_or(|conn| conn.borrow().message == self.message && conn.borrow().body_done())
    }

    pub fn length(&self) -> Option<u64> {
        match self.conn.as_ref().map(|conn| conn.borrow().decoder) {
            None | Some(Decoder::Done) => Some(0),
            Some(Decoder::Length(left)) => Some(left),
            _ => None,
        }
    }

    fn finish(&mut self, clean: bool) {
        if let (Some(on_end), Some(conn)) = (self.on_end.take(), self.conn.take()) {
            on_end(conn, clean && self.sent_whole);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let clean = self.is_end();
        self.finish(clean);
    }
}
