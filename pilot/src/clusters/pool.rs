//! Connection pools: limits, timeouts, keepalive, and the HTTP version spoken.

use std::time::Duration;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::upstreams::http::v3 as http;
use api::envoy::r#type::v3::Percent;
use api::prost_types::Any;
use cluster::circuit_breakers::Thresholds;
use cluster::circuit_breakers::thresholds::RetryBudget;
use galley::kinds::{ConnectionPool, H2Upgrade, HttpPool};
use http::http_protocol_options::explicit_http_config::ProtocolConfig;
use http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig};
use registry::Protocol;

use super::Target;
use crate::node::NodeKind;
use crate::wire;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn apply(target: &Target<'_>, cluster: &mut cluster::Cluster) {
    limits(target.traffic.connection_pool.as_ref(), cluster);
    let thresholds = cluster.circuit_breakers.as_mut().and_then(|breakers| breakers.thresholds.first_mut());
    if let (Some(thresholds), Some(budget)) = (thresholds, &target.traffic.retry_budget) {
        thresholds.retry_budget = Some(RetryBudget {
            budget_percent: Some(Percent { value: budget.percent.0 }),
            min_retry_concurrency: Some(budget.min_retry_concurrency),
            ..Default::default()
        });
    }
    if let Some(options) = http_options(target) {
        cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.to_owned(), api::any(&options));
    }
}

/// Limits and timeouts of a pool; without one, no limits and ten seconds to connect.
pub(crate) fn limits(pool: Option<&ConnectionPool>, cluster: &mut cluster::Cluster) {
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let http = pool.and_then(|pool| pool.http.as_ref());
    let timeout = tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(CONNECT_TIMEOUT);
    cluster.connect_timeout = Some(wire::duration(timeout));
    let or_none = |limit: Option<u32>| Some(limit.unwrap_or(u32::MAX));
    cluster.circuit_breakers = Some(cluster::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: or_none(tcp.and_then(|tcp| tcp.max_connections)),
            max_pending_requests: or_none(http.and_then(|http| http.http1_max_pending_requests)),
            max_requests: or_none(http.and_then(|http| http.http2_max_requests)),
            max_retries: or_none(http.and_then(|http| http.max_retries)),
            track_remaining: true,
            ..Default::default()
        }],
        ..Default::default()
    });
    let seconds = |time: Option<Duration>| time.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    cluster.upstream_connection_options = tcp.and_then(|tcp| tcp.keepalive.as_ref()).map(|keepalive| {
        let tcp_keepalive = core::TcpKeepalive {
            keepalive_probes: keepalive.probes,
            keepalive_time: seconds(keepalive.time),
            keepalive_interval: seconds(keepalive.interval),
        };
        cluster::UpstreamConnectionOptions { tcp_keepalive: Some(tcp_keepalive), ..Default::default() }
    });
}

/// Whether the rule asks for HTTP/2 on a port that is declared as HTTP/1.
pub(super) fn upgrades_to_http2(target: &Target<'_>) -> bool {
    let http = target.traffic.connection_pool.as_ref().and_then(|pool| pool.http.as_ref());
    target.port.protocol == Protocol::Http && http.is_some_and(|http| http.h2_upgrade == H2Upgrade::Upgrade)
}

/// Options where they differ from HTTP/1.1 with Envoy's defaults.
fn http_options(target: &Target<'_>) -> Option<http::HttpProtocolOptions> {
    let pool = target.traffic.connection_pool.as_ref();
    let http = pool.and_then(|pool| pool.http.as_ref());
    let sniffed = target.port.protocol == Protocol::Auto && target.view.audience.kind == NodeKind::Sidecar;
    let as_client = http.is_some_and(|http| http.use_client_protocol) || sniffed;
    let common = common_options(pool);
    if !as_client
        && !target.is_http2()
        && common.is_none()
        && http.is_none_or(|h| h.max_requests_per_connection.is_none())
    {
        return None;
    }
    let http2 = http2_options(http);
    let protocol = if as_client {
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(core::Http1ProtocolOptions::default()),
            http2_protocol_options: Some(http2),
            ..Default::default()
        })
    } else if target.is_http2() {
        explicit(ProtocolConfig::Http2ProtocolOptions(http2))
    } else {
        explicit(ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default()))
    };
    Some(http::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(protocol),
        ..Default::default()
    })
}

fn common_options(pool: Option<&ConnectionPool>) -> Option<core::HttpProtocolOptions> {
    let http = pool?.http.as_ref();
    let tcp = pool?.tcp.as_ref();
    let options = core::HttpProtocolOptions {
        idle_timeout: http.and_then(|http| http.idle_timeout).map(wire::duration),
        max_connection_duration: tcp.and_then(|tcp| tcp.max_connection_duration).map(wire::duration),
        max_requests_per_connection: http.and_then(|http| http.max_requests_per_connection),
        ..Default::default()
    };
    (options != core::HttpProtocolOptions::default()).then_some(options)
}

fn http2_options(http: Option<&HttpPool>) -> core::Http2ProtocolOptions {
    let keepalive = http.and_then(|http| http.http2_keep_alive.as_ref());
    core::Http2ProtocolOptions {
        max_concurrent_streams: http.and_then(|http| http.max_concurrent_streams),
        connection_keepalive: keepalive.map(|keepalive| core::KeepaliveSettings {
            interval: Some(wire::duration(keepalive.interval)),
            timeout: Some(wire::duration(keepalive.timeout)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn explicit(protocol: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(protocol) })
}

/// Options for upstreams that are spoken to as the client speaks, under their name.
pub(crate) fn as_downstream() -> (String, Any) {
    let options = http::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    (HTTP_OPTIONS.to_owned(), api::any(&options))
}

/// Options for plain HTTP/2 upstreams, under their name.
pub(crate) fn http2() -> (String, Any) {
    let options = http::HttpProtocolOptions {
        upstream_protocol_options: Some(explicit(ProtocolConfig::Http2ProtocolOptions(Default::default()))),
        ..Default::default()
    };
    (HTTP_OPTIONS.to_owned(), api::any(&options))
}
