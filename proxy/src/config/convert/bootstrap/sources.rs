//! Where the resources of a bootstrap file refer to others: a secret without a source stands in the file, a file that
//! is named is there, and a server is one that can be reached without resources from it.

use std::collections::HashSet;

use api::envoy::config::bootstrap::v3::bootstrap::StaticResources;

use super::super::refers;
use crate::config::error::{At, ConfigError};
use crate::config::{Ads, Bootstrap, Discovery, Reference, ResourceKind, ResourceSource, Source, UpstreamProtocol};

pub(super) fn check(of: &StaticResources, bootstrap: &Bootstrap, at: &At<'_>) -> Result<(), ConfigError> {
    let resources = at.field("static_resources");
    let listeners = resources.field("listeners");
    for (index, listener) in of.listeners.iter().enumerate() {
        references(&refers::of_listener(listener)?, bootstrap, &listeners.index(index))?;
    }
    let clusters = resources.field("clusters");
    for (index, cluster) in of.clusters.iter().enumerate() {
        references(&refers::of_cluster(cluster)?, bootstrap, &clusters.index(index))?;
    }
    let dynamic = at.field("dynamic_resources");
    for (name, given) in [("lds_config", &bootstrap.dynamic.listeners), ("cds_config", &bootstrap.dynamic.clusters)] {
        given.as_ref().map_or(Ok(()), |given| source(given, bootstrap, &dynamic.field(name)))?;
    }
    bootstrap.dynamic.ads.as_ref().map_or(Ok(()), |ads| server(ads, bootstrap, &dynamic.field("ads_config")))
}

fn references(all: &[Reference], bootstrap: &Bootstrap, at: &At<'_>) -> Result<(), ConfigError> {
    let secrets: HashSet<&str> = bootstrap.secrets.iter().map(|(name, _)| name.as_str()).collect();
    for reference in all {
        let field = match reference.kind {
            ResourceKind::Endpoint => "eds_cluster_config.eds_config",
            ResourceKind::Route => "filter_chains: rds.config_source",
            _ => "transport_socket: sds_config",
        };
        let at = at.field(field);
        match &reference.source {
            Some(given) => source(given, bootstrap, &at)?,
            None if secrets.contains(reference.name.as_str()) => {}
            None => {
                let rule = "there is no secret of this name in static_resources.secrets";
                return Err(at.refuse(&reference.name, rule));
            }
        }
    }
    Ok(())
}

fn source(given: &ResourceSource, bootstrap: &Bootstrap, at: &At<'_>) -> Result<(), ConfigError> {
    match &given.from {
        Source::Ads if bootstrap.dynamic.ads.is_some() => Ok(()),
        Source::Ads => Err(at.refuse("ads", "needs a server; give it in dynamic_resources.ads_config")),
        Source::Same => {
            Err(at.refuse("self", "means nothing for a static resource; say `ads` or `path_config_source`"))
        }
        Source::File(file) if file.path.exists() => Ok(()),
        Source::File(file) => {
            Err(at.refuse(file.path.display(), "there is no such file; it has to be there at the start"))
        }
    }
}

fn server(ads: &Ads, bootstrap: &Bootstrap, at: &At<'_>) -> Result<(), ConfigError> {
    let at = at.field("grpc_services");
    let at = at.index(0);
    let at = at.field("envoy_grpc");
    let at = at.field("cluster_name");
    let refuse = |rule: &str| Err(at.refuse(&ads.cluster, rule));
    let Some(cluster) = bootstrap.clusters.iter().find(|cluster| cluster.name == ads.cluster) else {
        return refuse("there is no cluster of this name in static_resources.clusters");
    };
    let fixed = matches!(cluster.discovery, Discovery::Static(_) | Discovery::StrictDns(_) | Discovery::LogicalDns(_));
    if !fixed {
        return refuse("the cluster of the server is STATIC, STRICT_DNS or LOGICAL_DNS");
    }
    if cluster.protocol != UpstreamProtocol::Http2 {
        let rule = "gRPC needs HTTP/2; give the cluster explicit_http_config.http2_protocol_options in its \
                    typed_extension_protocol_options";
        return refuse(rule);
    }
    let node = &bootstrap.node;
    if node.id.is_empty() || node.cluster.is_empty() {
        let (node, rule) = (At::file(), "are required: the server tells proxies apart by them");
        return Err(node.field("node").refuse("id or cluster not set", rule));
    }
    Ok(())
}
