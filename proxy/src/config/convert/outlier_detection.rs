//! Outlier detection.

use std::time::Duration;

use api::envoy::config::cluster::v3 as wire;

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::config::{FailurePercentage, OutlierDetection, SuccessRate};

pub(super) fn convert(
    wire: Option<&wire::OutlierDetection>,
    at: &At<'_>,
) -> Result<Option<OutlierDetection>, ConfigError> {
    let Some(of) = wire else { return Ok(None) };
    let time = |value: &Option<_>, seconds, name| {
        basics::duration(Option::as_ref(value), Duration::from_secs(seconds), &at.field(name))
    };
    let percent = |value: Option<u32>, default, name| match value.unwrap_or(default) {
        percent @ 0..=100 => Ok(percent),
        more => Err(at.field(name).refuse(more, "is at most 100")),
    };
    let base = time(&of.base_ejection_time, 30, "base_ejection_time")?;
    let local =
        percent(of.enforcing_consecutive_local_origin_failure, 100, "enforcing_consecutive_local_origin_failure")?;
    Ok(Some(OutlierDetection {
        consecutive_5xx: (
            of.consecutive_5xx.unwrap_or(5),
            percent(of.enforcing_consecutive_5xx, 100, "enforcing_consecutive_5xx")?,
        ),
        consecutive_gateway_failure: (
            of.consecutive_gateway_failure.unwrap_or(5),
            percent(of.enforcing_consecutive_gateway_failure, 0, "enforcing_consecutive_gateway_failure")?,
        ),
        consecutive_local_origin_failure: (of.consecutive_local_origin_failure.unwrap_or(5), local),
        split_external_local_origin_errors: of.split_external_local_origin_errors,
        interval: time(&of.interval, 10, "interval")?,
        base_ejection_time: base,
        max_ejection_time: time(&of.max_ejection_time, 300, "max_ejection_time")?.max(base),
        max_ejection_time_jitter: time(&of.max_ejection_time_jitter, 0, "max_ejection_time_jitter")?,
        max_ejection_percent: percent(of.max_ejection_percent, 10, "max_ejection_percent")?,
        always_eject_one_host: of.always_eject_one_host == Some(true),
        readmit_on_passed_check: of.successful_active_health_check_uneject_host != Some(false),
        success_rate: SuccessRate {
            enforcing: percent(of.enforcing_success_rate, 100, "enforcing_success_rate")?,
            enforcing_local_origin: percent(
                of.enforcing_local_origin_success_rate,
                100,
                "enforcing_local_origin_success_rate",
            )?,
            minimum_hosts: of.success_rate_minimum_hosts.unwrap_or(5),
            request_volume: of.success_rate_request_volume.unwrap_or(100),
            stdev_factor: of.success_rate_stdev_factor.unwrap_or(1900),
        },
        failure_percentage: FailurePercentage {
            threshold: percent(of.failure_percentage_threshold, 85, "failure_percentage_threshold")?,
            enforcing: percent(of.enforcing_failure_percentage, 0, "enforcing_failure_percentage")?,
            enforcing_local_origin: percent(
                of.enforcing_failure_percentage_local_origin,
                0,
                "enforcing_failure_percentage_local_origin",
            )?,
            minimum_hosts: of.failure_percentage_minimum_hosts.unwrap_or(5),
            request_volume: of.failure_percentage_request_volume.unwrap_or(50),
        },
    }))
}
