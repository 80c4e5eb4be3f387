//! Bootstrap files: static resources, the admin interface, and the limit on connections.

mod admin;
mod references;
mod runtime;
mod sources;
mod stats;

use std::collections::HashSet;
use std::sync::Arc;

use api::envoy::config::bootstrap::v3 as wire;
use api::envoy::config::overload::v3::{OverloadManager, resource_monitor::ConfigType};
use api::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use bytes::Bytes;

use super::{ReadFile, basics, cluster, listener, secret, source};
use crate::config::error::{At, ConfigError};
use crate::config::{Bootstrap, Cluster, Listener, Node, Secret};

pub(super) fn convert(
    wire: &wire::Bootstrap,
    file: Bytes,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Bootstrap, ConfigError> {
    let runtime = runtime::convert(wire.layered_runtime.as_ref(), &at.field("layered_runtime"))?;
    let (none, resources) = (wire::bootstrap::StaticResources::default(), at.field("static_resources"));
    let of = wire.static_resources.as_ref().unwrap_or(&none);
    let node = wire.node.as_ref();
    let bootstrap = Bootstrap {
        node: node.map(|node| Node { id: node.id.clone(), cluster: node.cluster.clone() }).unwrap_or_default(),
        listeners: listeners(of, &resources.field("listeners"), read_file)?,
        clusters: clusters(of, &resources.field("clusters"), read_file)?,
        secrets: secrets(of, &resources.field("secrets"), read_file)?,
        admin: wire.admin.as_ref().map(|admin| admin::address(admin, &at.field("admin"))).transpose()?.flatten(),
        max_connections: limit(wire, runtime.max_connections, at)?,
        runtime,
        stats: stats::convert(wire.stats_config.as_ref(), &at.field("stats_config"))?,
        dynamic: source::dynamic(wire.dynamic_resources.as_ref(), &at.field("dynamic_resources"))?,
        introduction: wire.node.clone().unwrap_or_default(),
        file,
    };
    references::check(of, &bootstrap, &resources)?;
    sources::check(of, &bootstrap, at)?;
    Ok(bootstrap)
}

type Static = wire::bootstrap::StaticResources;

/// A listener without a name is called by its address.
fn listeners(of: &Static, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Vec<Arc<Listener>>, ConfigError> {
    let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
    let one = |(index, wire)| {
        let at = at.index(index);
        let mut listener = listener::convert(wire, &at, read_file)?;
        if listener.name.is_empty() {
            listener.name = listener.address.to_string();
        }
        once(&mut names, listener.name.clone(), &at.field("name"), "another listener has this name")?;
        for address in listener.addresses() {
            once(&mut addresses, address, &at.field("address"), "another listener has this address")?;
        }
        Ok(Arc::new(listener))
    };
    of.listeners.iter().enumerate().map(one).collect()
}

fn clusters(of: &Static, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Vec<Arc<Cluster>>, ConfigError> {
    let mut names = HashSet::new();
    let one = |(index, wire)| {
        let at = at.index(index);
        let cluster = cluster::convert(wire, &at, read_file)?;
        once(&mut names, cluster.name.clone(), &at.field("name"), "another cluster has this name")?;
        Ok(Arc::new(cluster))
    };
    of.clusters.iter().enumerate().map(one).collect()
}

fn secrets(of: &Static, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Vec<(String, Arc<Secret>)>, ConfigError> {
    let mut names = HashSet::new();
    let one = |(index, wire): (usize, &_)| {
        let at = at.index(index);
        let secret = secret::convert(wire, &at, read_file)?;
        if wire.name.is_empty() {
            return Err(at.field("name").missing());
        }
        once(&mut names, wire.name.clone(), &at.field("name"), "another secret has this name")?;
        Ok((wire.name.clone(), Arc::new(secret)))
    };
    of.secrets.iter().enumerate().map(one).collect()
}

fn once<T>(seen: &mut HashSet<T>, value: T, at: &At<'_>, rule: &str) -> Result<(), ConfigError>
where
    T: Clone + Eq + std::hash::Hash + std::fmt::Display,
{
    if seen.insert(value.clone()) { Ok(()) } else { Err(at.refuse(value, rule)) }
}

/// By the overload manager, and by the runtime key that came before it: the smaller holds.
fn limit(wire: &wire::Bootstrap, runtime: Option<usize>, at: &At<'_>) -> Result<Option<usize>, ConfigError> {
    let manager = max_connections(wire.overload_manager.as_ref(), &at.field("overload_manager"))?;
    Ok(manager.into_iter().chain(runtime).min())
}

fn max_connections(wire: Option<&OverloadManager>, at: &At<'_>) -> Result<Option<usize>, ConfigError> {
    let mut most = None;
    let at = at.field("resource_monitors");
    for (index, monitor) in wire.into_iter().flat_map(|wire| &wire.resource_monitors).enumerate() {
        let at = at.index(index);
        let at = at.field("typed_config");
        let Some(ConfigType::TypedConfig(any)) = &monitor.config_type else { return Err(at.missing()) };
        let config: DownstreamConnectionsConfig = basics::unpack(any, &at)?;
        let at = at.field("max_active_downstream_connections");
        let number = usize::try_from(config.max_active_downstream_connections).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| at.refuse(config.max_active_downstream_connections, "is at least 1"))?;
        if most.replace(number).is_some() {
            return Err(at.refuse(number, "another monitor sets it"));
        }
    }
    Ok(most)
}
