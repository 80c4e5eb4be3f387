//! Providers: whose tokens they are, where they stand, and whose keys verify them.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::filters::http::jwt_authn::v3 as wire;
use core::http_uri::HttpUpstreamType;
use wire::jwt_provider::JwksSourceSpecifier;

use super::super::super::{ReadFile, basics, matcher};
use crate::config::error::{At, ConfigError};
use crate::filter::jwt_authn::{
    CacheSize, ClaimHeader, KeySource, LocalKeys, Place, Places, Provider, RemoteKeys, Retries, audience,
};
use crate::http::headers::is_token;

const SKEW: u64 = 60;

pub fn convert(
    name: &str,
    wire: &wire::JwtProvider,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Provider, ConfigError> {
    let subjects = at.field("subjects");
    let lifetime = basics::maybe_duration(wire.max_lifetime.as_ref(), &at.field("max_lifetime"))?;
    let payload_header = match wire.forward_payload_header.as_str() {
        "" => None,
        name => Some((header_name(name, &at.field("forward_payload_header"))?, wire.pad_forward_payload_header)),
    };
    let headers = at.field("claim_to_headers");
    let claim_headers = wire.claim_to_headers.iter().enumerate();
    let claim_headers = claim_headers.map(|(index, wire)| claim_header(wire, &headers.index(index)));
    let normalize = wire.normalize_payload_in_metadata.as_ref();
    Ok(Provider {
        name: name.to_owned(),
        issuer: wire.issuer.clone(),
        audiences: audiences(&wire.audiences),
        subjects: wire.subjects.as_ref().map(|wire| matcher::string(wire, &subjects)).transpose()?,
        require_expiration: wire.require_expiration,
        max_lifetime: lifetime.map(|lifetime| lifetime.as_secs()),
        clock_skew: if wire.clock_skew_seconds == 0 { SKEW } else { u64::from(wire.clock_skew_seconds) },
        keys: keys(wire.jwks_source_specifier.as_ref(), name, at, read_file)?,
        places: Places::of(places(wire, at)?, &wire.issuer),
        forward: wire.forward,
        payload_header,
        payload_in_metadata: wire.payload_in_metadata.clone(),
        header_in_metadata: wire.header_in_metadata.clone(),
        failure_in_metadata: wire.failed_status_in_metadata.clone(),
        space_delimited: normalize.map(|wire| wire.space_delimited_claims.clone()).unwrap_or_default(),
        claim_headers: claim_headers.collect::<Result<_, _>>()?,
        clear_route_cache: wire.clear_route_cache,
        cache: wire.jwt_cache_config.as_ref().map(cache),
    })
}

pub fn audiences(wire: &[String]) -> Vec<String> {
    wire.iter().map(|name| audience(name).to_owned()).collect()
}

fn cache(wire: &wire::JwtCacheConfig) -> CacheSize {
    let or = |value: u32, default| if value == 0 { default } else { value as usize };
    CacheSize { tokens: or(wire.jwt_cache_size, 100), longest: or(wire.jwt_max_token_size, 4096) }
}

/// Without any, tokens stand where OAuth 2.0 puts them (RFC 6750 sections 2.1 and 2.3).
fn places(wire: &wire::JwtProvider, at: &At<'_>) -> Result<Vec<Place>, ConfigError> {
    let headers = at.field("from_headers");
    let header = |(index, wire): (usize, &wire::JwtHeader)| {
        let at = headers.index(index);
        let name = header_name(&wire.name, &at.field("name"))?;
        Ok(Place::Header { name, prefix: wire.value_prefix.clone() })
    };
    let mut places: Vec<Place> =
        wire.from_headers.iter().enumerate().map(header).collect::<Result<_, ConfigError>>()?;
    places.extend(wire.from_params.iter().cloned().map(Place::Parameter));
    places.extend(wire.from_cookies.iter().cloned().map(Place::Cookie));
    if places.is_empty() {
        places.push(Place::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() });
        places.push(Place::Parameter("access_token".to_owned()));
    }
    Ok(places)
}

fn header_name(name: &str, at: &At<'_>) -> Result<String, ConfigError> {
    if name.is_empty() {
        return Err(at.missing());
    }
    if !name.bytes().all(is_token) {
        return Err(at.refuse(name, "is not the name of a header"));
    }
    Ok(name.to_ascii_lowercase())
}

