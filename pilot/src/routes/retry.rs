//! Retries: Istio's defaults, or what the rule says.

use std::time::Duration;

use api::envoy::config::route::v3 as route;
use api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use galley::kinds::Retries;
use route::retry_policy::{RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority};

use crate::wire;

const DEFAULT_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const DEFAULT_ATTEMPTS: u32 = 2;
/// How often another endpoint is looked for when one that failed is picked again.
const REPICKS: i64 = 5;
/// So many tries stay with the localities that are preferred (Istio's figure).
const TRIES_AT_HOME: i32 = 2;

/// `None` where retries are off. With consistent hashing the endpoint stays the one that the hash picks. Where localities
/// fail over to each other, a request does too unless `retryRemoteLocalities` is false; Istio wants it written down.
pub(crate) fn compile(of: Option<&Retries>, hashed: bool, fails_over: bool) -> Option<route::RetryPolicy> {
    let attempts = of.map_or(DEFAULT_ATTEMPTS, |retries| retries.attempts);
    if attempts == 0 {
        return None;
    }
    let elsewhere = !hashed && of.is_none_or(|retries| retries.ignore_previous_hosts);
    let abroad = of.and_then(|retries| retries.remote_localities).unwrap_or(fails_over && !hashed);
    let (retry_on, codes) = conditions(of.map_or("", |retries| &retries.retry_on));
    Some(route::RetryPolicy {
        retry_on,
        num_retries: Some(attempts),
        per_try_timeout: of.and_then(|retries| retries.per_try_timeout).map(wire::duration),
        retry_host_predicate: elsewhere.then(previous_hosts).into_iter().collect(),
        host_selection_retry_max_attempts: if elsewhere { REPICKS } else { 0 },
        retry_priority: abroad.then(previous_priorities),
        retriable_status_codes: codes,
        retry_back_off: of.and_then(|retries| retries.backoff).map(back_off),
        ..Default::default()
    })
}

/// Status codes stand among the conditions; Envoy wants them apart.
fn conditions(written: &str) -> (String, Vec<u32>) {
    if written.is_empty() {
        return (DEFAULT_ON.to_owned(), Vec::new());
    }
    let (mut names, mut codes) = (Vec::new(), Vec::new());
    for part in written.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse() {
            Ok(code) => codes.push(code),
            Err(_) => names.push(part),
        }
    }
    if !codes.is_empty() && !names.contains(&"retriable-status-codes") {
        names.push("retriable-status-codes");
    }
    (names.join(","), codes)
}

fn previous_hosts() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(api::any(&PreviousHostsPredicate {}))),
    }
}

fn previous_priorities() -> RetryPriority {
    let config = PreviousPrioritiesConfig { update_frequency: TRIES_AT_HOME };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".into(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(api::any(&config))),
    }
}

fn back_off(base: Duration) -> RetryBackOff {
    RetryBackOff { base_interval: Some(wire::duration(base)), max_interval: None }
}
