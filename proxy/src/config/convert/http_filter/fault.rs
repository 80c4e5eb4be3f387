//! Injected faults.

use api::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use api::envoy::extensions::filters::http::fault::v3 as wire;
use wire::fault_abort::ErrorType;

use super::super::basics;
use crate::config::Fraction;
use crate::config::error::{At, ConfigError};
use crate::filter::fault::{Abort, Fault};

pub fn convert(wire: &wire::HttpFault, at: &At<'_>) -> Result<Fault, ConfigError> {
    Ok(Fault { delay: delay(wire, &at.field("delay"))?, abort: abort(wire, &at.field("abort"))? })
}

fn delay(wire: &wire::HttpFault, at: &At<'_>) -> Result<Option<(std::time::Duration, Fraction)>, ConfigError> {
    let Some(delay) = &wire.delay else { return Ok(None) };
    let Some(FaultDelaySecifier::FixedDelay(fixed)) = &delay.fault_delay_secifier else {
        return Err(at.field("fixed_delay").missing());
    };
    let fixed = basics::duration(Some(fixed), std::time::Duration::ZERO, &at.field("fixed_delay"))?;
    Ok(Some((fixed, percentage(delay.percentage.as_ref(), at)?)))
}

fn abort(wire: &wire::HttpFault, at: &At<'_>) -> Result<Option<(Abort, Fraction)>, ConfigError> {
    let Some(abort) = &wire.abort else { return Ok(None) };
    let kind = match abort.error_type {
        Some(ErrorType::HttpStatus(status)) => match u16::try_from(status) {
            Ok(status @ 200..=599) => Abort::Http(status),
            _ => return Err(at.field("http_status").refuse(status, "is from 200 to 599")),
        },
        Some(ErrorType::GrpcStatus(status)) => Abort::Grpc(status),
        _ => return Err(at.field("http_status").missing()),
    };
    Ok(Some((kind, percentage(abort.percentage.as_ref(), at)?)))
}

/// Absent is none, as in Envoy.
fn percentage(wire: Option<&api::envoy::r#type::v3::FractionalPercent>, at: &At<'_>) -> Result<Fraction, ConfigError> {
    wire.map_or(Ok(Fraction(0)), |wire| basics::fraction(wire, &at.field("percentage")))
}