fn claim_header(wire: &wire::JwtClaimToHeader, at: &At<'_>) -> Result<ClaimHeader, ConfigError> {
    let path: Vec<String> = match (wire.claim_name.as_str(), wire.claim_path.is_empty()) {
        ("", true) => return Err(at.field("claim_name").missing()),
        ("", false) => wire.claim_path.iter().map(|step| step.key.clone()).collect(),
        (name, true) => name.split('.').map(str::to_owned).collect(),
        (name, false) => return Err(at.field("claim_name").refuse(name, "stands alone or is replaced by claim_path")),
    };
    if path.iter().any(String::is_empty) {
        return Err(at.field("claim_path").refuse(path.join("."), "has no empty step"));
    }
    Ok(ClaimHeader { name: header_name(&wire.header_name, &at.field("header_name"))?, path })
}

fn keys(
    wire: Option<&JwksSourceSpecifier>,
    name: &str,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<KeySource, ConfigError> {
    match wire {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            let at = at.field("local_jwks");
            let keys = LocalKeys::new(basics::data_source(source, &at, Some(read_file))?);
            if keys.keys.is_none() {
                // As Envoy: it serves, and refuses every token of this provider.
                tracing::warn!(provider = name, "local_jwks holds no key that can be used: its tokens will be refused");
            }
            Ok(KeySource::Local(keys))
        }
        Some(JwksSourceSpecifier::RemoteJwks(wire)) => {
            remote(wire, &at.field("remote_jwks")).map(|remote| KeySource::Remote(Arc::new(remote)))
        }
        None => Err(at.field("local_jwks").missing()),
    }
}

fn remote(wire: &wire::RemoteJwks, at: &At<'_>) -> Result<RemoteKeys, ConfigError> {
    const CACHED: Duration = Duration::from_secs(600);
    const AGAIN: Duration = Duration::from_secs(1);
    let place = at.field("http_uri");
    let uri = wire.http_uri.as_ref().ok_or_else(|| place.missing())?;
    let (scheme, authority, path) = split(&uri.uri, &place.field("uri"))?;
    let Some(HttpUpstreamType::Cluster(cluster)) = uri.http_upstream_type.as_ref().filter(|cluster| {
        let HttpUpstreamType::Cluster(cluster) = cluster;
        !cluster.is_empty()
    }) else {
        return Err(place.field("cluster").missing());
    };
    let timeout = place.field("timeout");
    let again = at.field("async_fetch");
    let again = again.field("failed_refetch_duration");
    let in_background =
        wire.async_fetch.as_ref().map(|wire| basics::duration(wire.failed_refetch_duration.as_ref(), AGAIN, &again));
    let cached = at.field("cache_duration");
    let cache_duration = basics::duration(wire.cache_duration.as_ref(), CACHED, &cached)?;
    if cache_duration < Duration::from_millis(1) {
        return Err(cached.refuse("less than 1 ms", "is at least 1 ms"));
    }
    Ok(RemoteKeys {
        uri: uri.uri.clone(),
        scheme,
        authority,
        path,
        cluster: cluster.clone(),
        timeout: basics::maybe_duration(uri.timeout.as_ref(), &timeout)?.ok_or_else(|| timeout.missing())?,
        cache_duration,
        retries: wire
            .retry_policy
            .as_ref()
            .map(|wire| retries(wire, &at.field("retry_policy")))
            .transpose()?
            .unwrap_or_default(),
        in_background: in_background.transpose()?,
    })
}

/// Scheme, host and path of an HTTP URI.
fn split(uri: &str, at: &At<'_>) -> Result<(&'static str, String, String), ConfigError> {
    let (scheme, rest) = match (uri.strip_prefix("https://"), uri.strip_prefix("http://")) {
        (Some(rest), _) => ("https", rest),
        (_, Some(rest)) => ("http", rest),
        _ => return Err(at.refuse(uri, "begins with http:// or https://")),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    if authority.is_empty() || rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(at.refuse(uri, "has a host, and no spaces"));
    }
    Ok((scheme, authority.to_owned(), path.to_owned()))
}

fn retries(wire: &core::RetryPolicy, at: &At<'_>) -> Result<Retries, ConfigError> {
    let back_off = wire.retry_back_off.unwrap_or_default();
    let at = at.field("retry_back_off");
    let base = basics::duration(back_off.base_interval.as_ref(), Duration::from_secs(1), &at.field("base_interval"))?;
    let longest = at.field("max_interval");
    let most = basics::duration(back_off.max_interval.as_ref(), base.saturating_mul(10), &longest)?;
    if most < base {
        return Err(longest.refuse(format_args!("{most:?}"), "is not less than base_interval"));
    }
    Ok(Retries { number: wire.num_retries.unwrap_or(1), base, most })
}
