//! Answers that are made here (Envoy, local replies), in the form the client understands.

use std::borrow::Cow;

use bytes::Bytes;

use crate::access_log::ResponseFlags;
use crate::http::Response;
use crate::http::body::Body;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead};

pub struct Reply {
    pub status: u16,
    /// For a gRPC client; by the HTTP status where there is none.
    pub grpc_status: Option<u32>,
    pub headers: Headers,
    pub body: Bytes,
    pub flags: ResponseFlags,
    /// As `%RESPONSE_CODE_DETAILS%` prints it.
    pub details: Cow<'static, str>,
    /// Whether the connection ends with it (HTTP/1.1).
    pub close: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            grpc_status: None,
            headers: Headers::new(),
            body: body.into(),
            flags: ResponseFlags::NONE,
            details: Cow::Borrowed("direct_response"),
            close: false,
        }
    }

    pub fn flagged(mut self, flags: ResponseFlags, details: impl Into<Cow<'static, str>>) -> Self {
        self.flags = flags;
        self.details = details.into();
        self
    }

    /// The answer to this request: a gRPC client gets a status in the headers and no body.
    pub fn into_response(self, request: &RequestHead) -> Response {
        let close = self.close;
        let mut head = ResponseHead::new(self.status);
        head.headers = self.headers;
        if request.is_grpc() {
            head.status = 200;
            head.headers.set("content-type", "application/grpc");
            head.headers.set("grpc-status", self.grpc_status.unwrap_or_else(|| grpc_status(self.status)).to_string());
            if !self.body.is_empty() {
                // A body in JSON ends with a newline, which is no part of a message.
                let message = self.body.strip_suffix(b"\n").unwrap_or(&self.body);
                head.headers.set("grpc-message", percent_encode(message));
            }
            return Response { close, ..Response::new(head, Body::Empty) };
        }
        if !self.body.is_empty() && !head.headers.contains("content-type") {
            head.headers.append("content-type", "text/plain");
        }
        if request.method == "HEAD" {
            // That there is none here does not say that GET would have none: a filter's server was asked with HEAD too.
            if !self.body.is_empty() {
                head.headers.set("content-length", self.body.len().to_string());
            }
            return Response { close, ..Response::new(head, Body::Empty) };
        }
        let mut response = Response::new(head, Body::Full(self.body));
        response.close = close;
        response
    }
}

/// The gRPC status that stands for an HTTP status (gRPC, HTTP to gRPC status mapping).
fn grpc_status(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// As gRPC's `grpc-message` wants it.
fn percent_encode(text: &[u8]) -> String {
    let plain = |b: &u8| matches!(b, b' '..=b'~') && *b != b'%';
    text.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

pub fn no_route() -> Reply {
    Reply::new(404, "").flagged(ResponseFlags::NO_ROUTE_FOUND, "route_not_found")
}

pub fn no_cluster(status: u16) -> Reply {
    Reply::new(status, "").flagged(ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found")
}

pub fn no_healthy_upstream() -> Reply {
    Reply::new(503, "no healthy upstream").flagged(ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream")
}

/// `tells`: in Envoy's own header too.
pub fn overflow(tells: bool) -> Reply {
    let mut reply =
        Reply::new(503, "upstream connect error or disconnect/reset before headers. reset reason: overflow")
            .flagged(ResponseFlags::UPSTREAM_OVERFLOW, "overflow");
    if tells {
        reply.headers.append("x-envoy-overloaded", "true");
    }
    reply
}

pub fn timeout(details: &'static str) -> Reply {
    Reply::new(504, "upstream request timeout").flagged(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, details)
}
