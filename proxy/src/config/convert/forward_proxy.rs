//! Dynamic forward proxies: the cluster, and the cache of names that it shares with its filter.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::cluster::v3 as cds;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::clusters::dynamic_forward_proxy::v3 as wire;
use api::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use api::envoy::r#type::matcher::v3::AddressMatcher;
use api::xds::core::v3::CidrRange;
use wire::cluster_config::ClusterImplementationSpecifier;

use super::basics::{self, is_a, unpack};
use super::cluster::dns_family;
use super::upstream_http::UpstreamHttp;
use crate::config::error::{At, ConfigError};
use crate::config::{AddressFilter, AutoSni, Discovery, DnsCache};

/// `http`: of a cluster whose hosts are reached by TLS, which then asks each for its own name unless it is told not to.
pub(super) fn cluster(
    custom: &cds::cluster::CustomClusterType,
    cluster: &cds::Cluster,
    http: Option<&mut UpstreamHttp>,
    at: &At<'_>,
) -> Result<Discovery, ConfigError> {
    if cluster.load_assignment.is_some() {
        let rule = "a dynamic forward proxy cluster has no endpoints of its own";
        return Err(at.field("load_assignment").refuse("set", rule));
    }
    let at = at.field("cluster_type");
    let typed = custom.typed_config.as_ref().ok_or_else(|| at.field("typed_config").missing())?;
    if !is_a::<wire::ClusterConfig>(typed) {
        let rule = "this type of cluster is not supported; envoy.clusters.dynamic_forward_proxy is";
        return Err(at.refuse(&custom.name, rule));
    }
    let at = at.field("typed_config");
    let wire: wire::ClusterConfig = unpack(typed, &at)?;
    if let Some(http) = http
        && !wire.allow_insecure_cluster_options
    {
        if cluster.typed_extension_protocol_options.is_empty() {
            (http.auto_sni, http.auto_san_validation) = (Some(AutoSni { header: None }), true);
        }
        if http.auto_sni.is_none() || !http.auto_san_validation {
            let rule = "with TLS the cluster needs auto_sni and auto_san_validation in its \
                        upstream_http_protocol_options, unless this is true";
            return Err(at.field("allow_insecure_cluster_options").refuse(false, rule));
        }
    }
    match &wire.cluster_implementation_specifier {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(config)) => {
            cache(config, &at.field("dns_cache_config")).map(|cache| Discovery::DynamicForwardProxy(Arc::new(cache)))
        }
        Some(ClusterImplementationSpecifier::SubClustersConfig(_)) => {
            Err(at.field("sub_clusters_config").refuse("set", "is not supported"))
        }
        None => Err(at.field("dns_cache_config").missing()),
    }
}

pub(super) fn cache(wire: &DnsCacheConfig, at: &At<'_>) -> Result<DnsCache, ConfigError> {
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    let seconds = |wire, default, name| basics::duration(wire, Duration::from_secs(default), &at.field(name));
    let refresh = seconds(wire.dns_refresh_rate.as_ref(), 60, "dns_refresh_rate")?;
    if refresh.is_zero() {
        return Err(at.field("dns_refresh_rate").refuse("0s", "is at least 1ms"));
    }
    let max_hosts = wire.max_hosts.unwrap_or(1024);
    if max_hosts == 0 {
        return Err(at.field("max_hosts").refuse(0, "is at least 1"));
    }
    let timeout = seconds(wire.dns_query_timeout.as_ref(), 5, "dns_query_timeout")?;
    let breaker = wire.dns_cache_circuit_breaker.as_ref();
    Ok(DnsCache {
        name: wire.name.clone(),
        family: dns_family(wire.dns_lookup_family, &at.field("dns_lookup_family"))?,
        refresh,
        failure_refresh: failure_refresh(wire, refresh, &at.field("dns_failure_refresh_rate"))?,
        host_ttl: seconds(wire.host_ttl.as_ref(), 300, "host_ttl")?,
        max_hosts: max_hosts as usize,
        query_timeout: (!timeout.is_zero()).then_some(timeout),
        max_pending_requests: breaker.and_then(|breaker| breaker.max_pending_requests).unwrap_or(1024),
        refused: wire
            .resolved_address_filter
            .as_ref()
            .map(|filter| address_filter(filter, &at.field("resolved_address_filter")))
            .transpose()?,
    })
}

fn address_filter(wire: &AddressMatcher, at: &At<'_>) -> Result<AddressFilter, ConfigError> {
    let ranges = at.field("ranges");
    let range = |(index, range): (usize, &CidrRange)| {
        let (address_prefix, prefix_len) = (range.address_prefix.clone(), range.prefix_len);
        basics::range(&core::CidrRange { address_prefix, prefix_len }, &ranges.index(index))
    };
    let ranges = wire.ranges.iter().enumerate().map(range).collect::<Result<_, _>>()?;
    Ok(AddressFilter { ranges, invert: wire.invert_match })
}

/// The longest is ten times the first where it is not said.
fn failure_refresh(wire: &DnsCacheConfig, refresh: Duration, at: &At<'_>) -> Result<(Duration, Duration), ConfigError> {
    let Some(rate) = &wire.dns_failure_refresh_rate else { return Ok((refresh, refresh)) };
    let base = basics::maybe_duration(rate.base_interval.as_ref(), &at.field("base_interval"))?;
    let base = base.filter(|base| !base.is_zero()).ok_or_else(|| at.field("base_interval").missing())?;
    let most = basics::duration(rate.max_interval.as_ref(), base * 10, &at.field("max_interval"))?;
    if most < base {
        return Err(at.field("max_interval").refuse(format_args!("{most:?}"), "is not less than base_interval"));
    }
    Ok((base, most))
}
