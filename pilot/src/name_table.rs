//! The names that an agent answers over DNS: every visible service under its host and aliases, at its virtual addresses,
//! or where its ready endpoints are if it is headless (Istio, `pkg/dns/server/name_table.go`). The shorter forms of a
//! name are the agent's to add, which knows its own namespace.

use std::collections::{BTreeMap, BTreeSet};

use api::istio::networking::nds::v1::NameTable;
use api::istio::networking::nds::v1::name_table::NameInfo;
use registry::{Address, Entry, Health, Location, Resolution};

use crate::resource::Resource;
use crate::visibility::View;

/// The only resource of its kind.
const NAME: &str = "nametable";
/// Istio's agent answers for the shorter forms of this registry's names, and of no other's.
const WITH_SHORT_NAMES: &str = "Kubernetes";

pub(crate) fn compile(view: &View<'_>) -> Resource {
    let mut table = BTreeMap::new();
    for entry in view.services() {
        let Some(ips) = addresses(entry) else { continue };
        let host = entry.service.host().as_str();
        table.insert(host.to_owned(), info(view, entry, host, ips));
        if is_headless(entry) {
            table.extend(of_pods(view, entry));
        }
    }
    for entry in view.services() {
        let Some(ips) = addresses(entry) else { continue };
        for alias in &entry.service.aliases {
            // A service's own name goes before what another is also called.
            table.entry(alias.to_string()).or_insert_with(|| NameInfo { ips: ips.clone(), ..plain(entry) });
        }
    }
    Resource::encode(NAME, &NameTable { table })
}

/// Whether the table holds the addresses of the service's endpoints.
pub(crate) fn is_headless(entry: &Entry) -> bool {
    entry.service.resolution == Resolution::Passthrough
        && entry.service.addresses.is_empty()
        && !entry.service.host().is_wildcard()
}

/// `None` for a name that is not the mesh's to answer. Of a headless service in the mesh nobody else knows anything:
/// the name exists even while no endpoint is ready.
fn addresses(entry: &Entry) -> Option<Vec<String>> {
    if is_headless(entry) {
        let ready = entry.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy);
        let mut ips: Vec<_> = ready.filter_map(|endpoint| ip(&endpoint.address)).collect();
        ips.sort_unstable();
        ips.dedup();
        let known = !ips.is_empty() || entry.service.location == Location::MeshInternal;
        return known.then(|| ips.iter().map(ToString::to_string).collect());
    }
    let nets = entry.virtual_addresses();
    let hosts = nets.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
    let ips: Vec<String> = hosts.map(|net| net.addr().to_string()).collect();
    (!ips.is_empty()).then_some(ips)
}

fn ip(address: &Address) -> Option<std::net::IpAddr> {
    match address {
        Address::Ip(ip) => Some(*ip),
        Address::Name(_) | Address::Unix(_) => None,
    }
}

/// The names that the pods of a headless service have below it: `db-0.db.default.svc.cluster.local`.
fn of_pods<'a>(view: &'a View<'_>, entry: &'a Entry) -> impl Iterator<Item = (String, NameInfo)> + use<'a> {
    let ready = entry.endpoints.iter().filter(|endpoint| endpoint.health == Health::Healthy);
    let mut by_name: BTreeMap<String, BTreeSet<std::net::IpAddr>> = BTreeMap::new();
    for endpoint in ready.filter(|endpoint| !endpoint.workload.hostname.is_empty()) {
        let name = format!("{}.{}", endpoint.workload.hostname, entry.service.host());
        by_name.entry(name).or_default().extend(ip(&endpoint.address));
    }
    by_name.into_iter().map(|(name, ips)| {
        let info = info(view, entry, &name, ips.iter().map(ToString::to_string).collect());
        (name, info)
    })
}

fn info(view: &View<'_>, entry: &Entry, host: &str, ips: Vec<String>) -> NameInfo {
    let namespace = entry.service.namespace();
    let suffix = format!(".{namespace}.svc.{}", view.index.mesh().domain);
    match host.strip_suffix(suffix.as_str()).filter(|short| !short.is_empty() && !short.contains('*')) {
        Some(short) => NameInfo {
            ips,
            registry: WITH_SHORT_NAMES.to_owned(),
            shortname: short.to_owned(),
            namespace: namespace.to_owned(),
            ..NameInfo::default()
        },
        None => NameInfo { ips, ..plain(entry) },
    }
}

fn plain(entry: &Entry) -> NameInfo {
    NameInfo { registry: entry.service.provenance.registry.to_string(), ..NameInfo::default() }
}
