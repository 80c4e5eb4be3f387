//! Services that filters call over gRPC.

use std::time::Duration;

use api::envoy::config::core::v3 as wire;
use wire::grpc_service::TargetSpecifier;

use super::basics;
use crate::access_log::Format;
use crate::config::error::{At, ConfigError};
use crate::filter::grpc::GrpcService;
use crate::http::headers::is_token;

/// `timeout` is that of a service which sets none.
pub(super) fn convert(
    wire: Option<&wire::GrpcService>,
    timeout: Duration,
    at: &At<'_>,
) -> Result<GrpcService, ConfigError> {
    let wire = wire.ok_or_else(|| at.missing())?;
    let Some(TargetSpecifier::EnvoyGrpc(target)) = &wire.target_specifier else {
        return Err(at.field("envoy_grpc").missing());
    };
    let place = at.field("envoy_grpc");
    if target.cluster_name.is_empty() {
        return Err(place.field("cluster_name").missing());
    }
    let authority = if target.authority.is_empty() { &target.cluster_name } else { &target.authority };
    let metadata = at.field("initial_metadata");
    let initial = wire.initial_metadata.iter().enumerate().map(|(index, one)| initial(one, &metadata.index(index)));
    Ok(GrpcService {
        cluster: target.cluster_name.clone(),
        authority: authority.clone(),
        timeout: basics::duration(wire.timeout.as_ref(), timeout, &at.field("timeout"))?,
        initial_metadata: initial.collect::<Result<_, _>>()?,
    })
}

fn initial(wire: &wire::HeaderValue, at: &At<'_>) -> Result<(String, Format), ConfigError> {
    let name = wire.key.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(is_token) || name.starts_with("grpc-") {
        return Err(at.field("key").refuse(&wire.key, "is not the name of metadata"));
    }
    let format = Format::parse(&wire.value);
    Ok((name, format.map_err(|error| at.field("value").refuse(&wire.value, error.to_string()))?))
}

/// Only messages of version 3 are spoken.
pub(super) fn transport_version(wire: i32, at: &At<'_>) -> Result<(), ConfigError> {
    if wire == wire::ApiVersion::V3 as i32 { Ok(()) } else { Err(at.refuse(wire, "write V3")) }
}
