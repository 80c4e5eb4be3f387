//! The HTTP connection manager and its filters.

use std::sync::Arc;
use std::time::Duration;

use super::{AnswerRules, Http2Options, Lifetime, LocalReplies, RequestRules};
use crate::access_log::AccessLog;
use crate::filter::HttpFilter;
use crate::route::RouteTable;
use crate::stats::MetricRules;
use crate::trace::{RequestIds, Tracing};

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpManager {
    pub stat_prefix: String,
    pub codec: Codec,
    pub routes: RouteSource,
    /// In order; the router, which ends the list, is left out.
    pub filters: Vec<HttpFilter>,
    pub access_logs: Vec<AccessLog>,
    /// What is said of Istio's metrics; `None` where they are as they always are.
    pub metrics: Option<Arc<MetricRules>>,
    /// Whether a line is written too when a request comes, and when a tunnel is established.
    pub logs_new_requests: bool,
    pub logs_tunnels: bool,
    /// Whether the peer is the edge of trust: `x-forwarded-for` gets its address, and its claims are not believed.
    pub use_remote_address: bool,
    pub xff_num_trusted_hops: u32,
    /// Whether `x-forwarded-for` stays as it came at the edge.
    pub skip_xff_append: bool,
    pub forward_client_cert: ForwardClientCert,
    pub client_cert_details: ClientCertDetails,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
    pub underscores: Underscores,
    /// Whether HTTP/1.1 methods are taken that no registry knows.
    pub custom_methods: bool,
    /// The `server` header of answers (Istio: `istio-envoy`).
    pub server_name: String,
    pub generate_request_id: bool,
    /// Whether an id that a client gave stays at the edge too.
    pub preserve_external_request_id: bool,
    pub request_rules: Option<Box<RequestRules>>,
    pub answer_rules: Option<Box<AnswerRules>>,
    pub local_replies: Option<Box<LocalReplies>>,
    /// Whether `:scheme` says how the upstream is spoken to (`scheme_header_transformation.match_upstream`).
    pub scheme_of_upstream: bool,
    /// Of the router: whether `x-envoy-` headers are left out that it adds.
    pub suppress_envoy_headers: bool,
    /// `None` where nothing ends a connection but the client, idleness and the proxy's own end.
    pub lifetime: Option<Lifetime>,
    /// Zero disables, here and in the others (Envoy defaults: idle 1 h, stream idle 5 min, headers and request none).
    pub idle_timeout: Duration,
    pub stream_idle_timeout: Duration,
    pub request_timeout: Duration,
    pub request_headers_timeout: Duration,
    /// Of every stream whose route does not say (`max_stream_duration`).
    pub max_stream_duration: Duration,
    /// For a client to close first after the last answer (Envoy default 1 s).
    pub delayed_close_timeout: Duration,
    pub max_request_headers_bytes: usize,
    pub max_request_headers_count: usize,
    /// Lower-case upgrade protocols that are let through (`websocket`, `connect`).
    pub upgrades: Vec<String>,
    pub accept_http_10: bool,
    /// Of HTTP/1.0 requests without a host; empty is none.
    pub default_host_for_http_10: String,
    /// Whether names of headers go to HTTP/1.1 clients as `Content-Type`.
    pub proper_case: bool,
    pub tracing: Option<Arc<Tracing>>,
    pub request_ids: RequestIds,
    pub http2: Http2Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Told by ALPN or by the HTTP/2 preface.
    Auto,
    Http1,
    Http2,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RouteSource {
    Inline(Arc<RouteTable>),
    /// By name, from the snapshot.
    Rds(String),
}

/// `set_current_client_cert_details`: what is told of a client's certificate besides its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCertDetails {
    pub subject: bool,
    pub cert: bool,
    pub chain: bool,
    pub dns: bool,
    pub uri: bool,
}

/// `forward_client_cert_details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCert {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

/// What becomes of headers with an underscore in their name (`headers_with_underscores_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    Allow,
    /// The request is refused.
    RejectRequest,
    DropHeader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    KeepUnchanged,
    RejectRequest,
    UnescapeAndRedirect,
    UnescapeAndForward,
}

/// Parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction(pub u32);
