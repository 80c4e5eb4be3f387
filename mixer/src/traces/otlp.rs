//! Spans out of OTLP's messages (opentelemetry-proto, `collector/trace/v1`), as far as they are kept.

use std::collections::BTreeMap;

use api::opentelemetry::proto::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;

use super::{LONGEST_TEXT, MAX_ATTRIBUTES, SpanView};

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
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
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

const SERVER: i32 = 2;
const ERROR: i32 = 2;

/// The spans of a report; what cannot be read is left out.
pub fn decode(report: &[u8], service: &str, proxy: &str) -> Vec<(u128, SpanView)> {
    let Ok(request) = ExportRequest::decode(report) else { return Vec::new() };
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans);
    spans
        .filter_map(|span| {
            Some((u128::from_be_bytes(span.trace_id.as_slice().try_into().ok()?), view(span, service, proxy)?))
        })
        .collect()
}

fn view(span: Span, service: &str, proxy: &str) -> Option<SpanView> {
    let id = |bytes: &[u8]| Some(format!("{:016x}", u64::from_be_bytes(bytes.try_into().ok()?)));
    let start_us = span.start_time_unix_nano / 1000;
    Some(SpanView {
        span_id: id(&span.span_id)?,
        parent_id: id(&span.parent_span_id),
        service: service.to_owned(),
        proxy: proxy.to_owned(),
        name: cut(span.name),
        kind: if span.kind == SERVER { "server" } else { "client" },
        start_us,
        duration_us: (span.end_time_unix_nano / 1000).saturating_sub(start_us),
        status: if span.status.is_some_and(|status| status.code == ERROR) { "error" } else { "ok" },
        attributes: attributes(span.attributes),
    })
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |pair: KeyValue| match pair.value?.value? {
        Value::StringValue(text) => Some((cut(pair.key), cut(text))),
        _ => None,
    };
    list.into_iter().filter_map(text).take(MAX_ATTRIBUTES).collect()
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}
