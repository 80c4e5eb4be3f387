//! A limit on how long nothing of an answer is taken: a client that never reads would hold buffers, a request upstream
//! and its place among the connections for ever (Envoy: `stream_idle_timeout` covers it).

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::conn::Conn;
use crate::alarm::{self, Alarm};

pub struct Stuck<'a> {
    alarm: &'a mut Alarm,
    limit: Duration,
    until: Option<Instant>,
}

impl<'a> Stuck<'a> {
    /// A limit of zero is none.
    pub fn new(alarm: &'a mut Alarm, limit: Duration) -> Self {
        Self { alarm, limit, until: None }
    }

    /// Writes what waits. Fails, and has the connection end with a reset, once nothing was taken for too long.
    pub fn poll_flush(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = conn.pending_out();
        let flushed = conn.poll_flush(cx);
        if flushed.is_ready() || conn.pending_out() < before {
            self.until = None;
        }
        if flushed.is_pending() {
            self.until = self.until.or_else(|| alarm::after(self.limit));
            if self.until.is_some_and(|until| self.alarm.poll(until, cx).is_ready()) {
                conn.io.reset_on_drop();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        flushed
    }
}
