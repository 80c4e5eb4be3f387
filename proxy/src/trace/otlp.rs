//! Spans as OTLP's messages (opentelemetry-proto, `collector/trace/v1`), as far as they are filled in here.

use std::time::{Duration, UNIX_EPOCH};

use api::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use api::prost;
use api::prost::Message as _;

use super::settings::Side;
use super::span::Finished;

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;
const SAMPLED: u32 = 1;
/// Whether the parent is in another process is known, and whether it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// An `ExportTraceServiceRequest`.
pub fn encode(service_name: &str, spans: Vec<Finished>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let service = if service_name.is_empty() { "unknown_service:envoy" } else { service_name };
    let attributes = vec![
        attribute("service.name", service),
        attribute("telemetry.sdk.language", "rust"),
        attribute("telemetry.sdk.name", "weft"),
        attribute("telemetry.sdk.version", version),
    ];
    let scope = InstrumentationScope { name: "weft".to_owned(), version: version.to_owned(), ..Default::default() };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let resource = Some(Resource { attributes });
    ExportRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }.encode_to_vec()
}

fn span(span: Finished) -> Span {
    let start = span.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |after: Duration| u64::try_from((start + after).as_nanos()).unwrap_or(u64::MAX);
    let context = span.context;
    let flags = SAMPLED | HAS_IS_REMOTE | if context.joined { IS_REMOTE } else { 0 };
    let event = |(name, at): (&str, Duration)| Event { time_unix_nano: nanos(at), name: name.to_owned() };
    Span {
        trace_id: context.trace_id.to_be_bytes().to_vec(),
        span_id: context.span_id.to_be_bytes().to_vec(),
        parent_span_id: context.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name,
        kind: if span.side == Side::Ingress { SERVER } else { CLIENT },
        start_time_unix_nano: nanos(Duration::ZERO),
        end_time_unix_nano: nanos(span.duration),
        attributes: span.tags.iter().map(|(name, value)| attribute(name, value)).collect(),
        events: span.events.into_iter().map(event).collect(),
        status: span.error.then_some(Status { code: ERROR }),
        flags,
    }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: name.to_owned(), value: Some(value), ..Default::default() }
}
