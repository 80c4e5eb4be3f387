//! Outbound clusters: one per service port and subset.

mod balance;
mod pool;
mod security;

use std::time::Duration;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use galley::kinds::Subset;
use registry::{Entry, Protocol, Resolution, ServicePort};

use crate::destination_rule::{PortTraffic, Rule};
use crate::diagnostic::{Code, Findings};
use crate::endpoints::{self, Assignment};
use crate::names;
use crate::resource::Resource;
use crate::visibility::View;
use crate::wire;

/// How often names are looked up whose answers tell no lifetime.
const DNS_REFRESH: Duration = Duration::from_secs(60);

/// A cluster to be, and what it is made from.
pub(crate) struct Target<'a> {
    pub view: &'a View<'a>,
    pub entry: &'a Entry,
    pub port: &'a ServicePort,
    pub subset: Option<&'a Subset>,
    pub rule: Option<&'a Rule>,
    pub traffic: PortTraffic,
    pub name: String,
}

/// What one service makes: clusters, and the assignments of those that get their endpoints by EDS.
#[derive(Default)]
pub(crate) struct Made {
    pub clusters: Vec<Resource>,
    pub assignments: Vec<Resource>,
}

/// Everything for one service as one audience sees it.
pub(crate) fn of_service(view: &View<'_>, entry: &Entry, findings: &mut Findings) -> Made {
    let rule = view.rule(&entry.service);
    let mut made = Made::default();
    for port in entry.service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
        let subsets = rule.iter().flat_map(|rule| &rule.subsets).map(Some);
        for subset in std::iter::once(None).chain(subsets) {
            let target = Target::new(view, entry, port, subset, rule.as_deref());
            target.make(&mut made, findings);
        }
    }
    made
}

/// Whether proxies speak HTTP/2 to a port from the start.
pub(crate) fn is_http2(view: &View<'_>, entry: &Entry, port: &ServicePort) -> bool {
    let rule = view.rule(&entry.service);
    Target::new(view, entry, port, None, rule.as_deref()).is_http2()
}

impl<'a> Target<'a> {
    fn new(
        view: &'a View<'a>,
        entry: &'a Entry,
        port: &'a ServicePort,
        subset: Option<&'a Subset>,
        rule: Option<&'a Rule>,
    ) -> Self {
        let traffic = rule.map(|rule| rule.traffic(port.number, subset)).unwrap_or_default();
        let name = names::outbound_cluster(port.number, subset_name(subset), entry.service.host().as_str());
        Self { view, entry, port, subset, rule, traffic, name }
    }

    /// Whether connections are HTTP/2 from the start: by the port's protocol, or by the rule's upgrade.
    pub fn is_http2(&self) -> bool {
        self.port.protocol.is_http2() || pool::upgrades_to_http2(self)
    }

    fn make(&self, made: &mut Made, findings: &mut Findings) {
        let discovery = self.discovery();
        let Some(discovery) = discovery else {
            let object = format!("service {}", self.entry.service.key);
            findings.add(Code::Unsupported, object, "a wildcard host without endpoints cannot be looked up yet");
            return;
        };
        let cluster = self.cluster(discovery, findings);
        made.clusters.push(Resource::encode(&self.name, &cluster));
        if discovery == DiscoveryType::Eds {
            let assignment = Assignment::new(self).eds();
            made.assignments.push(Resource::encode(&self.name, &assignment));
        }
    }

    /// How endpoints are found. A service whose callers dial its addresses themselves is, through an explicit proxy,
    /// looked up by its name.
    fn discovery(&self) -> Option<DiscoveryType> {
        let service = &self.entry.service;
        let by_name = !service.host().is_wildcard();
        match service.resolution {
            // EDS carries no names (Envoy: `ClusterLoadAssignment` of EDS holds IP addresses only).
            Resolution::Static if endpoints::has_names(self.entry) => Some(DiscoveryType::StrictDns),
            Resolution::Static => Some(DiscoveryType::Eds),
            Resolution::DnsRoundRobin => Some(DiscoveryType::LogicalDns),
            Resolution::Dns => Some(DiscoveryType::StrictDns),
            Resolution::Passthrough | Resolution::DynamicDns if !self.entry.endpoints.is_empty() => {
                Some(DiscoveryType::Eds)
            }
            Resolution::Passthrough | Resolution::DynamicDns => by_name.then_some(DiscoveryType::StrictDns),
        }
    }

