//! Retry policies.

use std::num::NonZeroU32;
use std::time::Duration;

use api::envoy::config::route::v3 as wire;
use api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use api::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use wire::retry_policy::{RetryHostPredicate, RetryPriority, retry_host_predicate::ConfigType, retry_priority};

use super::{basics, route_match};
use crate::config::error::{At, ConfigError};
use crate::route::{BackOff, RetryOn, RetryPolicy};

pub(super) fn convert(wire: &wire::RetryPolicy, at: &At<'_>) -> Result<RetryPolicy, ConfigError> {
    let retry_on = RetryOn::parse(&wire.retry_on)
        .map_err(|unknown| at.field("retry_on").refuse(unknown, "is not a condition that this proxy knows"))?;
    let codes = at.field("retriable_status_codes");
    let code = |(index, code): (usize, &u32)| {
        u16::try_from(*code).map_err(|_| codes.index(index).refuse(code, "is not a status"))
    };
    let time = |value: &Option<_>, name| basics::duration(Option::as_ref(value), Duration::ZERO, &at.field(name));
    Ok(RetryPolicy {
        retry_on,
        num_retries: wire.num_retries.unwrap_or(1),
        per_try_timeout: time(&wire.per_try_timeout, "per_try_timeout")?,
        per_try_idle_timeout: time(&wire.per_try_idle_timeout, "per_try_idle_timeout")?,
        back_off: back_off(wire.retry_back_off.as_ref(), &at.field("retry_back_off"))?,
        retriable_status_codes: wire.retriable_status_codes.iter().enumerate().map(code).collect::<Result<_, _>>()?,
        retriable_headers: route_match::headers(&wire.retriable_headers, &at.field("retriable_headers"))?,
        retriable_request_headers: route_match::headers(
            &wire.retriable_request_headers,
            &at.field("retriable_request_headers"),
        )?,
        avoid_previous_hosts: previous_hosts(&wire.retry_host_predicate, &at.field("retry_host_predicate"))?,
        host_selection_attempts: host_selection_attempts(wire.host_selection_retry_max_attempts, at)?,
        leave_priorities_after: previous_priorities(wire.retry_priority.as_ref(), &at.field("retry_priority"))?,
    })
}

fn host_selection_attempts(wire: i64, at: &At<'_>) -> Result<u32, ConfigError> {
    let at = at.field("host_selection_retry_max_attempts");
    u32::try_from(wire).map(|attempts| attempts.max(1)).map_err(|_| at.refuse(wire, "is not negative"))
}

fn back_off(wire: Option<&wire::retry_policy::RetryBackOff>, at: &At<'_>) -> Result<BackOff, ConfigError> {
    let Some(wire) = wire else { return Ok(BackOff::default()) };
    let base_at = at.field("base_interval");
    let base = basics::maybe_duration(wire.base_interval.as_ref(), &base_at)?;
    let base = base.filter(|base| !base.is_zero()).ok_or_else(|| base_at.missing())?;
    let max_at = at.field("max_interval");
    let max = basics::duration(wire.max_interval.as_ref(), base.saturating_mul(10), &max_at)?;
    if max < base {
        return Err(max_at.refuse(format_args!("{max:?}"), "is not less than `base_interval`"));
    }
    Ok(BackOff { base, max })
}

fn previous_hosts(wire: &[RetryHostPredicate], at: &At<'_>) -> Result<bool, ConfigError> {
    for (index, predicate) in wire.iter().enumerate() {
        match &predicate.config_type {
            Some(ConfigType::TypedConfig(any)) if basics::is_a::<PreviousHostsPredicate>(any) => {}
            _ => return Err(at.index(index).refuse(&predicate.name, "only previous_hosts is supported")),
        }
    }
    Ok(!wire.is_empty())
}

fn previous_priorities(wire: Option<&RetryPriority>, at: &At<'_>) -> Result<Option<NonZeroU32>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let config: PreviousPrioritiesConfig = match &wire.config_type {
        Some(retry_priority::ConfigType::TypedConfig(any)) if basics::is_a::<PreviousPrioritiesConfig>(any) => {
            basics::unpack(any, &at.field("typed_config"))?
        }
        _ => return Err(at.refuse(&wire.name, "only previous_priorities is supported")),
    };
    let frequency = u32::try_from(config.update_frequency).ok().and_then(NonZeroU32::new);
    let at = at.field("typed_config.update_frequency");
    frequency.map(Some).ok_or_else(|| at.refuse(config.update_frequency, "is not greater than 0"))
}
