//! Ends the connection of a client that floods it with frames which cost the client little and us much: PING and
//! SETTINGS (CVE-2019-9512, -9515), PRIORITY (-9513), resets by either side (-9514, CVE-2023-44487, CVE-2025-8671),
//! empty frames (-9518), WINDOW_UPDATE (-9511). The counters and their limits are Envoy's; they read frame headers as
//! they pass and touch nothing else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::frames::{self, Follower, Frame};
use crate::config::FloodLimits;
use crate::io::Prefixed;

/// PING and SETTINGS that are answered every second without counting: health checks and estimates of bandwidth.
const CONTROL_RATE: u64 = 33;

/// A stream of bytes whose frames are counted both ways.
pub struct Guarded {
    io: Prefixed,
    inbound: Follower,
    outbound: Follower,
    counts: Counts,
}

impl Guarded {
    pub fn new(io: Prefixed, limits: FloodLimits) -> Self {
        Self {
            io,
            inbound: Follower::new(super::PREFACE.len()),
            outbound: Follower::new(0),
            counts: Counts::new(limits, Instant::now()),
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let counts = &mut self.counts;
        self.outbound.feed(bytes, |frame| counts.outbound(frame));
    }
}

struct Counts {
    limits: FloodLimits,
    /// SETTINGS came, as they must before all else (RFC 9113 section 3.4).
    begun: bool,
    /// HEADERS that came; trailers are among them.
    streams: u64,
    data_sent: u64,
    window_updates: u64,
    priorities: u64,
    /// In a row, without payload and without an end.
    empty: u32,
    control: Bucket,
    resets: Bucket,
    flood: Option<&'static str>,
}

impl Counts {
    fn new(limits: FloodLimits, now: Instant) -> Self {
        Self {
            limits,
            begun: false,
            streams: 0,
            data_sent: 0,
            window_updates: 0,
            priorities: 0,
            empty: 0,
            control: Bucket::new(limits.max_outbound_control_frames.into(), CONTROL_RATE, now),
            resets: Bucket::new(limits.stream_reset_burst, limits.stream_reset_rate, now),
            flood: None,
        }
    }

    fn inbound(&mut self, frame: Frame) {
        let limits = self.limits;
        if !self.begun {
            self.begun = true;
            self.judge(frame.kind == frames::SETTINGS && !frame.is_ack(), "frames before its SETTINGS");
        }
        if matches!(frame.kind, frames::DATA | frames::HEADERS | frames::CONTINUATION) {
            let empty = frame.length == 0 && !(frame.ends_stream() && frame.kind != frames::CONTINUATION);
            self.empty = if empty { self.empty + 1 } else { 0 };
            self.judge(self.empty <= limits.max_consecutive_inbound_frames_with_empty_payload, "empty frames");
        }
        match frame.kind {
            frames::HEADERS => self.streams += 1,
            frames::PRIORITY => {
                self.priorities += 1;
                let most = u64::from(limits.max_inbound_priority_frames_per_stream) * (1 + self.streams);
                self.judge(self.priorities <= most, "PRIORITY");
            }
            frames::WINDOW_UPDATE => {
                self.window_updates += 1;
                let per_frame = u64::from(limits.max_inbound_window_update_frames_per_data_frame_sent);
                let most = 5 + 2 * (self.streams + per_frame * self.data_sent);
                self.judge(self.window_updates <= most, "WINDOW_UPDATE");
            }
            frames::PING | frames::SETTINGS if !frame.is_ack() => {
                let within = self.control.take(Instant::now());
                self.judge(within, "PING or SETTINGS");
            }
            frames::RST_STREAM => self.reset(),
            _ => {}
        }
    }

    fn outbound(&mut self, frame: Frame) {
        match frame.kind {
            frames::DATA => {
                self.data_sent += 1;
                // Clients measure bandwidth with a PING for the data that they get.
                self.control.give_back();
            }
            frames::RST_STREAM => self.reset(),
            _ => {}
        }
    }

    fn reset(&mut self) {
        let within = self.resets.take(Instant::now());
        self.judge(within, "resets of streams");
    }

