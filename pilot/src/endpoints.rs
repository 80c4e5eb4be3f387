//! The endpoints of a cluster, grouped by locality.

mod locality;

use std::collections::BTreeMap;

use api::envoy::config::cluster::v3::cluster::DiscoveryType;
use api::envoy::config::core::v3 as core;
use api::envoy::config::endpoint::v3 as endpoint;
use api::prost_types::Struct;
use endpoint::lb_endpoint::HostIdentifier;
use galley::kinds::{MtlsMode, selects};
use registry::{Address, Endpoint, Entry, Health, Locality, Resolution, TlsMode, Workload};

pub(crate) use locality::{fails_over, localities_matter};

use crate::clusters::Target;
use crate::wire;

/// A locality's endpoints of one priority.
#[derive(Debug)]
struct Group<'a> {
    locality: &'a Locality,
    priority: u32,
    weight: u32,
    endpoints: Vec<&'a Endpoint>,
}

/// The endpoints of one cluster before they are written down.
pub(crate) struct Assignment<'a> {
    target: &'a Target<'a>,
    groups: Vec<Group<'a>>,
}

impl<'a> Assignment<'a> {
    pub fn new(target: &'a Target<'a>) -> Self {
        let mut by_locality: BTreeMap<&Locality, Vec<&Endpoint>> = BTreeMap::new();
        for endpoint in usable(target) {
            by_locality.entry(&endpoint.workload.locality).or_default().push(endpoint);
        }
        let groups = by_locality.into_iter().map(|(locality, endpoints)| Group {
            locality,
            priority: 0,
            weight: endpoints.iter().map(|endpoint| endpoint.weight.max(1)).sum(),
            endpoints,
        });
        let groups = locality::arrange(target.view.audience, &target.traffic, groups.collect());
        Self { target, groups }
    }

    pub fn eds(&self) -> endpoint::ClusterLoadAssignment {
        let by_address = |endpoint: &&&Endpoint| !matches!(endpoint.address, Address::Name(_));
        let groups = self.groups.iter().map(|group| self.locality(group, by_address));
        endpoint::ClusterLoadAssignment {
            cluster_name: self.target.name.clone(),
            endpoints: groups.filter(|group| !group.lb_endpoints.is_empty()).collect(),
            ..Default::default()
        }
    }

    fn locality(&self, group: &Group<'_>, kept: impl Fn(&&&Endpoint) -> bool) -> endpoint::LocalityLbEndpoints {
        let known = *group.locality != Locality::default();
        endpoint::LocalityLbEndpoints {
            locality: known.then(|| core::Locality {
                region: group.locality.region.clone(),
                zone: group.locality.zone.clone(),
                sub_zone: group.locality.sub_zone.clone(),
            }),
            lb_endpoints: group
                .endpoints
                .iter()
                .filter(kept)
                .map(|endpoint| lb_endpoint(self.target, endpoint))
                .collect(),
            load_balancing_weight: Some(group.weight),
            priority: group.priority,
            ..Default::default()
        }
    }
}

/// The endpoints, in the cluster itself, of one that is looked up by DNS.
pub(crate) fn dns(target: &Target<'_>, discovery: DiscoveryType) -> endpoint::ClusterLoadAssignment {
    let assignment = Assignment::new(target);
    let mut endpoints: Vec<_> = assignment.groups.iter().map(|group| assignment.locality(group, |_| true)).collect();
    // Whose endpoints are known, and none of them usable, is not looked up by its own name.
    let by_host = target.entry.service.resolution != Resolution::Static && !target.entry.service.host().is_wildcard();
    if endpoints.is_empty() && by_host {
        let address = wire::socket_address(target.entry.service.host().as_str(), target.port.number);
        endpoints.push(endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![at(address)],
            load_balancing_weight: Some(1),
            ..Default::default()
        });
    }
    if discovery == DiscoveryType::LogicalDns {
        endpoints.truncate(1);
        endpoints.iter_mut().for_each(|group| group.lb_endpoints.truncate(1));
    }
    endpoint::ClusterLoadAssignment { cluster_name: target.name.clone(), endpoints, ..Default::default() }
}

/// Whether an endpoint is to be looked up by the DNS.
pub(crate) fn has_names(entry: &Entry) -> bool {
    entry.endpoints.iter().any(|endpoint| matches!(endpoint.address, Address::Name(_)))
}

/// An endpoint of which nothing but the address is known.
pub(crate) fn at(address: core::Address) -> endpoint::LbEndpoint {
    let endpoint = endpoint::Endpoint { address: Some(address), ..Default::default() };
    endpoint::LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() }
}

/// Endpoints of the port and subset that may take traffic.
fn usable<'a>(target: &Target<'a>) -> impl Iterator<Item = &'a Endpoint> {
    let (port, subset) = (target.port, target.subset);
    target.entry.endpoints.iter().filter(move |endpoint| {
        endpoint.service_port == port.name
            && endpoint.health != Health::Unhealthy
            && subset.is_none_or(|subset| selects(&subset.labels, &endpoint.workload.labels))
    })
}

fn lb_endpoint(target: &Target<'_>, of: &Endpoint) -> endpoint::LbEndpoint {
    let address = match &of.address {
        Address::Ip(ip) => wire::socket_address(&ip.to_string(), of.port),
        Address::Name(name) => wire::socket_address(name, of.port),
        Address::Unix(path) => {
            let pipe = core::Pipe { path: path.clone(), ..Default::default() };
            core::Address { address: Some(core::address::Address::Pipe(pipe)) }
        }
    };
    let status = match of.health {
        Health::Healthy => core::HealthStatus::Healthy,
        Health::Draining => core::HealthStatus::Draining,
        Health::Unhealthy => core::HealthStatus::Unhealthy,
    };
    endpoint::LbEndpoint {
        health_status: status as i32,
        metadata: metadata(target, of),
        load_balancing_weight: Some(of.weight.max(1)),
        ..at(address)
    }
}

/// Who is there, and whether connections to it are to be mutual TLS.
fn metadata(target: &Target<'_>, of: &Endpoint) -> Option<core::Metadata> {
    let workload = &of.workload;
    let mode = target.view.index.config.peers.of_port(&workload.namespace, &workload.labels, of.port);
    let mutual = of.tls == TlsMode::Istio && mode != MtlsMode::Disable;
    let tls = if mutual { wire::structure([("tlsMode", wire::string("istio"))]) } else { Struct::default() };
    let istio = wire::structure([("workload", wire::string(describe(workload)))]);
    wire::metadata([("envoy.transport_socket_match", tls), ("istio", istio)])
}

/// `name;namespace;canonical service;canonical revision;cluster`.
fn describe(workload: &Workload) -> String {
    let (service, revision) = (workload.canonical_name(), workload.canonical_revision());
    format!("{};{};{service};{revision};{}", workload.name, workload.namespace, workload.cluster)
}