    fn cluster(&self, discovery: DiscoveryType, findings: &mut Findings) -> cluster::Cluster {
        let mut cluster = cluster::Cluster {
            name: self.name.clone(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery as i32)),
            metadata: self.metadata(),
            ..Default::default()
        };
        if discovery == DiscoveryType::Eds {
            let config = EdsClusterConfig { eds_config: Some(wire::ads()), service_name: self.name.clone() };
            cluster.eds_cluster_config = Some(config);
        } else {
            cluster.load_assignment = Some(endpoints::dns(self, discovery));
            refresh_by_ttl(&mut cluster);
        }
        pool::apply(self, &mut cluster);
        balance::apply(self, &mut cluster, findings);
        security::apply(self, &mut cluster, findings);
        self.complain(findings);
        cluster
    }

    /// The rule that is applied, as diagnostics name it.
    fn rule_name(&self) -> Option<String> {
        self.rule.map(|rule| format!("DestinationRule {}/{}", rule.meta.namespace, rule.meta.name))
    }

    /// Tells what of the rule's traffic policy is not done.
    fn complain(&self, findings: &mut Findings) {
        let Some(object) = self.rule_name() else { return };
        let mut unsupported = |message: &str| findings.add(Code::Unsupported, object.clone(), message);
        if self.traffic.retry_budget.as_ref().is_some_and(|budget| !budget.budget_interval.is_zero()) {
            unsupported("retryBudget.budgetInterval is not applied; the budget counts requests that are under way");
        }
        if self.traffic.tunnel.is_some() {
            unsupported("tunnel is not applied; connections go to the service itself");
        }
    }

    /// The services a cluster stands for, and the rule it was made with.
    fn metadata(&self) -> Option<core::Metadata> {
        let mut istio = service_metadata(&self.entry.service);
        if let Some(rule) = self.rule {
            let config = names::config("destination-rule", &rule.meta.namespace, &rule.meta.name);
            istio.fields.insert("config".into(), wire::string(config));
        }
        if let Some(subset) = self.subset {
            istio.fields.insert("subset".into(), wire::string(&subset.name));
        }
        wire::metadata([("istio", istio)])
    }
}

#[expect(deprecated, reason = "the replacement is an extension that Envoy releases in use do not have")]
pub(crate) fn refresh_by_ttl(cluster: &mut cluster::Cluster) {
    cluster.respect_dns_ttl = true;
    cluster.dns_refresh_rate = Some(wire::duration(DNS_REFRESH));
}

/// `services: [{host, name, namespace}]`, by which proxies name the destination in metrics.
pub(crate) fn service_metadata(service: &registry::Service) -> api::prost_types::Struct {
    let host = service.host().as_str();
    let name = host.split('.').next().filter(|_| host.contains(".svc.")).unwrap_or(host);
    let service = wire::object([
        ("host", wire::string(host)),
        ("name", wire::string(name)),
        ("namespace", wire::string(service.namespace())),
    ]);
    wire::structure([("services", wire::list(vec![service]))])
}

/// The same of whatever is outside the mesh, under the one name that Istio has for it, whoever was asked for.
pub(crate) fn outside() -> api::prost_types::Struct {
    let name = || wire::string(names::PASSTHROUGH);
    let service = wire::object([("host", name()), ("name", name()), ("namespace", wire::string(""))]);
    wire::structure([("services", wire::list(vec![service]))])
}

pub(crate) fn subset_name(subset: Option<&Subset>) -> &str {
    subset.map_or("", |subset| &subset.name)
}

pub(crate) use pool::{as_downstream, http2, limits};
