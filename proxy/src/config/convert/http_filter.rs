//! HTTP filters: the chain of a connection manager, and what routes set for its filters. One file for each filter.

mod cors;
mod dynamic_forward_proxy;
mod ext_authz;
mod fault;
mod grpc_stats;
mod header_mutation;
mod health_check;
mod jwt_authn;
mod local_rate_limit;
mod ratelimit;
mod rbac;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::envoy::config::route::v3::FilterConfig;
use api::envoy::extensions::filters::http as filters;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use api::prost_types::Any;
use wire::http_filter::ConfigType;

use super::ReadFile;
use super::basics::{is_a, unpack};
use crate::config::error::{At, ConfigError};
use crate::filter::{Filter, HttpFilter, Override, Overrides, Settings};

/// The router ends the list and is left out.
pub(super) fn chain(
    wire: &[wire::HttpFilter],
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Vec<HttpFilter>, ConfigError> {
    let Some((last, others)) = wire.split_last() else {
        return Err(at.refuse("no filter", "the last filter is the router"));
    };
    let end = at.index(others.len());
    if !is_a::<filters::router::v3::Router>(typed(last, &end)?) {
        return Err(end.refuse(&last.name, "the last filter is the router"));
    }
    if last.disabled {
        return Err(end.field("disabled").refuse(true, "the router cannot be disabled"));
    }
    others.iter().enumerate().map(|(index, one)| entry(one, &at.index(index), read_file)).collect()
}

/// Of the router, which ends the list.
pub(super) fn suppresses_envoy_headers(wire: &[wire::HttpFilter], at: &At<'_>) -> Result<bool, ConfigError> {
    let Some((last, others)) = wire.split_last() else { return Ok(false) };
    let at = at.index(others.len());
    let router: filters::router::v3::Router = unpack(typed(last, &at)?, &at.field("typed_config"))?;
    Ok(router.suppress_envoy_headers)
}

fn typed<'a>(wire: &'a wire::HttpFilter, at: &At<'_>) -> Result<&'a Any, ConfigError> {
    match &wire.config_type {
        Some(ConfigType::TypedConfig(any)) => Ok(any),
        _ => Err(at.field("typed_config").missing()),
    }
}

fn entry(wire: &wire::HttpFilter, at: &At<'_>, read_file: ReadFile<'_>) -> Result<HttpFilter, ConfigError> {
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    let filter = filter(typed(wire, at)?, &at.field("typed_config"), read_file)?;
    let filter = filter.ok_or_else(|| at.refuse(&wire.name, "this HTTP filter is not supported"))?;
    Ok(HttpFilter { name: wire.name.clone(), disabled: wire.disabled, filter })
}

/// `None` if there is no such filter.
fn filter(any: &Any, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Option<Filter>, ConfigError> {
    Ok(Some(if is_a::<filters::fault::v3::HttpFault>(any) {
        Filter::Fault(Arc::new(fault::convert(&unpack(any, at)?, at)?))
    } else if is_a::<filters::cors::v3::Cors>(any) {
        Filter::Cors
    } else if is_a::<filters::dynamic_forward_proxy::v3::FilterConfig>(any) {
        Filter::DynamicForwardProxy(dynamic_forward_proxy::convert(&unpack(any, at)?, at)?)
    } else if is_a::<filters::ext_authz::v3::ExtAuthz>(any) {
        Filter::ExtAuthz(Arc::new(ext_authz::convert(&unpack(any, at)?, at)?))
    } else if is_a::<filters::grpc_stats::v3::FilterConfig>(any) {
        Filter::GrpcStats(grpc_stats::convert(&unpack(any, at)?))
    } else if is_a::<filters::jwt_authn::v3::JwtAuthentication>(any) {
        Filter::JwtAuthn(Arc::new(jwt_authn::convert(&unpack(any, at)?, at, read_file)?))
    } else if is_a::<filters::header_mutation::v3::HeaderMutation>(any) {
        Filter::HeaderMutation(Arc::new(header_mutation::filter(&unpack(any, at)?, at)?))
    } else if is_a::<filters::local_ratelimit::v3::LocalRateLimit>(any) {
        Filter::LocalRateLimit(local_rate_limit::convert(&unpack(any, at)?, at)?)
    } else if is_a::<filters::ratelimit::v3::RateLimit>(any) {
        Filter::RateLimit(Arc::new(ratelimit::convert(&unpack(any, at)?, at)?))
    } else if is_a::<filters::health_check::v3::HealthCheck>(any) {
        Filter::HealthCheck(health_check::convert(&unpack(any, at)?, at)?)
    } else if is_a::<filters::rbac::v3::Rbac>(any) {
        Filter::Rbac(rbac::convert(&unpack(any, at)?, at)?)
    } else {
        return Ok(None);
    }))
}

/// `typed_per_filter_config` of a table, virtual host, route or weighted cluster.
pub(super) fn overrides(wire: &BTreeMap<String, Any>, at: &At<'_>) -> Result<Overrides, ConfigError> {
    let entries = wire.iter().map(|(name, any)| {
        let at = at.key(name);
        if !is_a::<FilterConfig>(any) {
            return Ok(Override { name: name.clone(), disabled: false, settings: Some(settings(any, &at)?) });
        }
        let wire: FilterConfig = unpack(any, &at)?;
        let config = at.field("config");
        // `config: {}` only says that the filter runs here.
        let set = wire.config.as_ref().filter(|any| **any != Any::default());
        let settings = set.map(|any| settings(any, &config)).transpose()?;
        Ok(Override { name: name.clone(), disabled: wire.disabled, settings })
    });
    entries.collect::<Result<_, _>>().map(Overrides::new)
}

fn settings(any: &Any, at: &At<'_>) -> Result<Settings, ConfigError> {
    Ok(if is_a::<filters::fault::v3::HttpFault>(any) {
        Settings::Fault(Arc::new(fault::convert(&unpack(any, at)?, at)?))
    } else if is_a::<filters::cors::v3::CorsPolicy>(any) {
        Settings::Cors(Arc::new(cors::convert(&unpack(any, at)?, at)?))
    } else if is_a::<filters::dynamic_forward_proxy::v3::PerRouteConfig>(any) {
        Settings::DynamicForwardProxy(dynamic_forward_proxy::per_route(&unpack(any, at)?))
    } else if is_a::<filters::ext_authz::v3::ExtAuthzPerRoute>(any) {
        Settings::ExtAuthz(ext_authz::per_route(&unpack(any, at)?, at)?)
    } else if is_a::<filters::ratelimit::v3::RateLimitPerRoute>(any) {
        Settings::RateLimit(Arc::new(ratelimit::per_route(&unpack(any, at)?, at)?))
    } else if is_a::<filters::jwt_authn::v3::PerRouteConfig>(any) {
        Settings::JwtAuthn(jwt_authn::per_route(&unpack(any, at)?, at)?)
    } else if is_a::<filters::header_mutation::v3::HeaderMutationPerRoute>(any) {
        let wire: filters::header_mutation::v3::HeaderMutationPerRoute = unpack(any, at)?;
        Settings::HeaderMutation(header_mutation::mutations(wire.mutations.as_ref(), &at.field("mutations"))?)
    } else if is_a::<filters::local_ratelimit::v3::LocalRateLimit>(any) {
        Settings::LocalRateLimit(local_rate_limit::convert(&unpack(any, at)?, at)?)
    } else if is_a::<filters::rbac::v3::RbacPerRoute>(any) {
        let wire: filters::rbac::v3::RbacPerRoute = unpack(any, at)?;
        let at = at.field("rbac");
        Settings::Rbac(wire.rbac.as_ref().map(|wire| rbac::convert(wire, &at)).transpose()?)
    } else {
        return Err(at.refuse(&any.type_url, "no filter here takes these settings from a route"));
    })
}
