//! Hosts outside the mesh, which requests to the explicit proxy may ask for where the mesh lets programs out (Istio
//! ALLOW_ANY): a cluster that goes wherever a request asks, the filter that looks the host up, and the routes there.

use std::time::Duration;

use api::envoy::config::accesslog::v3 as log;
use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::route::v3 as route;
use api::envoy::extensions::clusters::dynamic_forward_proxy::v3 as forward;
use api::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use api::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as filter;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::envoy::r#type::matcher::v3::AddressMatcher;
use api::xds::core::v3::CidrRange;
use cluster::cluster::{ClusterDiscoveryType, CustomClusterType, DnsLookupFamily, LbPolicy, RefreshRate};
use forward::cluster_config::ClusterImplementationSpecifier;
use route::header_matcher::HeaderMatchSpecifier;
use route::route_action::UpgradeConfig;
use route::route_action::upgrade_config::ConnectConfig;

use crate::http_manager::http_filter;
use crate::mesh::OutboundPolicy;
use crate::node::NodeKind;
use crate::visibility::View;
use crate::{clusters, names, routes, wire};

const CLUSTER: &str = "envoy.clusters.dynamic_forward_proxy";
const FILTER: &str = "envoy.filters.http.dynamic_forward_proxy";

/// After how long a name is looked up again that was not found, at first and at most.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What `runtime::Reach` keeps out of reach, for proxies that do not know of it.
const NEAR: [(&str, u32); 15] = [
    ("0.0.0.0", 8),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("255.255.255.255", 32),
    ("100.100.100.200", 32),
    ("168.63.129.16", 32),
    ("::", 128),
    ("::1", 128),
    ("fe80::", 10),
    ("fd00:ec2::254", 128),
    ("fd00:ec2::23", 128),
    ("fd20:ce::254", 128),
    ("64:ff9b::a9fe:0", 112),
    ("64:ff9b::6464:64c8", 128),
    ("64:ff9b::a83f:8110", 128),
];

/// Whether an audience is let out.
pub(crate) fn is_open(view: &View<'_>) -> bool {
    let audience = view.audience;
    audience.kind == NodeKind::Sidecar
        && audience.features.dynamic_forward_proxy
        && view.index.mesh().outbound_policy == OutboundPolicy::AllowAny
}

/// Its names are the callers' word: it leads nobody to the machine itself, whose sockets the callers can reach without
/// it, but not as the user that the proxy runs as.
pub(crate) fn cluster() -> cluster::Cluster {
    let config = forward::ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(cache())),
        // Nothing here is reached by TLS: programs bring their own, by CONNECT.
        allow_insecure_cluster_options: true,
        ..Default::default()
    };
    let reach = wire::structure([("allowed", wire::list(Vec::new()))]);
    let typed = CustomClusterType { name: CLUSTER.into(), typed_config: Some(api::any(&config)) };
    let mut made = cluster::Cluster {
        name: names::FORWARD.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(typed)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        metadata: wire::metadata([("istio", clusters::outside()), ("weft.reach", reach)]),
        ..Default::default()
    };
    clusters::limits(None, &mut made);
    made.typed_extension_protocol_options.extend([clusters::as_downstream()]);
    made
}

pub(crate) fn filter() -> http::HttpFilter {
    let cache = filter::filter_config::ImplementationSpecifier::DnsCacheConfig(cache());
    http_filter(FILTER, &filter::FilterConfig { implementation_specifier: Some(cache), ..Default::default() })
}

/// Whoever mistyped a service's name learns of it where the name leads nowhere else either.
pub(crate) fn unresolved() -> http::LocalReplyConfig {
    let body = "no service of this name is in the mesh, and the name leads nowhere outside of it: DNS resolution \
                failure; see `weft services`\n";
    let flags = log::ResponseFlagFilter { flags: vec!["DF".into()] };
    let filter = log::access_log_filter::FilterSpecifier::ResponseFlagFilter(flags);
    let mapper = http::ResponseMapper {
        filter: Some(log::AccessLogFilter { filter_specifier: Some(filter) }),
        body: Some(wire::inline(body)),
        ..Default::default()
    };
    http::LocalReplyConfig { mappers: vec![mapper], ..Default::default() }
}

/// Of the cluster and of the filter; they are to be alike.
fn cache() -> DnsCacheConfig {
    let (first, most) = FAILED;
    DnsCacheConfig {
        name: names::FORWARD.to_owned(),
        // An address of IPv6 is of no use to most who have one of IPv4.
        dns_lookup_family: DnsLookupFamily::V4Preferred as i32,
        dns_failure_refresh_rate: Some(RefreshRate {
            base_interval: Some(wire::duration(first)),
            max_interval: Some(wire::duration(most)),
        }),
        resolved_address_filter: Some(AddressMatcher { ranges: NEAR.map(range).into(), invert_match: false }),
        ..Default::default()
    }
}

fn range((prefix, length): (&str, u32)) -> CidrRange {
    CidrRange { address_prefix: prefix.to_owned(), prefix_len: Some(length) }
}

/// What a request is that asks for a name of the mesh; no such name is ever looked up outside.
pub(super) fn of_the_mesh(of: route::RouteMatch, domain: &str) -> route::RouteMatch {
    let domain = domain.replace('.', "\\.");
    let names = format!("(?i)(.+\\.svc|(.+\\.)?{domain})\\.?(:[0-9]+)?");
    let pattern = api::envoy::r#type::matcher::v3::string_matcher::MatchPattern::SafeRegex(wire::regex(&names));
    let matcher = api::envoy::r#type::matcher::v3::StringMatcher { match_pattern: Some(pattern), ..Default::default() };
    let authority = route::HeaderMatcher {
        name: ":authority".into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..Default::default()
    };
    route::RouteMatch { headers: vec![authority], ..of }
}

/// CONNECT ends here, and its bytes go on; other requests go as they are.
pub(super) fn routes(name: &str) -> [route::Route; 2] {
    let route = |of, upgrade_configs| {
        let action = route::RouteAction { upgrade_configs, ..routes::forward(names::FORWARD.to_owned()) };
        route::Route {
            name: name.into(),
            r#match: Some(of),
            action: Some(route::route::Action::Route(action)),
            ..Default::default()
        }
    };
    let connect = UpgradeConfig {
        upgrade_type: "CONNECT".into(),
        connect_config: Some(ConnectConfig::default()),
        ..Default::default()
    };
    [route(routes::connect(), vec![connect]), route(routes::everything(), Vec::new())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_near_that_is_within_reach() {
        let reach = runtime::Reach::default();
        for (prefix, length) in NEAR {
            let net: ipnet::IpNet = format!("{prefix}/{length}").parse().unwrap();
            for ip in [net.network(), net.broadcast()] {
                assert!(!reach.permits((ip, 80).into()), "{net}: {ip}");
            }
        }
    }
}
