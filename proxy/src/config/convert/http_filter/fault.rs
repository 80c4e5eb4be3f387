//! Injected faults.

use api::envoy::extensions::filters::common::fault::v3 as common;
use api::envoy::extensions::filters::http::fault::v3 as wire;
use api::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use common::{fault_delay::FaultDelaySecifier, fault_rate_limit::LimitType};
use wire::fault_abort::ErrorType;

use super::super::{basics, route_match};
use crate::config::Fraction;
use crate::config::error::{At, ConfigError};
use crate::filter::fault::{Abort, Active, Delay, Fault, Rate, Share};

/// There is no runtime that the `_runtime` keys could be set in, so that they say nothing.
pub fn convert(wire: &wire::HttpFault, at: &At<'_>) -> Result<Fault, ConfigError> {
    Ok(Fault {
        delay: delay(wire, &at.field("delay"))?,
        abort: abort(wire, &at.field("abort"))?,
        abort_body: wire.abort.as_ref().map(|abort| abort.response_body.clone()).unwrap_or_default(),
        response_rate: rate(wire, &at.field("response_rate_limit"))?,
        cluster: wire.upstream_cluster.clone(),
        headers: route_match::headers(&wire.headers, &at.field("headers"))?,
        nodes: wire.downstream_nodes.clone(),
        most_active: wire.max_active_faults.map(u64::from),
        active: Active::default(),
    })
}

fn delay(wire: &wire::HttpFault, at: &At<'_>) -> Result<Option<(Delay, Share)>, ConfigError> {
    let Some(wire) = &wire.delay else { return Ok(None) };
    let delay = match &wire.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(fixed)) => {
            Delay::Fixed(basics::duration(Some(fixed), std::time::Duration::ZERO, &at.field("fixed_delay"))?)
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => Delay::Header,
        None => return Err(at.field("fixed_delay").missing()),
    };
    Ok(Some((delay, share(wire.percentage.as_ref(), at)?)))
}

fn abort(wire: &wire::HttpFault, at: &At<'_>) -> Result<Option<(Abort, Share)>, ConfigError> {
    let Some(wire) = &wire.abort else { return Ok(None) };
    let abort = match wire.error_type {
        Some(ErrorType::HttpStatus(status)) => match u16::try_from(status) {
            Ok(status @ 200..=599) => Abort::Http(status),
            _ => return Err(at.field("http_status").refuse(status, "is from 200 to 599")),
        },
        Some(ErrorType::GrpcStatus(status)) => Abort::Grpc(status),
        Some(ErrorType::HeaderAbort(_)) => Abort::Header,
        None => return Err(at.field("http_status").missing()),
    };
    Ok(Some((abort, share(wire.percentage.as_ref(), at)?)))
}

fn rate(wire: &wire::HttpFault, at: &At<'_>) -> Result<Option<(Rate, Share)>, ConfigError> {
    let Some(wire) = &wire.response_rate_limit else { return Ok(None) };
    let rate = match &wire.limit_type {
        Some(LimitType::FixedLimit(fixed)) if fixed.limit_kbps == 0 => {
            return Err(at.field("fixed_limit").field("limit_kbps").refuse(0, "is at least 1"));
        }
        Some(LimitType::FixedLimit(fixed)) => Rate::Fixed(fixed.limit_kbps),
        Some(LimitType::HeaderLimit(_)) => Rate::Header,
        None => return Err(at.field("fixed_limit").missing()),
    };
    Ok(Some((rate, share(wire.percentage.as_ref(), at)?)))
}

/// Absent is none, as in Envoy.
fn share(wire: Option<&FractionalPercent>, at: &At<'_>) -> Result<Share, ConfigError> {
    let Some(wire) = wire else { return Ok(Share { most: Fraction(0), unit: 0 }) };
    let unit = match DenominatorType::try_from(wire.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        _ => 1,
    };
    Ok(Share { most: basics::fraction(wire, &at.field("percentage"))?, unit })
}
