//! Rate limits that a service keeps.

use std::time::Duration;

use api::envoy::extensions::filters::http::ratelimit::v3 as wire;
use wire::rate_limit::XRateLimitHeadersRfcVersion;
use wire::rate_limit_per_route::VhRateLimitsOptions;

use super::super::{basics, grpc_service, mutation, rate_limit};
use crate::config::Fraction;
use crate::config::error::{At, ConfigError};
use crate::filter::ratelimit::{OfHost, Origin, PerRoute, RateLimitFilter};

const TIMEOUT: Duration = Duration::from_millis(20);
const NAMESPACE: &str = "envoy.filters.http.ratelimit";

pub fn convert(wire: &wire::RateLimit, at: &At<'_>) -> Result<RateLimitFilter, ConfigError> {
    if wire.domain.is_empty() {
        return Err(at.field("domain").missing());
    }
    if wire.stage > 10 {
        return Err(at.field("stage").refuse(wire.stage, "is at most 10"));
    }
    let place = at.field("rate_limit_service");
    let config = wire.rate_limit_service.as_ref().ok_or_else(|| place.missing())?;
    grpc_service::transport_version(config.transport_api_version, &place.field("transport_api_version"))?;
    let timeout = basics::duration(wire.timeout.as_ref(), TIMEOUT, &at.field("timeout"))?;
    if let Some(other) = config.grpc_service.as_ref().and_then(|service| service.timeout) {
        let at = place.field("grpc_service");
        return Err(at.field("timeout").refuse(other, "the filter's own `timeout` counts"));
    }
    let mut service = grpc_service::convert(config.grpc_service.as_ref(), timeout, &place.field("grpc_service"))?;
    service.timeout = timeout;
    let share = |wire: Option<_>, name| basics::runtime_fraction(wire, &at.field(name));
    let all = Fraction(1_000_000);
    let deny = if wire.failure_mode_deny { all } else { Fraction(0) };
    let limits = rate_limit::of_filter(&wire.rate_limits, &at.field("rate_limits"))?;
    Ok(RateLimitFilter {
        service,
        domain: wire.domain.clone(),
        stage: wire.stage,
        origin: origin(&wire.request_type, &at.field("request_type"))?,
        failure_deny: share(wire.failure_mode_deny_percent.as_ref(), "failure_mode_deny_percent")?.unwrap_or(deny),
        enabled: share(wire.filter_enabled.as_ref(), "filter_enabled")?.unwrap_or(all),
        enforced: share(wire.filter_enforced.as_ref(), "filter_enforced")?.unwrap_or(all),
        resource_exhausted: wire.rate_limited_as_resource_exhausted,
        draft_headers: wire.enable_x_ratelimit_headers == XRateLimitHeadersRfcVersion::DraftVersion03 as i32,
        limited_header: !wire.disable_x_envoy_ratelimited_header,
        retry_after: wire.enable_retry_after_header,
        status: at_least_400(basics::http_status(
            wire.rate_limited_status.as_ref(),
            429,
            &at.field("rate_limited_status"),
        )?),
        status_on_error: basics::http_status(wire.status_on_error.as_ref(), 500, &at.field("status_on_error"))?,
        response_headers: mutation::adds(&wire.response_headers_to_add, false, &at.field("response_headers_to_add"))?,
        limits: (!limits.is_empty()).then_some(limits),
        namespace: if wire.metadata_namespace.is_empty() { NAMESPACE } else { &wire.metadata_namespace }.to_owned(),
    })
}

/// A request that is limited does not look like one that went well.
fn at_least_400(status: u16) -> u16 {
    if status < 400 { 429 } else { status }
}

fn origin(wire: &str, at: &At<'_>) -> Result<Origin, ConfigError> {
    match wire {
        "" | "both" => Ok(Origin::Both),
        "internal" => Ok(Origin::Internal),
        "external" => Ok(Origin::External),
        other => Err(at.refuse(other, "is `internal`, `external` or `both`")),
    }
}

/// What a route, virtual host, weighted cluster or table sets.
pub fn per_route(wire: &wire::RateLimitPerRoute, at: &At<'_>) -> Result<PerRoute, ConfigError> {
    let of_host = match VhRateLimitsOptions::try_from(wire.vh_rate_limits) {
        Ok(VhRateLimitsOptions::Override) => OfHost::UnlessRoute,
        Ok(VhRateLimitsOptions::Include) => OfHost::Always,
        Ok(VhRateLimitsOptions::Ignore) => OfHost::Never,
        Err(_) => return Err(at.field("vh_rate_limits").refuse(wire.vh_rate_limits, "is not known")),
    };
    let limits = rate_limit::of_filter(&wire.rate_limits, &at.field("rate_limits"))?;
    Ok(PerRoute {
        of_host,
        limits: (!limits.is_empty()).then_some(limits),
        domain: (!wire.domain.is_empty()).then(|| wire.domain.clone()),
    })
}
