//! The inputs, arranged for lookup. The part made from configuration is kept for as long as configuration stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use galley::kinds::Labels;
use registry::Locality;

use crate::audience::Audience;
use crate::destination_rule::DestinationRules;
use crate::diagnostic::{Diagnostic, Findings};
use crate::inputs::Inputs;
use crate::mesh::MeshConfig;
use crate::node::{Node, NodeKind};
use crate::policy::PeerPolicies;
use crate::telemetry::Telemetries;
use crate::virtual_service::VirtualServices;

/// One reading of everything.
#[derive(Debug)]
pub(crate) struct Index {
    pub inputs: Inputs,
    pub config: Arc<ConfigIndex>,
}

/// Configuration with names resolved.
#[derive(Debug)]
pub(crate) struct ConfigIndex {
    pub rules: DestinationRules,
    pub virtual_services: VirtualServices,
    pub peers: PeerPolicies,
    pub telemetries: Telemetries,
    /// Labels that clients are told apart by.
    client_labels: BTreeSet<String>,
    /// Whether any rule looks at where a client is.
    locality_matters: bool,
    /// What is wrong whichever proxy is looked at.
    pub diagnostics: Vec<Diagnostic>,
}

impl Index {
    pub fn new(inputs: &Inputs) -> Self {
        Self { inputs: inputs.clone(), config: Arc::new(ConfigIndex::new(inputs)) }
    }

    /// For inputs of the same configuration.
    pub fn with_catalog(&self, inputs: &Inputs) -> Self {
        Self { inputs: inputs.clone(), config: Arc::clone(&self.config) }
    }

    pub fn mesh(&self) -> &MeshConfig {
        &self.inputs.mesh
    }

    pub fn audience(&self, node: &Node) -> Audience {
        let keys = &self.config.client_labels;
        let labels: Labels =
            node.labels.iter().filter(|(key, _)| keys.contains(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let locality = if self.config.locality_matters { node.locality.clone() } else { Locality::default() };
        Audience {
            kind: node.kind,
            namespace: node.namespace.clone(),
            labels,
            locality,
            features: node.features,
            capture: node.capture.filter(|_| node.kind == NodeKind::Sidecar),
        }
    }
}

impl ConfigIndex {
    fn new(inputs: &Inputs) -> Self {
        let (config, mesh) = (&inputs.config, &inputs.mesh);
        let mut findings = Findings::default();
        let virtual_services = VirtualServices::new(&config.virtual_services, mesh, &mut findings);
        let mut client_labels = virtual_services.source_labels();
        let telemetries = Telemetries::new(config, &mesh.root_namespace);
        client_labels.extend(telemetries.labels().cloned());
        let mut locality_matters = false;
        for rule in config.destination_rules.iter().map(|rule| &rule.spec) {
            client_labels.extend(rule.workload_selector.iter().flat_map(|labels| labels.keys().cloned()));
            let of_subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
            for policy in rule.traffic_policy.iter().chain(of_subsets) {
                locality_matters |= policy.outlier_detection.is_some() || policy.load_balancer.is_some();
                locality_matters |= !policy.port_level.is_empty();
                let balancers =
                    policy.load_balancer.iter().chain(policy.port_level.iter().flat_map(|p| &p.load_balancer));
                let localities = balancers.filter_map(|lb| lb.locality.as_ref());
                let priorities = localities.flat_map(|locality| &locality.failover_priority);
                client_labels.extend(priorities.filter_map(|label| label.split('=').next()).map(str::to_owned));
            }
        }
        Self {
            rules: DestinationRules::new(&config.destination_rules, mesh),
            virtual_services,
            peers: PeerPolicies::new(&config.peer_authentications, &mesh.root_namespace),
            telemetries,
            client_labels,
            locality_matters,
            diagnostics: findings.into_vec(),
        }
    }
}
