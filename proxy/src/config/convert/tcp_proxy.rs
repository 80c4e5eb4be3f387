//! The TCP proxy filter.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::extensions::filters::network::tcp_proxy::v3 as wire;
use api::envoy::r#type::v3::HashPolicy;
use api::envoy::r#type::v3::hash_policy::PolicySpecifier;
use wire::tcp_proxy::ClusterSpecifier;

use super::{access_log, basics, metadata};
use crate::config::error::{At, ConfigError};
use crate::config::{ClusterChoice, HeaderMutation, TcpProxy, WeightedCluster};
use crate::filter::Overrides;
use crate::stats::MetricRules;

pub(super) fn convert(
    wire: &wire::TcpProxy,
    metrics: Option<Arc<MetricRules>>,
    at: &At<'_>,
) -> Result<TcpProxy, ConfigError> {
    let cluster = match &wire.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => ClusterChoice::One(name.clone()),
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            let weighted = clusters.clusters.iter().map(|cluster| WeightedCluster {
                name: cluster.name.clone(),
                weight: cluster.weight,
                mutation: HeaderMutation::default(),
                overrides: Overrides::default(),
                metadata_match: metadata::criteria(wire.metadata_match.as_ref(), cluster.metadata_match.as_ref()),
            });
            let weighted: Vec<_> = weighted.collect();
            if weighted.iter().all(|cluster| cluster.weight == 0) {
                return Err(at.field("weighted_clusters").refuse("weight 0", "the weights add up to more than 0"));
            }
            ClusterChoice::Weighted(weighted)
        }
        None => return Err(at.field("cluster").missing()),
    };
    let idle = at.field("idle_timeout");
    Ok(TcpProxy {
        stat_prefix: wire.stat_prefix.clone(),
        cluster,
        metadata_match: metadata::criteria(wire.metadata_match.as_ref(), None),
        hash_source_ip: hash_source_ip(&wire.hash_policy, &at.field("hash_policy"))?,
        idle_timeout: basics::duration(wire.idle_timeout.as_ref(), Duration::from_secs(3600), &idle)?,
        max_duration: max_duration(wire, &at.field("max_downstream_connection_duration"))?,
        max_connect_attempts: match wire.max_connect_attempts {
            Some(0) => return Err(at.field("max_connect_attempts").refuse(0, "is at least 1")),
            attempts => attempts.unwrap_or(1),
        },
        access_logs: access_log::convert_all(&wire.access_log, &at.field("access_log"))?,
        metrics,
    })
}

fn max_duration(wire: &wire::TcpProxy, at: &At<'_>) -> Result<Duration, ConfigError> {
    match basics::maybe_duration(wire.max_downstream_connection_duration.as_ref(), at)? {
        Some(limit) if limit < Duration::from_millis(1) => {
            Err(at.refuse(format_args!("{limit:?}"), "is at least 1 ms"))
        }
        limit => Ok(limit.unwrap_or_default()),
    }
}

fn hash_source_ip(wire: &[HashPolicy], at: &At<'_>) -> Result<bool, ConfigError> {
    match wire {
        [] => Ok(false),
        [HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(_)) }] => Ok(true),
        [_] => Err(at.index(0).refuse("another policy", "only source_ip is supported")),
        more => Err(at.refuse(more.len(), "there is at most one")),
    }
}
