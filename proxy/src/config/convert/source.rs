//! Sources of resources, and the dynamic resources of a bootstrap file.

use std::path::PathBuf;
use std::time::Duration;

use api::envoy::config::bootstrap::v3::bootstrap::DynamicResources as WireDynamic;
use api::envoy::config::core::v3 as wire;
use api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use api::envoy::config::core::v3::{ApiVersion, api_config_source::ApiType};
use wire::config_source::ConfigSourceSpecifier;

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::config::{Ads, DynamicResources, FileSource, ResourceSource, Source};

/// Envoy's default of `initial_fetch_timeout`.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

#[expect(deprecated, reason = "bootstrap files that are about still say `path`")]
pub(super) fn convert(wire: Option<&wire::ConfigSource>, at: &At<'_>) -> Result<ResourceSource, ConfigError> {
    let wire = wire.ok_or_else(|| at.missing())?;
    version(wire.resource_api_version, &at.field("resource_api_version"))?;
    let wait = at.field("initial_fetch_timeout");
    let wait = basics::duration(wire.initial_fetch_timeout.as_ref(), FETCH_TIMEOUT, &wait)?;
    let from = match wire.config_source_specifier.as_ref().ok_or_else(|| at.missing())? {
        ConfigSourceSpecifier::Ads(_) => Source::Ads,
        ConfigSourceSpecifier::Self_(_) => Source::Same,
        ConfigSourceSpecifier::Path(path) => Source::File(file(path, None, &at.field("path"))?),
        ConfigSourceSpecifier::PathConfigSource(wire) => {
            let at = at.field("path_config_source");
            Source::File(file(&wire.path, wire.watched_directory.as_ref(), &at.field("path"))?)
        }
        ConfigSourceSpecifier::ApiConfigSource(_) => {
            let rule = "is not supported; give the server in dynamic_resources.ads_config, and `ads: {}` here";
            return Err(at.field("api_config_source").refuse("a server", rule));
        }
    };
    Ok(ResourceSource { from, fetch_timeout: Some(wait).filter(|wait| !wait.is_zero()) })
}

fn version(wire: i32, at: &At<'_>) -> Result<(), ConfigError> {
    match ApiVersion::try_from(wire) {
        Ok(ApiVersion::Auto | ApiVersion::V3) => Ok(()),
        _ => Err(at.refuse("V2", "only V3 is spoken; say `V3`")),
    }
}

/// A text form that protobuf alone knows is not read.
fn file(path: &str, watched: Option<&wire::WatchedDirectory>, at: &At<'_>) -> Result<FileSource, ConfigError> {
    if path.is_empty() {
        return Err(at.missing());
    }
    if path.ends_with(".pb_text") || path.ends_with(".textproto") {
        return Err(at.refuse(path, "is read as YAML, JSON (.json) or binary protobuf (.pb)"));
    }
    let watched_directory = watched.map(|watched| PathBuf::from(&watched.path));
    Ok(FileSource { path: path.into(), watched_directory })
}

pub(super) fn dynamic(wire: Option<&WireDynamic>, at: &At<'_>) -> Result<DynamicResources, ConfigError> {
    let Some(wire) = wire else { return Ok(DynamicResources::default()) };
    let source = |wire: &Option<wire::ConfigSource>, name| {
        let at = at.field(name);
        let source = wire.as_ref().map(|wire| convert(Some(wire), &at)).transpose()?;
        match source {
            Some(ResourceSource { from: Source::Same, .. }) => {
                Err(at.field("self").refuse("set", "is for resources that came over ADS; say `ads: {}`"))
            }
            source => Ok(source),
        }
    };
    Ok(DynamicResources {
        ads: wire.ads_config.as_ref().map(|wire| ads(wire, &at.field("ads_config"))).transpose()?,
        listeners: source(&wire.lds_config, "lds_config")?,
        clusters: source(&wire.cds_config, "cds_config")?,
    })
}

fn ads(wire: &wire::ApiConfigSource, at: &At<'_>) -> Result<Ads, ConfigError> {
    let kind = at.field("api_type");
    let incremental = match ApiType::try_from(wire.api_type) {
        Ok(ApiType::Grpc) => false,
        Ok(ApiType::DeltaGrpc) => true,
        Ok(other) => return Err(kind.refuse(other.as_str_name(), "GRPC and DELTA_GRPC are supported")),
        Err(_) => return Err(kind.refuse(wire.api_type, "is not known")),
    };
    if wire.transport_api_version != ApiVersion::V3 as i32 {
        let at = at.field("transport_api_version");
        return Err(at.refuse("not V3", "only V3 is spoken; say `transport_api_version: V3`"));
    }
    let services = at.field("grpc_services");
    let [service] = wire.grpc_services.as_slice() else {
        return Err(services.refuse(format_args!("{} services", wire.grpc_services.len()), "exactly one is given"));
    };
    let service_at = services.index(0);
    if service.timeout.is_some() {
        return Err(service_at.field("timeout").refuse("set", "a stream to the server lasts for as long as it can"));
    }
    let Some(TargetSpecifier::EnvoyGrpc(grpc)) = &service.target_specifier else {
        return Err(service_at.field("envoy_grpc").missing());
    };
    Ok(Ads {
        incremental,
        cluster: cluster(grpc, &service_at.field("envoy_grpc"))?,
        authority: if grpc.authority.is_empty() { grpc.cluster_name.clone() } else { grpc.authority.clone() },
        metadata: metadata(&service.initial_metadata, &service_at.field("initial_metadata"))?,
        node_on_first_message_only: wire.set_node_on_first_message_only,
    })
}

fn cluster(wire: &EnvoyGrpc, at: &At<'_>) -> Result<String, ConfigError> {
    if wire.cluster_name.is_empty() { Err(at.field("cluster_name").missing()) } else { Ok(wire.cluster_name.clone()) }
}

fn metadata(wire: &[wire::HeaderValue], at: &At<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let one = |(index, header): (usize, &wire::HeaderValue)| {
        let at = at.index(index);
        if header.value.contains('%') {
            return Err(at.field("value").refuse(&header.value, "format strings are not supported here"));
        }
        let name = header.key.to_ascii_lowercase();
        let valid = http::HeaderName::try_from(&name).is_ok() && !name.ends_with("-bin");
        if !valid || !header.value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(at.field("key").refuse(&header.key, "is a header with a value in ASCII"));
        }
        Ok((name, header.value.clone()))
    };
    wire.iter().enumerate().map(one).collect()
}
