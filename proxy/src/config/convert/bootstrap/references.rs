//! What resources of a bootstrap file name must be in the file: the clusters of routes.

use std::collections::HashSet;

use api::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use api::envoy::config::listener::v3 as lds;
use api::envoy::config::route::v3 as rds;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use http::http_connection_manager::RouteSpecifier;
use lds::filter::ConfigType;
use rds::route::Action;
use rds::route_action::ClusterSpecifier;

use super::super::basics;
use crate::config::Bootstrap;
use crate::config::error::{At, ConfigError};

pub(super) fn check(of: &StaticResources, bootstrap: &Bootstrap, at: &At<'_>) -> Result<(), ConfigError> {
    let clusters: HashSet<&str> = bootstrap.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    let at = at.field("listeners");
    for (index, listener) in of.listeners.iter().enumerate() {
        let at = at.index(index);
        let chains = at.field("filter_chains");
        for (index, chain) in listener.filter_chains.iter().enumerate() {
            filters(chain, &clusters, &chains.index(index))?;
        }
        if let Some(chain) = &listener.default_filter_chain {
            filters(chain, &clusters, &at.field("default_filter_chain"))?;
        }
    }
    Ok(())
}

fn filters(chain: &lds::FilterChain, clusters: &HashSet<&str>, at: &At<'_>) -> Result<(), ConfigError> {
    let at = at.field("filters");
    for (index, filter) in chain.filters.iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_config");
        if let Some(ConfigType::TypedConfig(any)) = &filter.config_type
            && basics::is_a::<http::HttpConnectionManager>(any)
            && let Some(RouteSpecifier::RouteConfig(config)) =
                basics::unpack::<http::HttpConnectionManager>(any, &at)?.route_specifier
            && config.validate_clusters != Some(false)
        {
            routes(&config, clusters, &at.field("route_config"))?;
        }
    }
    Ok(())
}

fn routes(config: &rds::RouteConfiguration, clusters: &HashSet<&str>, at: &At<'_>) -> Result<(), ConfigError> {
    let hosts = at.field("virtual_hosts");
    for (index, host) in config.virtual_hosts.iter().enumerate() {
        let at = hosts.index(index);
        let at = at.field("routes");
        for (index, route) in host.routes.iter().enumerate() {
            let at = at.index(index);
            if let Some(Action::Route(action)) = &route.action {
                targets(action, clusters, &at.field("route"))?;
            }
        }
    }
    Ok(())
}

fn targets(action: &rds::RouteAction, clusters: &HashSet<&str>, at: &At<'_>) -> Result<(), ConfigError> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => known(name, clusters, &at.field("cluster")),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let at = at.field("weighted_clusters");
            let at = at.field("clusters");
            let mut all = weighted.clusters.iter().enumerate();
            all.try_for_each(|(index, cluster)| known(&cluster.name, clusters, &at.index(index).field("name")))
        }
        _ => Ok(()),
    }
}

fn known(name: &str, clusters: &HashSet<&str>, at: &At<'_>) -> Result<(), ConfigError> {
    if clusters.contains(name) { Ok(()) } else { Err(at.refuse(name, "there is no cluster of this name")) }
}
