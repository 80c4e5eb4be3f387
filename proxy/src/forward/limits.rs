//! How long a request may take, and what the upstream is told of it (Envoy, `x-envoy-expected-rq-timeout-ms`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use super::finish::Receipt;
use super::local::{self, Reply};
use crate::access_log::ResponseFlags;
use crate::alarm::{self, Alarm};
use crate::http::message::RequestHead;
use crate::route::{RetryPolicy, RouteAction, Timeouts};

const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

/// Zero is no limit.
pub struct Limits {
    start: Instant,
    /// Of the answer, all tries together.
    request: Duration,
    /// Of each try.
    pub per_try: Duration,
    /// Of the stream, whatever happens on it.
    stream: Duration,
    pub idle: Duration,
    /// Whether `grpc-timeout` is to say how long the stream may take.
    tells_grpc: bool,
    /// Whether the upstream is told in Envoy's own header too.
    tells: bool,
}

impl Limits {
    pub fn of(
        connection: &Connection,
        action: &RouteAction,
        retry: Option<&RetryPolicy>,
        head: &RequestHead,
        start: Instant,
    ) -> Self {
        let timeouts = &action.timeouts;
        let request = if timeouts.is_of_stream() { Duration::ZERO } else { timeouts.request };
        let mut per_try = retry.map_or(Duration::ZERO, |retry| retry.per_try_timeout);
        if !request.is_zero() && per_try >= request {
            per_try = Duration::ZERO;
        }
        let manager = &connection.manager;
        Self {
            start,
            request,
            per_try,
            stream: stream(timeouts, manager.max_stream_duration, head),
            tells: !manager.suppress_envoy_headers,
            tells_grpc: timeouts.is_of_stream() && head.is_grpc(),
            idle: timeouts.idle.unwrap_or(manager.stream_idle_timeout),
        }
    }

    /// Tells the upstream how long it has.
    pub fn tell(&self, head: &mut RequestHead) {
        if self.tells_grpc && !self.stream.is_zero() {
            head.headers.set("grpc-timeout", as_grpc_timeout(self.stream));
        }
        let mut expected = if self.per_try.is_zero() { self.request } else { self.per_try };
        if expected.is_zero() || !self.tells {
            return;
        }
        if !self.request.is_zero() {
            // Zero would say that there is no limit.
            let left = self.request.saturating_sub(self.start.elapsed());
            expected = expected.min(left).max(Duration::from_millis(1));
        }
        head.headers.set_number(EXPECTED, round(expected));
    }

    /// When the answer must have ended.
    pub fn end(&self) -> Option<Instant> {
        self.shortest().map(|(end, _)| end)
    }

    /// The end, and whether it is the stream's.
    fn shortest(&self) -> Option<(Instant, bool)> {
        let limits = [(self.request, false), (self.stream, true)].into_iter().filter(|(limit, _)| !limit.is_zero());
        let (limit, of_stream) = limits.min_by_key(|(limit, _)| *limit)?;
        Some((self.start.checked_add(limit)?, of_stream))
    }

    /// Waits for an answer within the limits; while the request's body still comes the stream is not idle.
    pub async fn hold<T>(
        &self,
        alarm: &mut Alarm,
        mut answer: Pin<&mut impl Future<Output = T>>,
        received: &Receipt,
    ) -> Result<T, Reply> {
        let (mut seen, mut idle_until) = (received.bytes.get(), None);
        let end = self.shortest();
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            loop {
                idle_until = idle_until.or_else(|| alarm::after(self.idle));
                let Some(wake) = [end.map(|(end, _)| end), idle_until].into_iter().flatten().min() else {
                    return Poll::Pending;
                };
                ready!(alarm.poll(wake, cx));
                match end {
                    Some((end, of_stream)) if end <= Instant::now() => return Poll::Ready(Err(late(of_stream))),
                    _ => {}
                }
                if received.bytes.get() == seen {
                    return Poll::Ready(Err(idle(received)));
                }
                (seen, idle_until) = (received.bytes.get(), None);
            }
        })
        .await
    }
}

/// Whom was waited for: the client, or the upstream.
fn idle(received: &Receipt) -> Reply {
    let mut reply = Reply::new(if received.is_whole() { 504 } else { 408 }, "stream timeout");
    reply.close = !received.is_whole();
    reply.flagged(ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")
}

fn late(of_stream: bool) -> Reply {
    if of_stream {
        let mut reply = Reply::new(504, "downstream duration timeout")
            .flagged(ResponseFlags::DURATION_TIMEOUT, "max_duration_timeout");
        reply.grpc_status = Some(4);
        return reply;
    }
    local::timeout("response_timeout")
}

/// Rounded, so that what passed since the start shows only once it counts.
fn round(limit: Duration) -> u64 {
    u64::try_from(limit.as_micros().saturating_add(500) / 1000).unwrap_or(u64::MAX)
}

/// `max_stream_duration` and the client's `grpc-timeout`, as far as the route heeds it.
fn stream(timeouts: &Timeouts, manager: Duration, head: &RequestHead) -> Duration {
    let asked = head.headers.get_str("grpc-timeout").and_then(grpc_timeout);
    match (timeouts.grpc_header_max, asked) {
        (Some(max), Some(asked)) if max.is_zero() => asked,
        (Some(max), Some(asked)) => asked.min(max),
        _ => timeouts.max_stream.unwrap_or(manager),
    }
}

/// A `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, Timeout).
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// In the finest unit that eight digits hold, from milliseconds on.
fn as_grpc_timeout(limit: Duration) -> String {
    let milliseconds = limit.as_millis();
    let units = [(1, 'm'), (1000, 'S'), (60_000, 'M'), (3_600_000, 'H')];
    let fits = units.into_iter().find(|(size, _)| milliseconds / size <= 99_999_999);
    fits.map_or_else(|| "99999999H".to_owned(), |(size, unit)| format!("{}{unit}", milliseconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_is_read_and_nonsense_is_not() {
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "-1S", "123456789S", "1x", "1é"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_grpc_timeout_is_written_with_at_most_eight_digits() {
        assert_eq!(as_grpc_timeout(Duration::from_millis(1500)), "1500m");
        assert_eq!(as_grpc_timeout(Duration::from_secs(200_000)), "200000S");
        assert_eq!(as_grpc_timeout(Duration::MAX), "99999999H");
    }
}
