//! Spans as Zipkin's JSON, version 2.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::settings::{Side, Zipkin};
use super::span::Finished;

/// A list of spans.
pub fn encode(zipkin: &Zipkin, spans: Vec<Finished>) -> Vec<u8> {
    let spans: Vec<Value> = spans.into_iter().map(|one| span(zipkin, one)).collect();
    Value::from(spans).to_string().into_bytes()
}

fn span(zipkin: &Zipkin, span: Finished) -> Value {
    let start = span.start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let digits = if span.context.long { 32 } else { 16 };
    let server = span.side == Side::Ingress;
    // What the core annotations of version 1 were: the server sent, the client received.
    let last = if server { "ss" } else { "cr" };
    let annotations = span.events.into_iter().chain([(last, span.duration)]);
    let annotations: Vec<Value> =
        annotations.map(|(value, at)| json!({"timestamp": micros(start + at), "value": value})).collect();
    let tags: Map<String, Value> =
        span.tags.into_iter().map(|(name, value)| (name.into_owned(), value.into())).collect();
    let family = if span.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut json = json!({
        "traceId": format!("{:0digits$x}", span.context.trace_id),
        "id": format!("{:016x}", span.context.span_id),
        "kind": if server { "SERVER" } else { "CLIENT" },
        "name": span.name,
        "timestamp": micros(start),
        "duration": micros(span.duration).max(1),
        "localEndpoint": {"serviceName": *span.service, (family): span.address.to_string(), "port": 0},
        "annotations": annotations,
        "tags": tags,
    });
    if let Some(parent) = span.context.parent {
        json["parentId"] = format!("{parent:016x}").into();
    }
    if server && zipkin.shared_span_context {
        json["shared"] = true.into();
    }
    json
}
