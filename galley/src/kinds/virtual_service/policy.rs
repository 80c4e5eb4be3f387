//! What happens to requests on their way: retries, faults, mirrors, CORS.

use super::refs::destination;
use super::{Abort, AbortStatus, Cors, Delay, Fault, Mirror, Retries, UnmatchedPreflights};
use crate::kinds::{Pattern, Percent, StringMatch};
use crate::reader::{Object, Place, closest};

/// Conditions that Envoy knows for HTTP and for gRPC.
const RETRY_ON: [&str; 18] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
    "unknown",
    "aborted",
];

const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn retries(o: &Object<'_>) -> Retries {
    let attempts = o.count("attempts");
    let retries = Retries {
        attempts: attempts.unwrap_or(2),
        per_try_timeout: o.duration("perTryTimeout"),
        retry_on: o.read("retryOn", retry_on).unwrap_or_default(),
        remote_localities: o.flag_if_set("retryRemoteLocalities"),
        ignore_previous_hosts: o.flag_if_set("retryIgnorePreviousHosts").unwrap_or(true),
        backoff: o.duration("backoff"),
    };
    if attempts == Some(0) && (o.has("perTryTimeout") || o.has("retryOn") || o.has("retryRemoteLocalities")) {
        o.error_at("attempts", "0 turns retries off; the other fields must go");
    }
    retries
}

fn retry_on(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    for word in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let status = word.parse::<u16>().is_ok_and(|status| (100..=599).contains(&status));
        if !status && !RETRY_ON.contains(&word) {
            place.suggest(format!("{word:?} is no condition for a retry"), closest(word, RETRY_ON.into_iter()));
        }
    }
    Some(text)
}

pub(super) fn fault(o: &Object<'_>) -> Fault {
    o.at_least_one(&["delay", "abort"]);
    Fault { delay: o.read("delay", |place| place.object(delay)?), abort: o.read("abort", |place| place.object(abort)?) }
}

fn delay(o: &Object<'_>) -> Option<Delay> {
    o.refuse("exponentialDelay", "is not supported (nor by Istio); use fixedDelay");
    o.deprecated("percent", "percentage");
    let old = o.field("percent").and_then(|place| place.within(0, 100)).map(|percent| Percent(percent as f64));
    let percentage = o.percent("percentage").or(old).unwrap_or_default();
    Some(Delay { fixed: o.required("fixedDelay")?.duration()?, percentage })
}

fn abort(o: &Object<'_>) -> Option<Abort> {
    o.refuse("http2Error", "is not supported (nor by Istio); use httpStatus");
    o.at_most_one(&["httpStatus", "grpcStatus", "http2Error"]);
    o.at_least_one(&["httpStatus", "grpcStatus", "http2Error"]);
    o.deprecated("percent", "percentage");
    let old = o.field("percent").and_then(|place| place.within(0, 100)).map(|percent| Percent(percent as f64));
    let percentage = o.percent("percentage").or(old).unwrap_or_default();
    let http = o.field("httpStatus").and_then(|place| place.within(200, 599));
    let http = http.and_then(|status| u16::try_from(status).ok()).map(AbortStatus::Http);
    let grpc = o.read("grpcStatus", grpc_status).map(AbortStatus::Grpc);
    Some(Abort { status: http.or(grpc)?, percentage })
}

fn grpc_status(place: &Place<'_>) -> Option<u32> {
    let text = place.text()?;
    let code = GRPC.iter().position(|name| *name == text).or_else(|| text.parse().ok().filter(|code| *code <= 16));
    if code.is_none() {
        place.suggest(format!("{text:?} is no gRPC status"), closest(&text, GRPC.into_iter()));
    }
    code.and_then(|code| u32::try_from(code).ok())
}

/// `mirror` with its percentage, or the list `mirrors`.
pub(super) fn mirrors(o: &Object<'_>) -> Vec<Mirror> {
    o.at_most_one(&["mirror", "mirrors"]);
    o.deprecated("mirrorPercent", "mirrorPercentage");
    let old = o.field("mirrorPercent").and_then(|place| place.within(0, 100)).map(|percent| Percent(percent as f64));
    let percentage = o.percent("mirrorPercentage").or(old).unwrap_or(Percent::ALL);
    let single = o.read("mirror", destination).map(|destination| Mirror { destination, percentage });
    let many = o.each("mirrors", |place| {
        place.object(|o| Mirror {
            destination: o.required("destination").and_then(|place| destination(&place)).unwrap_or_default(),
            percentage: o.percent("percentage").unwrap_or(Percent::ALL),
        })
    });
    single.into_iter().chain(many).collect()
}

pub(super) fn cors(o: &Object<'_>) -> Cors {
    const PREFLIGHTS: [(&str, UnmatchedPreflights); 3] = [
        ("UNSPECIFIED", UnmatchedPreflights::Forward),
        ("FORWARD", UnmatchedPreflights::Forward),
        ("IGNORE", UnmatchedPreflights::Ignore),
    ];
    o.deprecated("allowOrigin", "allowOrigins");
    let old = o.texts("allowOrigin");
    let origins = o.each("allowOrigins", |place| {
        let origin = place.string_match(false)?;
        if origin == StringMatch::Exact(String::new()) {
            place.error("must not be empty");
        }
        Some(origin)
    });
    let old = old.into_iter().filter(|_| !o.has("allowOrigins"));
    let any = |text| {
        if text == "*" { Pattern::new(".*").ok().map(StringMatch::Regex) } else { Some(StringMatch::Exact(text)) }
    };
    Cors {
        allow_origins: old.filter_map(any).chain(origins).collect(),
        allow_methods: o.each("allowMethods", method),
        allow_headers: o.texts("allowHeaders"),
        expose_headers: o.texts("exposeHeaders"),
        max_age: o.read("maxAge", max_age),
        allow_credentials: o.flag_if_set("allowCredentials"),
        unmatched_preflights: o.choice("unmatchedPreflights", &PREFLIGHTS).unwrap_or_default(),
    }
}

fn method(place: &Place<'_>) -> Option<String> {
    const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];
    let text = place.text()?;
    if !METHODS.contains(&text.as_str()) {
        place.suggest(format!("{text:?} is no HTTP method"), closest(&text, METHODS.into_iter()));
    }
    Some(text)
}

fn max_age(place: &Place<'_>) -> Option<std::time::Duration> {
    let age = place.duration_or_zero()?;
    if age.subsec_nanos() != 0 {
        place.error("must be in whole seconds");
    }
    Some(age)
}
