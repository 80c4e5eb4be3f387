//! Whether a workload's port demands mutual TLS: the narrowest PeerAuthentication that says so decides.

use std::sync::Arc;

use galley::Config;
use galley::kinds::{Labels, MtlsMode, PeerAuthentication, selects};

/// All PeerAuthentications, oldest first.
#[derive(Debug, Default)]
pub(crate) struct PeerPolicies {
    root_namespace: String,
    policies: Vec<Arc<Config<PeerAuthentication>>>,
}

impl PeerPolicies {
    pub fn new(policies: &[Arc<Config<PeerAuthentication>>], root_namespace: &str) -> Self {
        Self { root_namespace: root_namespace.to_owned(), policies: policies.to_vec() }
    }

    /// The mode of a port that a workload listens on; never `Unset`.
    pub fn of_port(&self, namespace: &str, labels: &Labels, port: u16) -> MtlsMode {
        let of_workload = self.of_workload(namespace, labels);
        let at_port = of_workload.and_then(|policy| policy.port_level.get(&port)).copied();
        let modes = [at_port, of_workload.map(|policy| policy.mode), Some(self.of_namespace(namespace))];
        modes.into_iter().flatten().find(|mode| *mode != MtlsMode::Unset).unwrap_or(MtlsMode::Permissive)
    }

    /// The mode of the ports that no policy names.
    pub fn of_other_ports(&self, namespace: &str, labels: &Labels) -> MtlsMode {
        self.of_port(namespace, labels, 0)
    }

    /// The ports that the workload's policy names.
    pub fn named_ports<'a>(&'a self, namespace: &'a str, labels: &Labels) -> impl Iterator<Item = u16> + use<'a> {
        self.of_workload(namespace, labels).into_iter().flat_map(|policy| policy.port_level.keys().copied())
    }

    /// The mode that a caller assumes of a service's workloads: that of their namespace, else of the mesh.
    pub fn of_namespace(&self, namespace: &str) -> MtlsMode {
        let scopes = [namespace, self.root_namespace.as_str()].into_iter();
        let mut modes = scopes
            .filter_map(|scope| self.scoped(scope).find(|policy| !is_selective(policy)).map(|policy| policy.mode));
        modes.find(|mode| *mode != MtlsMode::Unset).unwrap_or(MtlsMode::Permissive)
    }

    fn of_workload<'a>(&'a self, namespace: &'a str, labels: &Labels) -> Option<&'a PeerAuthentication> {
        let selects_it = |wanted: &Labels| !wanted.is_empty() && selects(wanted, labels);
        self.scoped(namespace).find(|policy| policy.selector.as_ref().is_some_and(selects_it))
    }

    fn scoped<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a PeerAuthentication> {
        self.policies.iter().filter(move |policy| policy.meta.namespace == namespace).map(|policy| &policy.spec)
    }
}

fn is_selective(policy: &PeerAuthentication) -> bool {
    policy.selector.as_ref().is_some_and(|labels| !labels.is_empty())
}
