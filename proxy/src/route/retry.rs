//! When a failed try is sent again: `envoy.config.route.v3.RetryPolicy`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::HeaderMatch;
use crate::http::headers::Headers;
use crate::http::message::RequestHead;

#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    pub retry_on: RetryOn,
    /// Tries after the first (Envoy default 1).
    pub num_retries: u32,
    /// Zero: no limit but the route's timeout.
    pub per_try_timeout: Duration,
    pub per_try_idle_timeout: Duration,
    pub back_off: BackOff,
    pub retriable_status_codes: Vec<u16>,
    /// For `retriable-headers`: any of these in the answer.
    pub retriable_headers: Vec<HeaderMatch>,
    /// Where there are any, one must match the request for it to be retried at all.
    pub retriable_request_headers: Vec<HeaderMatch>,
    /// Whether hosts already tried are avoided (`envoy.retry_host_predicates.previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// How often another host is picked in place of an avoided one.
    pub host_selection_attempts: u32,
    /// After each so many tries, priorities already tried are left out (`envoy.retry_priorities.previous_priorities`,
    /// `update_frequency`).
    pub leave_priorities_after: Option<NonZeroU32>,
}

/// Exponential with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    pub base: Duration,
    pub max: Duration,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered with this status.
    Response(u16),
    /// No connection came about (refused, timed out, TLS failure).
    ConnectFailure,
    /// The stream or connection broke. `request_started`: whether any of the request was sent.
    Reset { request_started: bool },
    /// HTTP/2 REFUSED_STREAM, or a GOAWAY that did not cover the stream.
    RefusedStream,
    /// No answer within the try's own time.
    PerTryTimeout,
    /// A circuit breaker stood in the way; never retried.
    Overflow,
}

/// Conditions of `retry_on`, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

macro_rules! conditions {
    ($($bit:literal $name:ident $text:literal;)*) => {
        impl RetryOn {
            $(pub const $name: Self = Self(1 << $bit);)*

            fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

conditions! {
    0 SERVER_ERROR "5xx";
    1 GATEWAY_ERROR "gateway-error";
    2 RESET "reset";
    3 RESET_BEFORE_REQUEST "reset-before-request";
    4 CONNECT_FAILURE "connect-failure";
    5 REFUSED_STREAM "refused-stream";
    6 RETRIABLE_4XX "retriable-4xx";
    7 RETRIABLE_STATUS_CODES "retriable-status-codes";
    8 ENVOY_RATELIMITED "envoy-ratelimited";
    9 RETRIABLE_HEADERS "retriable-headers";
    10 HTTP3_POST_CONNECT_FAILURE "http3-post-connect-failure";
    11 GRPC_CANCELLED "cancelled";
    12 GRPC_DEADLINE_EXCEEDED "deadline-exceeded";
    13 GRPC_INTERNAL "internal";
    14 GRPC_RESOURCE_EXHAUSTED "resource-exhausted";
    15 GRPC_UNAVAILABLE "unavailable";
}

impl RetryOn {
    /// Parses a comma list. The error is the condition that is not known.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            set.0 |= Self::of_name(name).ok_or_else(|| name.to_owned())?.0;
        }
        Ok(set)
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl RetryPolicy {
    /// Whether the policy covers a request at all.
    pub fn applies_to(&self, head: &RequestHead) -> bool {
        self.retriable_request_headers.is_empty() || self.retriable_request_headers.iter().any(|m| m.matches(head))
    }

    /// Whether a try that ended so is to be sent again, retries and budget permitting. `headers` and `grpc_status`
    /// are those of the answer, if there was one.
    pub fn should_retry(&self, outcome: Outcome, headers: Option<&Headers>, grpc_status: Option<u32>) -> bool {
        let on = self.retry_on;
        let as_server_error = on.contains(RetryOn::SERVER_ERROR.with(RetryOn::GATEWAY_ERROR));
        match outcome {
            Outcome::Response(status) => self.retries_answer(status, headers, grpc_status),
            Outcome::Overflow => false,
            Outcome::ConnectFailure => {
                as_server_error
                    || on.contains(RetryOn::CONNECT_FAILURE.with(RetryOn::RESET).with(RetryOn::RESET_BEFORE_REQUEST))
            }
            Outcome::RefusedStream => as_server_error || on.contains(RetryOn::REFUSED_STREAM.with(RetryOn::RESET)),
            Outcome::Reset { request_started } => {
                as_server_error
                    || on.contains(RetryOn::RESET)
                    || (!request_started && on.contains(RetryOn::RESET_BEFORE_REQUEST))
            }
            Outcome::PerTryTimeout => as_server_error || on.contains(RetryOn::RESET),
        }
    }

    fn retries_answer(&self, status: u16, headers: Option<&Headers>, grpc_status: Option<u32>) -> bool {
        let on = self.retry_on;
        let has = |name| headers.is_some_and(|headers| headers.contains(name));
        if has("x-envoy-ratelimited") {
            return on.contains(RetryOn::ENVOY_RATELIMITED);
        }
        (on.contains(RetryOn::SERVER_ERROR) && (500..600).contains(&status))
            || (on.contains(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
            || (on.contains(RetryOn::RETRIABLE_4XX) && status == 409)
            || (on.contains(RetryOn::RETRIABLE_STATUS_CODES) && self.retriable_status_codes.contains(&status))
            || (on.contains(RetryOn::RETRIABLE_HEADERS)
                && headers.is_some_and(|headers| self.has_retriable(headers, status)))
            || grpc_status.and_then(grpc_condition).is_some_and(|condition| on.contains(condition))
    }

    fn has_retriable(&self, headers: &Headers, status: u16) -> bool {
        self.retriable_headers.iter().any(|rule| {
            if rule.name == ":status" {
                return rule.matches_value(Some(status.to_string().as_bytes()));
            }
            rule.matches_header(headers)
        })
    }
}

fn grpc_condition(status: u32) -> Option<RetryOn> {
    match status {
        1 => Some(RetryOn::GRPC_CANCELLED),
        4 => Some(RetryOn::GRPC_DEADLINE_EXCEEDED),
        8 => Some(RetryOn::GRPC_RESOURCE_EXHAUSTED),
        13 => Some(RetryOn::GRPC_INTERNAL),
        14 => Some(RetryOn::GRPC_UNAVAILABLE),
        _ => None,
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl BackOff {
    /// How long to wait before the retry of that number (from 1): a random part of a window that doubles up to the
    /// maximum.
    pub fn delay(&self, retry: u32, random: u64) -> Duration {
        let window = self.base.saturating_mul(1u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX));
        let nanos = u64::try_from(window.min(self.max).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if nanos == 0 { 0 } else { random % nanos })
    }
}
