//! Spans out of OTLP's messages (opentelemetry-proto, `collector/trace/v1`), as far as they are kept.

use std::collections::BTreeMap;

use api::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use api::opentelemetry::proto::common::v1::{KeyValue, any_value::Value};
use api::opentelemetry::proto::trace::v1::Span;
use api::opentelemetry::proto::trace::v1::span::SpanKind;
use api::opentelemetry::proto::trace::v1::status::StatusCode;
use api::prost::Message as _;

use super::{LONGEST_TEXT, MAX_ATTRIBUTES, SpanView};

/// The spans of a report; what cannot be read is left out.
pub fn decode(report: &[u8], service: &str, proxy: &str) -> Vec<(u128, SpanView)> {
    let Ok(request) = ExportTraceServiceRequest::decode(report) else { return Vec::new() };
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
    let kind = if span.kind() == SpanKind::Server { "server" } else { "client" };
    let start_us = span.start_time_unix_nano / 1000;
    Some(SpanView {
        span_id: id(&span.span_id)?,
        parent_id: id(&span.parent_span_id),
        service: service.to_owned(),
        proxy: proxy.to_owned(),
        name: cut(span.name),
        kind,
        start_us,
        duration_us: (span.end_time_unix_nano / 1000).saturating_sub(start_us),
        status: if span.status.is_some_and(|status| status.code() == StatusCode::Error) { "error" } else { "ok" },
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
