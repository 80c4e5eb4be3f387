//! Which DestinationRule holds for a client and a service, and what it says for a port and subset.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Hostname;
use galley::kinds::{
    ClientTls, ConnectionPool, DestinationRule, ExportTo, LoadBalancer, OutlierDetection, ProxyProtocol, RetryBudget,
    Subset, TrafficPolicy, Tunnel, selects,
};
use galley::{Config, Meta};

use crate::audience::Audience;
use crate::mesh::MeshConfig;

/// All rules, by the namespace they are in, most specific host first.
#[derive(Debug, Default)]
pub(crate) struct DestinationRules(BTreeMap<String, Vec<Arc<Rule>>>);

/// One rule, or several of one namespace for the same host put together.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub host: Hostname,
    /// Of the oldest rule it is made from.
    pub meta: Meta,
    pub policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
    export_to: ExportTo,
    selector: Option<BTreeMap<String, String>>,
}

/// What holds for one port of a service (or of a subset of it).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PortTraffic {
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<ClientTls>,
    pub tunnel: Option<Tunnel>,
    pub proxy_protocol: Option<ProxyProtocol>,
    pub retry_budget: Option<RetryBudget>,
}

impl DestinationRules {
    /// Rules whose host is no hostname are left out: the check refuses them before.
    pub fn new(configs: &[Arc<Config<DestinationRule>>], mesh: &MeshConfig) -> Self {
        let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for config in configs {
            let Ok(host) = Hostname::resolve(&config.spec.host, &config.meta.namespace, &mesh.domain) else { continue };
            let known = rules.entry(config.meta.namespace.clone()).or_default();
            let rule = Rule::new(host, config);
            match known.iter_mut().find(|known| known.merges_with(&rule)) {
                Some(known) => known.merge(rule),
                None => known.push(rule),
            }
        }
        let sorted = rules.into_iter().map(|(namespace, mut rules)| {
            // Stable: rules of one host stay oldest first.
            rules.sort_by_key(|rule| (rule.host.is_wildcard(), std::cmp::Reverse(rule.host.as_str().len())));
            (namespace, rules.into_iter().map(Arc::new).collect())
        });
        Self(sorted.collect())
    }

    /// The rule for a client: of its own namespace, else exported by the service's, else by the root namespace.
    pub fn of(&self, client: &Audience, host: &str, namespace: &str, mesh: &MeshConfig) -> Option<Arc<Rule>> {
        let own = (client.namespace.as_str(), true);
        let scopes = [own, (namespace, false), (mesh.root_namespace.as_str(), false)];
        scopes.into_iter().find_map(|(scope, own)| {
            let covering = self.0.get(scope)?.iter().filter(|rule| rule.host.covers(host));
            let visible = covering.filter(|rule| own || rule.export_to.visible_in(&client.namespace));
            let usable: Vec<_> = visible.filter(|rule| rule.is_for(client, scope)).collect();
            let host = &usable.first()?.host;
            let same_host = || usable.iter().filter(|rule| rule.host == *host);
            same_host().find(|rule| rule.selector.is_some()).or_else(|| same_host().next()).map(|rule| Arc::clone(rule))
        })
    }
}

impl Rule {
    fn new(host: Hostname, config: &Config<DestinationRule>) -> Self {
        let spec = &config.spec;
        Self {
            host,
            meta: config.meta.clone(),
            policy: spec.traffic_policy.clone(),
            subsets: spec.subsets.clone(),
            export_to: spec.export_to.clone(),
            selector: spec.workload_selector.clone().filter(|labels| !labels.is_empty()),
        }
    }

    fn merges_with(&self, other: &Self) -> bool {
        let unselective = self.selector.is_none() && other.selector.is_none();
        unselective && self.host == other.host && self.export_to == other.export_to
    }

    /// Takes what a younger rule for the same host adds.
    fn merge(&mut self, younger: Self) {
        for subset in younger.subsets {
            if !self.subsets.iter().any(|known| known.name == subset.name) {
                self.subsets.push(subset);
            }
        }
        self.policy = self.policy.take().or(younger.policy);
    }

    /// A rule with a selector is for clients of its own namespace that it selects.
    fn is_for(&self, client: &Audience, scope: &str) -> bool {
        self.selector.as_ref().is_none_or(|wanted| scope == client.namespace && selects(wanted, &client.labels))
    }

    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }

    /// What holds for a port, of the whole service or of one of its subsets.
    pub fn traffic(&self, port: u16, subset: Option<&Subset>) -> PortTraffic {
        let whole = PortTraffic::default().overridden(self.policy.as_ref(), port);
        whole.overridden(subset.and_then(|subset| subset.traffic_policy.as_ref()), port)
    }
}

impl PortTraffic {
    /// Block by block; a port-level policy replaces all blocks that it may have at once (Istio `MergeTrafficPolicy`).
    fn overridden(mut self, policy: Option<&TrafficPolicy>, port: u16) -> Self {
        let Some(policy) = policy else { return self };
        self.tunnel = policy.tunnel.clone().or(self.tunnel);
        self.proxy_protocol = policy.proxy_protocol.or(self.proxy_protocol);
        self.retry_budget = policy.retry_budget.clone().or(self.retry_budget);
        if let Some(own) = policy.port_level.iter().find(|level| level.port == port) {
            return Self {
                load_balancer: own.load_balancer.clone(),
                connection_pool: own.connection_pool.clone(),
                outlier_detection: own.outlier_detection.clone(),
                tls: own.tls.clone(),
                ..self
            };
        }
        Self {
            load_balancer: policy.load_balancer.clone().or(self.load_balancer),
            connection_pool: policy.connection_pool.clone().or(self.connection_pool),
            outlier_detection: policy.outlier_detection.clone().or(self.outlier_detection),
            tls: policy.tls.clone().or(self.tls),
            ..self
        }
    }
}
