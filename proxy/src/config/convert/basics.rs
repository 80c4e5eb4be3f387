//! Values that many messages share: durations, addresses, shares, data sources, packed messages.

use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::r#type::v3 as kinds;
use api::prost::Name;
use api::prost_types::Any;
use ipnet::IpNet;

use super::ReadFile;
use crate::config::error::{At, ConfigError};
use crate::config::{EndpointAddress, Fraction};

pub(super) type Wire = api::prost_types::Duration;

pub(super) fn duration(wire: Option<&Wire>, default: Duration, at: &At<'_>) -> Result<Duration, ConfigError> {
    Ok(maybe_duration(wire, at)?.unwrap_or(default))
}

pub(super) fn maybe_duration(wire: Option<&Wire>, at: &At<'_>) -> Result<Option<Duration>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    Duration::try_from(*wire).map(Some).map_err(|_| at.refuse(wire, "a duration is not negative"))
}

pub(super) fn unpack<M: Name + Default>(any: &Any, at: &At<'_>) -> Result<M, ConfigError> {
    if !is_a::<M>(any) {
        return Err(at.refuse(&any.type_url, format!("{} is expected here", M::full_name())));
    }
    M::decode(any.value.as_slice()).map_err(|error| at.refuse(&any.type_url, error.to_string()))
}

pub(super) fn is_a<M: Name>(any: &Any) -> bool {
    any.type_url.rsplit('/').next() == Some(&M::full_name())
}

pub(super) fn port(number: u32, at: &At<'_>) -> Result<u16, ConfigError> {
    u16::try_from(number).map_err(|_| at.refuse(number, "a port is at most 65535"))
}

/// Addresses that begin with the same bits; those that are not of the prefix are dropped.
pub(super) fn range(wire: &core::CidrRange, at: &At<'_>) -> Result<IpNet, ConfigError> {
    let text = format!("{}/{}", wire.address_prefix, wire.prefix_len.unwrap_or(0));
    text.parse::<IpNet>().map(|range| range.trunc()).map_err(|error| at.refuse(&text, error.to_string()))
}

pub(super) fn address(wire: Option<&core::Address>, at: &At<'_>) -> Result<EndpointAddress, ConfigError> {
    use core::address::Address;
    use core::socket_address::{PortSpecifier, Protocol};
    match wire.and_then(|wire| wire.address.as_ref()) {
        None => Err(at.missing()),
        Some(Address::Pipe(pipe)) if !pipe.path.is_empty() => Ok(EndpointAddress::Unix(pipe.path.clone())),
        Some(Address::Pipe(_)) => Err(at.field("pipe").field("path").missing()),
        Some(Address::EnvoyInternalAddress(_)) => Err(at.refuse("internal address", "is not supported")),
        Some(Address::SocketAddress(socket)) => {
            let at = at.field("socket_address");
            if socket.protocol != Protocol::Tcp as i32 {
                return Err(at.field("protocol").refuse("UDP", "only TCP is supported"));
            }
            let Some(PortSpecifier::PortValue(number)) = socket.port_specifier else {
                return Err(at.field("port_value").missing());
            };
            let port = port(number, &at.field("port_value"))?;
            match socket.address.parse() {
                Ok(ip) => Ok(EndpointAddress::Socket(std::net::SocketAddr::new(ip, port))),
                Err(_) if socket.address.is_empty() => Err(at.field("address").missing()),
                Err(_) => Ok(EndpointAddress::Name(socket.address.clone(), port)),
            }
        }
    }
}

pub(super) fn fraction(wire: &kinds::FractionalPercent, at: &At<'_>) -> Result<Fraction, ConfigError> {
    use kinds::fractional_percent::DenominatorType;
    let scale = match DenominatorType::try_from(wire.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return Err(at.field("denominator").refuse(wire.denominator, "is not known")),
    };
    Ok(Fraction(wire.numerator.saturating_mul(scale).min(1_000_000)))
}

/// A share of requests; absent is all of them. There is no runtime to override it, so its key says nothing.
pub(super) fn runtime_fraction(
    wire: Option<&core::RuntimeFractionalPercent>,
    at: &At<'_>,
) -> Result<Option<Fraction>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let at = at.field("default_value");
    wire.default_value.as_ref().map(|value| fraction(value, &at)).transpose()
}

/// The status of an answer made here.
pub(super) fn http_status(wire: Option<&kinds::HttpStatus>, default: u16, at: &At<'_>) -> Result<u16, ConfigError> {
    let Some(wire) = wire else { return Ok(default) };
    let status = u16::try_from(wire.code).ok().filter(|status| (200..=599).contains(status));
    status.ok_or_else(|| at.field("code").refuse(wire.code, "is from 200 to 599"))
}

/// Without a reader, files are refused.
pub(super) fn data_source(
    wire: &core::DataSource,
    at: &At<'_>,
    read_file: Option<ReadFile<'_>>,
) -> Result<Vec<u8>, ConfigError> {
    use core::data_source::Specifier;
    match (&wire.specifier, read_file) {
        (Some(Specifier::InlineString(text)), _) => Ok(text.clone().into_bytes()),
        (Some(Specifier::InlineBytes(bytes)), _) => Ok(bytes.clone()),
        (Some(Specifier::Filename(path)), Some(read)) => {
            read(path).map_err(|error| at.field("filename").refuse(path, format!("cannot be read: {error}")))
        }
        (Some(Specifier::Filename(path)), None) => Err(at.field("filename").refuse(path, "give the text inline")),
        (Some(Specifier::EnvironmentVariable(name)), _) => {
            Err(at.field("environment_variable").refuse(name, "is not supported"))
        }
        (None, _) => Err(at.missing()),
    }
}
