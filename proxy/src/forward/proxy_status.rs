//! The `proxy-status` header (RFC 9209): why an answer failed, in words that every client can know.

use crate::access_log::{RequestInfo, ResponseFlags};
use crate::config::ProxyStatus;
use crate::http::message::ResponseHead;

/// An error type of RFC 9209 section 2.3, and the status that the RFC recommends for it.
type ErrorType = (&'static str, u16);

/// Flags that mean an error, in the order in which they are asked for (Envoy, `ProxyStatusUtils`). What a client did
/// wrong is told without one, as Envoy does.
const ERRORS: [(ResponseFlags, ErrorType); 17] = [
    (ResponseFlags::FAILED_LOCAL_HEALTH_CHECK, ("destination_unavailable", 503)),
    (ResponseFlags::NO_HEALTHY_UPSTREAM, ("destination_unavailable", 503)),
    (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, ("http_response_timeout", 504)),
    (ResponseFlags::LOCAL_RESET, ("connection_timeout", 504)),
    (ResponseFlags::UPSTREAM_REMOTE_RESET, ("connection_terminated", 502)),
    (ResponseFlags::UPSTREAM_CONNECTION_FAILURE, ("connection_refused", 502)),
    (ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, ("connection_terminated", 502)),
    (ResponseFlags::UPSTREAM_OVERFLOW, ("connection_limit_reached", 503)),
    (ResponseFlags::NO_ROUTE_FOUND, ("destination_not_found", 404)),
    (ResponseFlags::RATE_LIMITED, ("connection_limit_reached", 503)),
    (ResponseFlags::RATELIMIT_SERVICE_ERROR, ("connection_limit_reached", 503)),
    (ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED, ("destination_unavailable", 503)),
    (ResponseFlags::STREAM_IDLE_TIMEOUT, ("http_response_timeout", 504)),
    (ResponseFlags::UPSTREAM_MAX_STREAM_DURATION_REACHED, ("http_response_timeout", 504)),
    (ResponseFlags::UPSTREAM_PROTOCOL_ERROR, ("http_protocol_error", 502)),
    (ResponseFlags::NO_CLUSTER_FOUND, ("destination_unavailable", 503)),
    (ResponseFlags::DNS_FAILURE, ("dns_error", 502)),
];

/// Adds the header to an answer that failed.
pub fn tell(settings: &ProxyStatus, head: &mut ResponseHead, info: &RequestInfo) {
    let Some((_, (error, status))) = ERRORS.into_iter().find(|(flag, _)| info.flags.intersects(*flag)) else { return };
    let mut text = format!("{}; error={error}", settings.name);
    if let Some(details) = info.response_code_details.as_deref().filter(|_| settings.details) {
        let flags = settings.flags.then(|| info.flags.to_string());
        let end = info.connection_termination_details.as_deref().filter(|_| settings.termination_details);
        let all = [Some(details), flags.as_deref(), end].into_iter().flatten().collect::<Vec<_>>().join("; ");
        // A quotation mark would end the string (RFC 8941 section 3.3.3).
        text = format!("{text}; details=\"{}\"", all.replace('\\', "\\\\").replace('"', "\\\""));
    }
    super::answer_rules::append(&mut head.headers, "proxy-status", &text);
    if settings.sets_status {
        head.status = status;
    }
}
