//! The request headers that a Bookinfo service passes on to the services it calls.

use axum::http::HeaderMap;

/// Trace context in the formats in use, so that the sidecars' spans join up, and who the request is for.
const PASSED_ON: [&str; 20] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
    "x-ot-span-context",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// The part of a request's headers that goes along with the calls made on its behalf.
pub fn propagated(headers: &HeaderMap) -> HeaderMap {
    let passed = headers.iter().filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    passed.map(|(name, value)| (name.clone(), value.clone())).collect()
}