    fn judge(&mut self, within: bool, what: &'static str) {
        if !within && self.flood.is_none() {
            self.flood = Some(what);
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.flood {
            Some(what) => Err(io::Error::other(format!("the client floods the connection with {what}"))),
            None => Ok(()),
        }
    }
}

/// So many at once, and then so many a second.
struct Bucket {
    left: u64,
    burst: u64,
    rate: u64,
    filled: Instant,
}

impl Bucket {
    fn new(burst: u64, rate: u64, now: Instant) -> Self {
        Self { left: burst, burst, rate, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.duration_since(self.filled).as_secs();
        if seconds > 0 {
            self.filled = now;
            self.left = self.left.saturating_add(self.rate.saturating_mul(seconds)).min(self.burst);
        }
        let within = self.left > 0;
        self.left = self.left.saturating_sub(1);
        within
    }

    fn give_back(&mut self) {
        self.left = (self.left + 1).min(self.burst);
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.counts.check()?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let counts = &mut this.counts;
        this.inbound.feed(&buf.filled()[before..], |frame| counts.inbound(frame));
        Poll::Ready(this.counts.check())
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.wrote(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        let mut left = n;
        for buf in bufs {
            let piece = left.min(buf.len());
            this.wrote(&buf[..piece]);
            left -= piece;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counts() -> Counts {
        Counts { begun: true, ..Counts::new(FloodLimits::default(), Instant::now()) }
    }

    fn frame(kind: u8, length: u32, flags: u8) -> Frame {
        Frame { length, kind, flags }
    }

    /// How many of these frames a fresh connection takes.
    fn taken(kind: u8, length: u32, flags: u8) -> usize {
        let mut counts = counts();
        (0..5000)
            .take_while(|_| {
                counts.inbound(frame(kind, length, flags));
                counts.flood.is_none()
            })
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_flood_has_its_limit() {
        assert_eq!(taken(frames::PING, 8, 0), 1000);
        assert_eq!(taken(frames::SETTINGS, 6, 0), 1000);
        assert_eq!(taken(frames::RST_STREAM, 4, 0), 1000);
        assert_eq!(taken(frames::PRIORITY, 5, 0), 100);
        assert_eq!(taken(frames::WINDOW_UPDATE, 4, 0), 5);
        assert_eq!(taken(frames::DATA, 0, 0), 1);
        assert_eq!(taken(frames::HEADERS, 0, 0), 1);
        assert_eq!(taken(frames::CONTINUATION, 0, 0), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_and_ends_are_no_flood() {
        assert_eq!(taken(frames::PING, 8, 1), 5000);
        assert_eq!(taken(frames::SETTINGS, 0, 1), 5000);
        assert_eq!(taken(frames::DATA, 0, 1), 5000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_gets_data_may_ask_and_open_windows_for_it() {
        let mut counts = counts();
        for _ in 0..5000 {
            counts.outbound(frame(frames::DATA, 16384, 0));
            counts.inbound(frame(frames::WINDOW_UPDATE, 4, 0));
            counts.inbound(frame(frames::PING, 8, 0));
        }
        assert_eq!(counts.flood, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_goes_on_for_ever() {
        let mut counts = counts();
        for _ in 0..5000 {
            tokio::time::advance(Duration::from_millis(100)).await;
            counts.inbound(frame(frames::PING, 8, 0));
            counts.inbound(frame(frames::RST_STREAM, 4, 0));
        }
        assert_eq!(counts.flood, None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_before_settings() {
        let mut counts = Counts::new(FloodLimits::default(), Instant::now());
        counts.inbound(frame(frames::SETTINGS, 0, 0));
        assert!(counts.check().is_ok());
        let mut counts = Counts::new(FloodLimits::default(), Instant::now());
        counts.inbound(frame(frames::PING, 8, 0));
        assert!(counts.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn resets_that_a_client_makes_us_send_count_too() {
        let mut counts = counts();
        (0..1001).for_each(|_| counts.outbound(frame(frames::RST_STREAM, 4, 0)));
        assert!(counts.check().is_err());
    }
}
