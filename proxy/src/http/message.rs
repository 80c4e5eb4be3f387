//! The heads of messages, in the terms that HTTP/1.1 and HTTP/2 share (RFC 9110).

use super::headers::Headers;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Case is kept; `GET`, `CONNECT`, …
    pub method: String,
    /// `http` or `https`, as the downstream connection was; policies may match it.
    pub scheme: &'static str,
    /// Host and perhaps port: `:authority`, the absolute-form target, or `Host`. Empty only for HTTP/1.0.
    pub authority: String,
    /// Path and query, beginning with `/`; `*` for `OPTIONS *`; empty for `CONNECT`.
    pub path: String,
    pub version: Version,
    /// Without `host` and without hop-by-hop headers of the framing (`connection`, `transfer-encoding`, …).
    pub headers: Headers,
    /// The protocol of an upgrade (`websocket`): HTTP/1.1 `Upgrade`, or `:protocol` of an extended CONNECT.
    pub upgrade: Option<String>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub headers: Headers,
}

impl RequestHead {
    /// The path without its query.
    pub fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// Whether the request is gRPC, by its content type (gRPC over HTTP/2, request headers).
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.headers)
    }
}

impl ResponseHead {
    pub fn new(status: u16) -> Self {
        Self { status, version: Version::Http11, headers: Headers::new() }
    }

    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.headers)
    }
}

fn is_grpc(headers: &Headers) -> bool {
    headers
        .get("content-type")
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

impl Version {
    /// As `%PROTOCOL%` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}
