//! What a connection manager changes of requests and answers besides routing them. All of it is rarely asked for, so a
//! manager that asks for nothing holds none of it.

use std::time::Duration;

use bytes::Bytes;

use super::HeaderAdd;
use crate::access_log::{Format, LogFilter};

/// Changes of a request's head, made before it is routed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRules {
    pub strip_port: Option<StripPort>,
    pub strip_trailing_dot: bool,
    /// `x-forwarded-port`, where the peer is the edge of trust.
    pub append_x_forwarded_port: bool,
    /// `scheme_header_transformation.scheme_to_overwrite`.
    pub scheme: Option<&'static str>,
    /// Appended to `via`; empty is nothing.
    pub via: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripPort {
    /// Where it is the port that the client connected to (`strip_matching_host_port`).
    Matching,
    /// `strip_any_host_port`.
    Any,
}

/// Changes of the head of every answer, wherever it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerRules {
    pub server: ServerHeader,
    pub via: String,
    /// Whether the client is told the request's id (`always_set_request_id_in_response`).
    pub request_id: bool,
    pub proxy_status: Option<ProxyStatus>,
}

/// `server_header_transformation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    #[default]
    Overwrite,
    AppendIfAbsent,
    PassThrough,
}

/// `proxy_status_config`: why an answer failed, in the words of RFC 9209.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    /// What the proxy calls itself.
    pub name: String,
    pub details: bool,
    pub flags: bool,
    pub termination_details: bool,
    /// Whether the status becomes the one that RFC 9209 recommends for the error.
    pub sets_status: bool,
}

/// `local_reply_config`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalReplies {
    /// The first that takes an answer changes it.
    pub mappers: Vec<ReplyMapper>,
    pub body: Option<BodyFormat>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReplyMapper {
    pub filter: LogFilter,
    pub status: Option<u16>,
    pub body: Option<Bytes>,
    pub format: Option<BodyFormat>,
    pub headers: Vec<HeaderAdd>,
}

/// `body_format`, and the content type that goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyFormat {
    pub format: Format,
    pub content_type: String,
}

/// How long a downstream connection lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Zero is no limit.
    pub max_requests: u64,
    pub max_duration: Option<Duration>,
    /// Between the notice that a connection ends and its end.
    pub drain_timeout: Duration,
}
