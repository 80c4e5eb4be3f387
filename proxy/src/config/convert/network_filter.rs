//! Network filters before the one that ends a chain.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3::RuntimeFeatureFlag;
use api::envoy::extensions::filters::network as filters;
use api::envoy::r#type::v3::TokenBucket as WireBucket;
use api::prost_types::Any;

use super::basics::{self, is_a, unpack};
use super::{grpc_service, rbac};
use crate::config::error::{At, ConfigError};
use crate::network_filter::{ConnectionFilter, ConnectionLimit, LocalRateLimit, NetworkExtAuthz, NetworkRbac};
use crate::token_bucket::{TokenBucket, TokenRate};

/// How long an authorization service has to answer, unless it says something else.
const ANSWER: Duration = Duration::from_millis(200);

/// `None` if there is no such filter.
pub(super) fn convert(any: &Any, at: &At<'_>) -> Result<Option<ConnectionFilter>, ConfigError> {
    Ok(Some(if is_a::<filters::rbac::v3::Rbac>(any) {
        ConnectionFilter::Rbac(Arc::new(access_control(&unpack(any, at)?, at)?))
    } else if is_a::<filters::ext_authz::v3::ExtAuthz>(any) {
        ConnectionFilter::ExtAuthz(Arc::new(ext_authz(&unpack(any, at)?, at)?))
    } else if is_a::<filters::connection_limit::v3::ConnectionLimit>(any) {
        ConnectionFilter::ConnectionLimit(Arc::new(connection_limit(&unpack(any, at)?, at)?))
    } else if is_a::<filters::local_ratelimit::v3::LocalRateLimit>(any) {
        ConnectionFilter::LocalRateLimit(Arc::new(local_rate_limit(&unpack(any, at)?, at)?))
    } else {
        return Ok(None);
    }))
}

fn access_control(wire: &filters::rbac::v3::Rbac, at: &At<'_>) -> Result<NetworkRbac, ConfigError> {
    let (rules, shadow) = (at.field("rules"), at.field("shadow_rules"));
    if filters::rbac::v3::rbac::EnforcementType::try_from(wire.enforcement_type).is_err() {
        return Err(at.field("enforcement_type").refuse(wire.enforcement_type, "is not known"));
    }
    Ok(NetworkRbac {
        stat_prefix: prefix(&wire.stat_prefix, at)?,
        rules: wire.rules.as_ref().map(|wire| rbac::rules(wire, &rules)).transpose()?,
        shadow_rules: wire.shadow_rules.as_ref().map(|wire| rbac::rules(wire, &shadow)).transpose()?,
        shadow_rules_prefix: wire.shadow_rules_stat_prefix.clone(),
        delay_deny: basics::duration(wire.delay_deny.as_ref(), Duration::ZERO, &at.field("delay_deny"))?,
    })
}

fn ext_authz(wire: &filters::ext_authz::v3::ExtAuthz, at: &At<'_>) -> Result<NetworkExtAuthz, ConfigError> {
    grpc_service::transport_version(wire.transport_api_version, &at.field("transport_api_version"))?;
    let place = at.field("filter_enabled_metadata");
    let enabled_where = wire.filter_enabled_metadata.as_ref().map(|wire| rbac::metadata(wire, &place));
    Ok(NetworkExtAuthz {
        stat_prefix: prefix(&wire.stat_prefix, at)?,
        service: grpc_service::convert(wire.grpc_service.as_ref(), ANSWER, &at.field("grpc_service"))?,
        failure_mode_allow: wire.failure_mode_allow,
        include_peer_certificate: wire.include_peer_certificate,
        include_tls_session: wire.include_tls_session,
        metadata_namespaces: wire.metadata_context_namespaces.clone(),
        enabled_where: enabled_where.transpose()?,
    })
}

fn connection_limit(
    wire: &filters::connection_limit::v3::ConnectionLimit,
    at: &At<'_>,
) -> Result<ConnectionLimit, ConfigError> {
    let field = at.field("max_connections");
    let max_connections = match wire.max_connections {
        None => return Err(field.missing()),
        Some(0) => return Err(field.refuse(0, "is at least 1")),
        Some(most) => most,
    };
    Ok(ConnectionLimit {
        stat_prefix: prefix(&wire.stat_prefix, at)?,
        max_connections,
        delay: basics::duration(wire.delay.as_ref(), Duration::ZERO, &at.field("delay"))?,
        enabled: enabled(wire.runtime_enabled.as_ref()),
        active: Arc::default(),
    })
}

fn local_rate_limit(
    wire: &filters::local_ratelimit::v3::LocalRateLimit,
    at: &At<'_>,
) -> Result<LocalRateLimit, ConfigError> {
    let bucket = at.field("token_bucket");
    Ok(LocalRateLimit {
        stat_prefix: prefix(&wire.stat_prefix, at)?,
        bucket: TokenBucket::new(token_rate(wire.token_bucket.as_ref().ok_or_else(|| bucket.missing())?, &bucket)?),
        enabled: enabled(wire.runtime_enabled.as_ref()),
    })
}

fn prefix(prefix: &str, at: &At<'_>) -> Result<String, ConfigError> {
    if prefix.is_empty() { Err(at.field("stat_prefix").missing()) } else { Ok(prefix.to_owned()) }
}

/// There is no runtime to override it.
fn enabled(flag: Option<&RuntimeFeatureFlag>) -> bool {
    flag.and_then(|flag| flag.default_value) != Some(false)
}

pub(super) fn token_rate(wire: &WireBucket, at: &At<'_>) -> Result<TokenRate, ConfigError> {
    let interval = at.field("fill_interval");
    let fill_interval = basics::maybe_duration(wire.fill_interval.as_ref(), &interval)?;
    let fill_interval = fill_interval.ok_or_else(|| interval.missing())?;
    if fill_interval < Duration::from_millis(50) {
        return Err(interval.refuse(format_args!("{fill_interval:?}"), "is at least 50 ms"));
    }
    let tokens_per_fill = wire.tokens_per_fill.unwrap_or(1);
    if tokens_per_fill == 0 {
        return Err(at.field("tokens_per_fill").refuse(0, "is at least 1"));
    }
    Ok(TokenRate { max_tokens: wire.max_tokens, tokens_per_fill, fill_interval })
}
