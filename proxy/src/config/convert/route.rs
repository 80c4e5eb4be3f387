//! Route configurations: virtual hosts, routes and what they do.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3::{Metadata, RoutingPriority};
use api::envoy::config::route::v3 as wire;
use wire::route_action::ClusterSpecifier;
use wire::virtual_host::TlsRequirementType;

use super::{
    basics, hash_policy, http_filter, metadata, mutation, rate_limit, redirect, retry, rewrite, route_match, tracing,
};
use crate::config::error::{At, ConfigError};
use crate::config::{ClusterChoice, Fraction, HeaderMutation, WeightedCluster};
use crate::route::{
    Action, DirectResponse, Mirror, RequireTls, Route, RouteAction, RouteTable, RouteTableParts, Timeouts,
    VirtualCluster, VirtualHost,
};

pub(super) fn table(wire: &wire::RouteConfiguration, at: &At<'_>) -> Result<RouteTable, ConfigError> {
    if wire.validate_clusters == Some(true) {
        return Err(at.field("validate_clusters").refuse("true", "clusters may come after the routes that name them"));
    }
    let hosts = at.field("virtual_hosts");
    let largest_body = wire.max_direct_response_body_size_bytes.unwrap_or(4096) as usize;
    let virtual_hosts = wire.virtual_hosts.iter().enumerate();
    let virtual_hosts = virtual_hosts.map(|(index, host)| virtual_host(host, largest_body, &hosts.index(index)));
    let parts = RouteTableParts {
        name: wire.name.clone(),
        virtual_hosts: virtual_hosts.collect::<Result<_, _>>()?,
        mutation: mutation::lists(
            (&wire.request_headers_to_add, &wire.request_headers_to_remove),
            (&wire.response_headers_to_add, &wire.response_headers_to_remove),
            at,
        )?,
        overrides: http_filter::overrides(&wire.typed_per_filter_config, &at.field("typed_per_filter_config"))?,
        most_specific_header_mutations_wins: wire.most_specific_header_mutations_wins,
        ignore_port_in_host_matching: wire.ignore_port_in_host_matching,
    };
    RouteTable::build(parts).map_err(|taken| {
        hosts.index(taken.host).field("domains").refuse(&taken.domain, "another virtual host has this domain")
    })
}

fn virtual_host(wire: &wire::VirtualHost, largest_body: usize, at: &At<'_>) -> Result<Arc<VirtualHost>, ConfigError> {
    if wire.domains.is_empty() {
        return Err(at.field("domains").missing());
    }
    if let Some(domain) = wire.domains.iter().find(|domain| !is_domain(domain)) {
        return Err(at.field("domains").refuse(domain, "a domain is a name with at most one `*`, at one of its ends"));
    }
    let require_tls = match TlsRequirementType::try_from(wire.require_tls) {
        Ok(TlsRequirementType::None) => RequireTls::None,
        Ok(TlsRequirementType::All) => RequireTls::All,
        _ => return Err(at.field("require_tls").refuse(wire.require_tls, "NONE and ALL are supported")),
    };
    let own = at.field("typed_per_filter_config");
    let routes = at.field("routes");
    let made = wire.routes.iter().enumerate().map(|(index, one)| route(one, largest_body, &routes.index(index)));
    let retry = at.field("retry_policy");
    Ok(Arc::new(VirtualHost {
        name: wire.name.clone(),
        domains: wire.domains.clone(),
        routes: made.collect::<Result<_, _>>()?,
        mutation: mutation::lists(
            (&wire.request_headers_to_add, &wire.request_headers_to_remove),
            (&wire.response_headers_to_add, &wire.response_headers_to_remove),
            at,
        )?,
        require_tls,
        virtual_clusters: virtual_clusters(&wire.virtual_clusters, &at.field("virtual_clusters"))?,
        retry: wire.retry_policy.as_ref().map(|wire| retry::convert(wire, &retry)).transpose()?.map(Arc::new),
        overrides: http_filter::overrides(&wire.typed_per_filter_config, &own)?,
        include_request_attempt_count: wire.include_request_attempt_count,
        include_attempt_count_in_response: wire.include_attempt_count_in_response,
        rate_limits: rate_limit::of_route(&wire.rate_limits, &at.field("rate_limits"))?,
    }))
}

fn virtual_clusters(wire: &[wire::VirtualCluster], at: &At<'_>) -> Result<Vec<VirtualCluster>, ConfigError> {
    let one = |(index, wire): (usize, &wire::VirtualCluster)| {
        let at = at.index(index);
        if wire.name.is_empty() {
            return Err(at.field("name").missing());
        }
        if wire.headers.is_empty() {
            return Err(at.field("headers").missing());
        }
        let headers = route_match::headers(&wire.headers, &at.field("headers"))?;
        Ok(VirtualCluster { name: wire.name.clone(), headers })
    };
    wire.iter().enumerate().map(one).collect()
}

