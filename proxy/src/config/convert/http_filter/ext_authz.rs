//! External authorization.

use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::filters::http::ext_authz::v3 as wire;
use api::envoy::r#type::matcher::v3::ListStringMatcher;
use core::http_uri::HttpUpstreamType;
use wire::ext_authz::Services;
use wire::ext_authz_per_route::Override;

use super::super::{basics, grpc_service, matcher, rbac};
use crate::config::error::{At, ConfigError};
use crate::config::{Fraction, StringMatch};
use crate::filter::ext_authz::{BodyOverride, BodySettings, ExtAuthz, HttpService, PerRoute, Service};
use crate::http::headers::is_token;

const TIMEOUT: Duration = Duration::from_millis(200);

pub fn convert(wire: &wire::ExtAuthz, at: &At<'_>) -> Result<ExtAuthz, ConfigError> {
    grpc_service::transport_version(wire.transport_api_version, &at.field("transport_api_version"))?;
    let enabled = basics::runtime_fraction(wire.filter_enabled.as_ref(), &at.field("filter_enabled"))?;
    let place = at.field("filter_enabled_metadata");
    let enabled_where = wire.filter_enabled_metadata.as_ref().map(|wire| rbac::metadata(wire, &place));
    let deny = wire.deny_at_disable.as_ref().and_then(|flag| flag.default_value);
    Ok(ExtAuthz {
        service: service(wire.services.as_ref(), at)?,
        failure_mode_allow: wire.failure_mode_allow,
        failure_mode_allow_header: wire.failure_mode_allow_header_add,
        status_on_error: basics::http_status(wire.status_on_error.as_ref(), 403, &at.field("status_on_error"))?,
        body: maybe_body(wire.with_request_body.as_ref(), &at.field("with_request_body"))?,
        clear_route_cache: wire.clear_route_cache,
        validate_mutations: wire.validate_mutations,
        metadata_namespaces: wire.metadata_context_namespaces.clone(),
        include_peer_certificate: wire.include_peer_certificate,
        include_tls_session: wire.include_tls_session,
        allowed_headers: allowed(wire, at)?,
        disallowed_headers: list(wire.disallowed_headers.as_ref(), &at.field("disallowed_headers"))?
            .unwrap_or_default(),
        raw_headers: wire.encode_raw_headers,
        enabled: enabled.unwrap_or(Fraction(1_000_000)),
        enabled_where: enabled_where.transpose()?,
        deny_at_disable: deny == Some(true),
        ingest_metadata: wire.enable_dynamic_metadata_ingestion != Some(false),
        max_denied_body: wire.max_denied_response_body_bytes as usize,
    })
}

/// What a route, virtual host, weighted cluster or table sets.
pub fn per_route(wire: &wire::ExtAuthzPerRoute, at: &At<'_>) -> Result<PerRoute, ConfigError> {
    match &wire.r#override {
        Some(Override::Disabled(disabled)) => Ok(PerRoute::Disabled(*disabled)),
        Some(Override::CheckSettings(wire)) => {
            let at = at.field("check_settings");
            let own = maybe_body(wire.with_request_body.as_ref(), &at.field("with_request_body"))?;
            let body = match (wire.disable_request_body_buffering, own) {
                (true, Some(_)) => {
                    let at = at.field("disable_request_body_buffering");
                    return Err(at.refuse(true, "is not set together with with_request_body"));
                }
                (true, None) => BodyOverride::None,
                (false, Some(own)) => BodyOverride::Own(own),
                (false, None) => BodyOverride::Inherited,
            };
            Ok(PerRoute::Check { context_extensions: wire.context_extensions.clone(), body })
        }
        None => Err(at.field("check_settings").missing()),
    }
}

fn service(wire: Option<&Services>, at: &At<'_>) -> Result<Service, ConfigError> {
    match wire {
        Some(Services::GrpcService(wire)) => {
            grpc_service::convert(Some(wire), TIMEOUT, &at.field("grpc_service")).map(Service::Grpc)
        }
        Some(Services::HttpService(wire)) => http_service(wire, &at.field("http_service")).map(Service::Http),
        None => Err(at.field("grpc_service").missing()),
    }
}

