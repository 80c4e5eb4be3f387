//! The VirtualServices that a sidecar heeds. Whose a host is says how it is reached: rules of its own namespace do, for
//! all; those of the root namespace, for all; and those of a caller's namespace, for its callers. Elsewhere a rule for
//! somebody else's host would let one namespace lead astray what others send to a third.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Hostname;
use galley::kinds::VirtualService;

use crate::virtual_service::Rules;
use crate::visibility::View;

/// Those that sidecars of an audience see, oldest first.
#[derive(Clone)]
pub(crate) struct MeshRules<'a> {
    rules: Vec<&'a Arc<Rules>>,
    /// The callers' namespace, and that whose policies hold for all.
    always: [&'a str; 2],
}

impl<'a> MeshRules<'a> {
    pub fn new(view: &View<'a>) -> Self {
        let client = view.audience.namespace.as_str();
        let visible = view.index.config.virtual_services.visible_in(client);
        let rules = visible.filter(|rules| rules.is_bound_to(VirtualService::MESH)).collect();
        Self { rules, always: [client, &view.index.mesh().root_namespace] }
    }

    /// The rules for a host of a namespace's service: those that name it most specifically, of these the oldest.
    pub fn of_host(&self, host: &str, owner: &str) -> Option<Arc<Rules>> {
        let heeded = self.rules.iter().rev().filter(|rules| self.heeds(rules, owner));
        let covering = heeded.filter_map(|rules| Some((rules.covers(host)?, *rules)));
        covering.max_by_key(|(specific, _)| *specific).map(|(_, rules)| Arc::clone(rules))
    }

    /// Hosts that only VirtualServices know, each with its rules.
    pub fn hosts_without_service<'v>(
        &'v self,
        view: &'v View<'a>,
    ) -> impl Iterator<Item = (&'a Rules, &'a Hostname)> + use<'a, 'v> {
        let hosts = self.rules.iter().flat_map(|rules| {
            let rules: &'a Rules = rules;
            rules.hosts.iter().map(move |host| (rules, host))
        });
        let hosts = hosts.filter(|(_, host)| host.as_str() != "*");
        hosts.filter(move |(rules, host)| view.service(host.as_str()).is_none() && self.may_name(rules, host, view))
    }

    fn heeds(&self, rules: &Rules, owner: &str) -> bool {
        let from = rules.meta.namespace.as_str();
        from == owner || self.always.contains(&from)
    }

    /// A host may be somebody's though these callers do not see it, or stand for a longer one.
    fn may_name(&self, rules: &Rules, host: &Hostname, view: &View<'_>) -> bool {
        let owners: BTreeSet<&str> = view.owners(host.as_str()).collect();
        owners.is_empty() || owners.iter().any(|owner| self.heeds(rules, owner))
    }
}