fn is_domain(domain: &str) -> bool {
    let stars = domain.matches('*').count();
    !domain.is_empty() && (stars == 0 || (stars == 1 && (domain.starts_with('*') || domain.ends_with('*'))))
}

fn route(wire: &wire::Route, largest_body: usize, at: &At<'_>) -> Result<Arc<Route>, ConfigError> {
    let r#match = at.field("match");
    let conditions = wire.r#match.as_ref().ok_or_else(|| r#match.missing())?;
    let own = at.field("typed_per_filter_config");
    Ok(Arc::new(Route {
        name: wire.name.clone(),
        matches: route_match::convert(conditions, &r#match)?,
        action: action(wire, conditions, largest_body, at)?,
        mutation: mutation::lists(
            (&wire.request_headers_to_add, &wire.request_headers_to_remove),
            (&wire.response_headers_to_add, &wire.response_headers_to_remove),
            at,
        )?,
        overrides: http_filter::overrides(&wire.typed_per_filter_config, &own)?,
        config: metadata::config(wire.metadata.as_ref()),
        decorator: wire
            .decorator
            .as_ref()
            .map(|decorator| tracing::decorator(decorator, &at.field("decorator")))
            .transpose()?,
        tracing: wire.tracing.as_ref().map(|wire| tracing::of_route(wire, &at.field("tracing"))).transpose()?,
    }))
}

fn action(
    wire: &wire::Route,
    conditions: &wire::RouteMatch,
    largest_body: usize,
    at: &At<'_>,
) -> Result<Action, ConfigError> {
    use wire::route::Action as Wire;
    match &wire.action {
        Some(Wire::Route(wire)) => forward(wire, conditions, &at.field("route")).map(Action::Forward),
        Some(Wire::Redirect(wire)) => redirect::convert(wire, conditions, &at.field("redirect")).map(Action::Redirect),
        Some(Wire::DirectResponse(wire)) => {
            direct_response(wire, largest_body, &at.field("direct_response")).map(Action::DirectResponse)
        }
        Some(Wire::FilterAction(_) | Wire::NonForwardingAction(_)) => {
            Err(at.refuse(&wire.name, "a route forwards, redirects or answers"))
        }
        None => Err(at.field("route").missing()),
    }
}

fn direct_response(
    wire: &wire::DirectResponseAction,
    largest_body: usize,
    at: &At<'_>,
) -> Result<DirectResponse, ConfigError> {
    let status = u16::try_from(wire.status).ok().filter(|status| (200..=599).contains(status));
    let status = status.ok_or_else(|| at.field("status").refuse(wire.status, "is from 200 to 599"))?;
    let at = at.field("body");
    let body = wire.body.as_ref().map(|body| basics::data_source(body, &at, None)).transpose()?.unwrap_or_default();
    if body.len() > largest_body {
        let rule = format!("is at most {largest_body} bytes (max_direct_response_body_size_bytes)");
        return Err(at.refuse(format_args!("{} bytes", body.len()), rule));
    }
    Ok(DirectResponse { status, body })
}

fn high_priority(wire: i32, at: &At<'_>) -> Result<bool, ConfigError> {
    match RoutingPriority::try_from(wire) {
        Ok(priority) => Ok(priority == RoutingPriority::High),
        Err(_) => Err(at.refuse(wire, "is DEFAULT or HIGH")),
    }
}

#[expect(deprecated, reason = "control planes in use still send `include_vh_rate_limits`")]
fn forward(wire: &wire::RouteAction, conditions: &wire::RouteMatch, at: &At<'_>) -> Result<RouteAction, ConfigError> {
    let mirrors_at = at.field("request_mirror_policies");
    let mirrors = wire.request_mirror_policies.iter().enumerate();
    let mirrors = mirrors.map(|(index, one)| mirror(one, &mirrors_at.index(index)));
    let retry_at = at.field("retry_policy");
    let not_found = wire::route_action::ClusterNotFoundResponseCode::try_from(wire.cluster_not_found_response_code);
    use wire::route_action::ClusterNotFoundResponseCode as NotFound;
    Ok(RouteAction {
        cluster: clusters(wire, at)?,
        cluster_not_found_code: match not_found {
            Ok(NotFound::ServiceUnavailable) => 503,
            Ok(NotFound::NotFound) => 404,
            Ok(NotFound::InternalServerError) => 500,
            Err(_) => {
                let at = at.field("cluster_not_found_response_code");
                return Err(at.refuse(wire.cluster_not_found_response_code, "is not known"));
            }
        },
        path_rewrite: rewrite::path(wire, conditions, at)?,
        host_rewrite: rewrite::host(wire.host_rewrite_specifier.as_ref(), at)?,
        append_x_forwarded_host: wire.append_x_forwarded_host,
        timeouts: timeouts(wire, at)?,
        high_priority: high_priority(wire.priority, &at.field("priority"))?,
        retry: wire.retry_policy.as_ref().map(|wire| retry::convert(wire, &retry_at)).transpose()?.map(Arc::new),
        mirrors: mirrors.collect::<Result<_, _>>()?,
        metadata_match: metadata::criteria(wire.metadata_match.as_ref(), None),
        hash_policies: hash_policy::convert_all(&wire.hash_policy, &at.field("hash_policy"))?,
        upgrades: wire.upgrade_configs.iter().map(upgrade).collect(),
        rate_limits: rate_limit::of_route(&wire.rate_limits, &at.field("rate_limits"))?,
        include_vh_rate_limits: wire.include_vh_rate_limits == Some(true),
    })
}

fn upgrade(wire: &wire::route_action::UpgradeConfig) -> (String, bool) {
    (wire.upgrade_type.to_ascii_lowercase(), wire.enabled != Some(false))
}

fn timeouts(wire: &wire::RouteAction, at: &At<'_>) -> Result<Timeouts, ConfigError> {
    let stream = wire.max_stream_duration.unwrap_or_default();
    let stream_at = at.field("max_stream_duration");
    Ok(Timeouts {
        request: basics::duration(wire.timeout.as_ref(), Duration::from_secs(15), &at.field("timeout"))?,
        idle: basics::maybe_duration(wire.idle_timeout.as_ref(), &at.field("idle_timeout"))?,
        max_stream: basics::maybe_duration(
            stream.max_stream_duration.as_ref(),
            &stream_at.field("max_stream_duration"),
        )?,
        grpc_header_max: basics::maybe_duration(
            stream.grpc_timeout_header_max.as_ref(),
            &stream_at.field("grpc_timeout_header_max"),
        )?,
    })
}

fn clusters(wire: &wire::RouteAction, at: &At<'_>) -> Result<ClusterChoice, ConfigError> {
    match &wire.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(ClusterChoice::One(name.clone())),
        Some(ClusterSpecifier::ClusterHeader(name)) => Ok(ClusterChoice::Header(name.to_ascii_lowercase())),
        Some(ClusterSpecifier::WeightedClusters(weights)) => {
            let at = at.field("weighted_clusters");
            let at = at.field("clusters");
            let route = wire.metadata_match.as_ref();
            let weighted = weights.clusters.iter().enumerate();
            let weighted = weighted.map(|(index, one)| self::weighted(one, route, &at.index(index)));
            let weighted = weighted.collect::<Result<Vec<_>, _>>()?;
            if weighted.iter().all(|cluster| cluster.weight == 0) {
                return Err(at.refuse("weight 0", "the weights add up to more than 0"));
            }
            Ok(ClusterChoice::Weighted(weighted))
        }
        Some(_) => Err(at.field("cluster_specifier").refuse("a plugin", "is not supported")),
        None => Err(at.field("cluster").missing()),
    }
}

