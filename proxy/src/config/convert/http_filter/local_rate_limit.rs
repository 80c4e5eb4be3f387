//! Limits on requests that the proxy keeps by itself.

use std::sync::Arc;

use api::envoy::extensions::common::ratelimit::v3 as common;
use api::envoy::extensions::filters::http::local_ratelimit::v3 as wire;

use super::super::network_filter::token_rate;
use super::super::{basics, mutation, rate_limit};
use crate::config::error::{At, ConfigError};
use crate::config::{Fraction, HeaderMutation};
use crate::filter::local_rate_limit::{Buckets, LocalRateLimit};
use crate::token_bucket::TokenRate;

pub fn convert(wire: &wire::LocalRateLimit, at: &At<'_>) -> Result<Arc<LocalRateLimit>, ConfigError> {
    if wire.stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").missing());
    }
    if wire.stage > 10 {
        return Err(at.field("stage").refuse(wire.stage, "is at most 10"));
    }
    if wire.vh_rate_limits != common::VhRateLimitsOptions::Override as i32 {
        return Err(at.field("vh_rate_limits").refuse(wire.vh_rate_limits, "only OVERRIDE is supported"));
    }
    let bucket = at.field("token_bucket");
    let default = wire.token_bucket.as_ref().map(|wire| token_rate(wire, &bucket)).transpose()?;
    let enabled = share(wire.filter_enabled.as_ref(), &at.field("filter_enabled"))?;
    if default.is_none() && enabled.0 > 0 && wire.descriptors.is_empty() {
        return Err(bucket.missing());
    }
    let status = wire.status.map_or(429, |status| status.code);
    let added = mutation::lists((&wire.request_headers_to_add_when_not_enforced, &[]), (&[], &[]), at)?;
    Ok(Arc::new(LocalRateLimit {
        stat_prefix: wire.stat_prefix.clone(),
        // A status that is no error would not tell that the request was turned away.
        status: u16::try_from(status).ok().filter(|status| (400..600).contains(status)).unwrap_or(429),
        buckets: Buckets::new(default, descriptors(wire, &at.field("descriptors"))?),
        enabled,
        enforced: share(wire.filter_enforced.as_ref(), &at.field("filter_enforced"))?,
        when_limited: mutation::lists((&[], &[]), (&wire.response_headers_to_add, &[]), at)?,
        when_not_enforced: HeaderMutation { request_add: added.request_add, ..HeaderMutation::default() },
        rate_limits: rate_limit::of_filter(&wire.rate_limits, &at.field("rate_limits"))?,
        stage: wire.stage,
        per_connection: wire.local_rate_limit_per_downstream_connection,
        x_headers: wire.enable_x_ratelimit_headers == common::XRateLimitHeadersRfcVersion::DraftVersion03 as i32,
        always_default: wire.always_consume_default_token_bucket != Some(false),
        resource_exhausted: wire.rate_limited_as_resource_exhausted,
    }))
}

/// Absent is none, as in Envoy.
fn share(
    wire: Option<&api::envoy::config::core::v3::RuntimeFractionalPercent>,
    at: &At<'_>,
) -> Result<Fraction, ConfigError> {
    Ok(basics::runtime_fraction(wire, at)?.unwrap_or(Fraction(0)))
}

type Entries = Vec<(String, String)>;

fn descriptors(wire: &wire::LocalRateLimit, at: &At<'_>) -> Result<Vec<(Entries, TokenRate)>, ConfigError> {
    let one = |(index, wire): (usize, &common::LocalRateLimitDescriptor)| {
        let at = at.index(index);
        if wire.entries.is_empty() {
            return Err(at.field("entries").missing());
        }
        if wire.entries.iter().any(|entry| entry.value.is_empty()) {
            return Err(at
                .field("entries")
                .refuse("an entry without a value", "a bucket for each value is not supported"));
        }
        let bucket = at.field("token_bucket");
        let rate = token_rate(wire.token_bucket.as_ref().ok_or_else(|| bucket.missing())?, &bucket)?;
        let entries = wire.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        Ok((entries, rate))
    };
    wire.descriptors.iter().enumerate().map(one).collect()
}