/// The old place of `allowed_headers` counts where the new one is empty.
#[expect(deprecated, reason = "control planes in use still send the old field")]
fn allowed(wire: &wire::ExtAuthz, at: &At<'_>) -> Result<Option<Vec<StringMatch>>, ConfigError> {
    let own = list(wire.allowed_headers.as_ref(), &at.field("allowed_headers"))?;
    let Some(Services::HttpService(service)) = &wire.services else { return Ok(own) };
    let place = at.field("http_service");
    let place = place.field("authorization_request");
    let old = service.authorization_request.as_ref().and_then(|request| request.allowed_headers.as_ref());
    Ok(own.or(list(old, &place.field("allowed_headers"))?))
}

fn http_service(wire: &wire::HttpService, at: &At<'_>) -> Result<HttpService, ConfigError> {
    let place = at.field("server_uri");
    let uri = wire.server_uri.as_ref().ok_or_else(|| place.missing())?;
    let cluster = match &uri.http_upstream_type {
        Some(HttpUpstreamType::Cluster(cluster)) if !cluster.is_empty() => cluster.clone(),
        _ => return Err(place.field("cluster").missing()),
    };
    for (name, path) in [("path_prefix", &wire.path_prefix), ("path_override", &wire.path_override)] {
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if !path.is_empty() && !is_path {
            return Err(at.field(name).refuse(path, "begins with `/` and has no spaces"));
        }
    }
    if !wire.path_prefix.is_empty() && !wire.path_override.is_empty() {
        return Err(at.field("path_override").refuse(&wire.path_override, "is not set together with path_prefix"));
    }
    let request = wire.authorization_request.clone().unwrap_or_default();
    let headers = at.field("authorization_request");
    let headers = headers.field("headers_to_add");
    let headers_to_add = request.headers_to_add.iter().enumerate();
    let headers_to_add = headers_to_add.map(|(index, header)| to_add(header, &headers.index(index)));
    let answer = wire.authorization_response.clone().unwrap_or_default();
    let place = at.field("authorization_response");
    let matchers = |wire: &Option<ListStringMatcher>, name| list(wire.as_ref(), &place.field(name));
    let uri_at = at.field("server_uri");
    Ok(HttpService {
        cluster,
        timeout: basics::duration(uri.timeout.as_ref(), TIMEOUT, &uri_at.field("timeout"))?,
        path_prefix: wire.path_prefix.clone(),
        path_override: wire.path_override.clone(),
        headers_to_add: headers_to_add.collect::<Result<_, _>>()?,
        upstream_headers: matchers(&answer.allowed_upstream_headers, "allowed_upstream_headers")?.unwrap_or_default(),
        upstream_headers_to_append: matchers(
            &answer.allowed_upstream_headers_to_append,
            "allowed_upstream_headers_to_append",
        )?
        .unwrap_or_default(),
        client_headers: matchers(&answer.allowed_client_headers, "allowed_client_headers")?,
        client_headers_on_success: matchers(
            &answer.allowed_client_headers_on_success,
            "allowed_client_headers_on_success",
        )?
        .unwrap_or_default(),
        metadata_headers: matchers(&answer.dynamic_metadata_from_headers, "dynamic_metadata_from_headers")?
            .unwrap_or_default(),
    })
}

fn to_add(wire: &core::HeaderValue, at: &At<'_>) -> Result<(String, String), ConfigError> {
    let name = wire.key.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(at.field("key").refuse(&wire.key, "is not the name of a header"));
    }
    if wire.value.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(at.field("value").refuse(format_args!("{:?}", wire.value), "a header value has no NUL, CR or LF"));
    }
    Ok((name, wire.value.clone()))
}

fn maybe_body(wire: Option<&wire::BufferSettings>, at: &At<'_>) -> Result<Option<BodySettings>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    if wire.max_request_bytes == 0 {
        return Err(at.field("max_request_bytes").missing());
    }
    Ok(Some(BodySettings {
        max_bytes: wire.max_request_bytes as usize,
        allow_partial: wire.allow_partial_message,
        as_bytes: wire.pack_as_bytes,
    }))
}

fn list(wire: Option<&ListStringMatcher>, at: &At<'_>) -> Result<Option<Vec<StringMatch>>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let at = at.field("patterns");
    let one = |(index, wire)| matcher::string(wire, &at.index(index));
    wire.patterns.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
}