fn weighted(
    wire: &wire::weighted_cluster::ClusterWeight,
    route: Option<&Metadata>,
    at: &At<'_>,
) -> Result<WeightedCluster, ConfigError> {
    use wire::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    let mut mutation: HeaderMutation = mutation::lists(
        (&wire.request_headers_to_add, &wire.request_headers_to_remove),
        (&wire.response_headers_to_add, &wire.response_headers_to_remove),
        at,
    )?;
    if let Some(HostRewriteSpecifier::HostRewriteLiteral(host)) = &wire.host_rewrite_specifier {
        mutation.request_add.push(mutation::authority(host, &at.field("host_rewrite_literal"))?);
    }
    let own = at.field("typed_per_filter_config");
    let overrides = http_filter::overrides(&wire.typed_per_filter_config, &own)?;
    let metadata_match = metadata::criteria(route, wire.metadata_match.as_ref());
    let (name, weight) = (wire.name.clone(), wire.weight.unwrap_or(0));
    Ok(WeightedCluster { name, weight, mutation, overrides, metadata_match })
}

fn mirror(wire: &wire::route_action::RequestMirrorPolicy, at: &At<'_>) -> Result<Mirror, ConfigError> {
    if wire.cluster.is_empty() {
        return Err(at.field("cluster").missing());
    }
    let fraction = basics::runtime_fraction(wire.runtime_fraction.as_ref(), &at.field("runtime_fraction"))?;
    Ok(Mirror {
        cluster: wire.cluster.clone(),
        fraction: fraction.unwrap_or(Fraction(1_000_000)),
        disable_shadow_host_suffix: wire.disable_shadow_host_suffix_append,
    })
}
