//! What is configured of tracing.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Fraction;

/// `HttpConnectionManager.tracing`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `None`: decisions are made and logged, and nothing is told to anyone.
    pub provider: Option<Arc<Provider>>,
    pub sampling: Sampling,
    /// Whether the moments of a request are told too.
    pub verbose: bool,
    pub max_path_tag_length: usize,
    pub tags: Vec<Tag>,
}

/// Which end of a call this proxy stands at, by the direction of the listener's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ingress,
    Egress,
}

/// Shares of requests that are traced: of those whose client asks for it, of all others, and of both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub client: Fraction,
    pub random: Fraction,
    pub overall: Fraction,
}

/// `Route.tracing`: takes the place of the manager's sampling, and adds tags.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTracing {
    pub sampling: Sampling,
    pub tags: Vec<Tag>,
}

/// `Route.decorator`: what a request of this route is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Decorator {
    pub operation: String,
    /// Whether the other proxy is told the name.
    pub propagate: bool,
}

/// `envoy.type.tracing.v3.CustomTag`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    pub name: String,
    pub value: TagValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    /// A literal, or an environment variable as it was when the configuration was read.
    Text(String),
    RequestHeader {
        name: String,
        default: String,
    },
    /// Dynamic metadata.
    Metadata {
        namespace: String,
        path: Vec<String>,
        default: String,
    },
}

/// Who takes the spans.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    Otlp(Otlp),
    Zipkin(Zipkin),
}

/// `envoy.config.trace.v3.OpenTelemetryConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    pub service_name: String,
    pub to: Destination,
    /// By gRPC, or by a POST.
    pub grpc: bool,
    /// More spans than this are not kept for sending.
    pub max_cache_size: usize,
}

/// `envoy.config.trace.v3.ZipkinConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct Zipkin {
    pub to: Destination,
    pub trace_id_128bit: bool,
    /// Whether a server's span is the client's span.
    pub shared_span_context: bool,
    pub propagation: Propagation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    B3,
    B3AndW3c,
}

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    pub cluster: String,
    pub authority: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub timeout: Duration,
}

impl Provider {
    pub fn destination(&self) -> &Destination {
        match self {
            Self::Otlp(otlp) => &otlp.to,
            Self::Zipkin(zipkin) => &zipkin.to,
        }
    }

    /// The metric prefix of Envoy's tracer.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Otlp(_) => "opentelemetry",
            Self::Zipkin(_) => "zipkin",
        }
    }
}
