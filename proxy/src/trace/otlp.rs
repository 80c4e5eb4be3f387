//! Spans as OTLP's messages (opentelemetry-proto, `collector/trace/v1`), as far as they are filled in here.

use std::time::{Duration, UNIX_EPOCH};

use api::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use api::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use api::opentelemetry::proto::resource::v1::Resource;
use api::opentelemetry::proto::trace::v1::span::{Event, SpanKind};
use api::opentelemetry::proto::trace::v1::status::StatusCode;
use api::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use api::prost::Message as _;

use super::settings::Side;
use super::span::Finished;

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
    let resource = Some(Resource { attributes, ..Default::default() });
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }.encode_to_vec()
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
        kind: if span.side == Side::Ingress { SpanKind::Server } else { SpanKind::Client }.into(),
        start_time_unix_nano: nanos(Duration::ZERO),
        end_time_unix_nano: nanos(span.duration),
        attributes: span.tags.iter().map(|(name, value)| attribute(name, value)).collect(),
        events: span.events.into_iter().map(event).collect(),
        status: span.error.then_some(Status { code: StatusCode::Error.into(), ..Default::default() }),
        flags,
    }
}

fn attribute(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: name.to_owned(), value: Some(value), ..Default::default() }
}
