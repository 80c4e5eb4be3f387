//! AuthorizationPolicies as access control filters: one filter an action, one policy a rule, named so that a decision
//! names the rule (Istio `pilot/pkg/security/authz/builder`).

mod asked;
mod matching;
mod operation;
mod plain;
mod ports;
mod rule;
mod source;
mod term;

use std::collections::BTreeMap;

use api::envoy::config::listener::v3 as listener;
use api::envoy::config::rbac::v3 as rbac;
use api::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use galley::Config;
use galley::kinds::{AccessAction, AccessCondition, AuthorizationPolicy, TextAttribute};

pub(super) use self::asked::{cannot_be_put, who};
use self::rule::Rule;
pub(super) use self::source::aliases;
use crate::diagnostic::Findings;
use crate::http_manager::http_filter;
use crate::index::Index;
use crate::listener::network_filter;
use crate::mesh::MeshConfig;
use crate::node::Node;
use crate::visibility::View;

/// The policies that hold for one workload.
pub(super) struct Access<'a> {
    policies: Vec<&'a Config<AuthorizationPolicy>>,
    mesh: &'a MeshConfig,
}

/// What a chain speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http,
    /// Nothing that rules could look into.
    Tcp,
}

/// The rules of one action.
struct Rules {
    enforced: Option<rbac::Rbac>,
    /// Of policies that are only tried.
    tried: Option<rbac::Rbac>,
    tried_prefix: &'static str,
}

/// Before the names of metrics of connections.
const TCP: &str = "tcp.";

/// In the order in which they are asked, after `Custom`.
const DECIDED: [AccessAction; 3] = [AccessAction::Audit, AccessAction::Deny, AccessAction::Allow];

impl<'a> Access<'a> {
    pub fn of(index: &'a Index, node: &Node) -> Self {
        let (policies, mesh) = (&index.inputs.config.authorization_policies, index.mesh());
        let policies = super::of_node(policies, &mesh.root_namespace, node, |policy| policy.selector.as_ref());
        Self { policies, mesh }
    }

    pub fn decided(&self) -> impl Iterator<Item = http::HttpFilter> {
        DECIDED.into_iter().filter_map(|action| self.http_filter(action))
    }

    /// For connections on which no HTTP is spoken, or none that can be seen.
    pub fn of_connections(&self) -> impl Iterator<Item = listener::Filter> {
        DECIDED.into_iter().filter_map(|action| self.network_filter(action))
    }

    pub fn judges_paths(&self) -> bool {
        let mut operations = self.policies.iter().flat_map(|policy| &policy.spec.rules).flat_map(|rule| &rule.to);
        operations.any(|operation| !operation.paths.is_empty())
    }

    /// Whether a rule looks at headers, none of which has an underscore in its name.
    pub fn judges_plain_headers(&self) -> bool {
        let rules = self.policies.iter().flat_map(|policy| &policy.spec.rules);
        let mut names = rules.flat_map(|rule| &rule.when).filter_map(|condition| match condition {
            AccessCondition::Text(TextAttribute::RequestHeader(name), _) => Some(name),
            _ => None,
        });
        let any = names.clone().next().is_some();
        any && !names.any(|name| name.contains('_'))
    }

    /// What of the policies does not say what it seems to.
    pub fn complain(&self, view: &View<'_>, node: &Node, findings: &mut Findings) {
        ports::complain(&self.policies, view, node, findings);
        plain::complain(&self.policies, node, findings);
    }

    fn custom(&self) -> impl Iterator<Item = &&Config<AuthorizationPolicy>> {
        self.policies.iter().filter(|policy| policy.spec.action == AccessAction::Custom)
    }

    fn http_filter(&self, action: AccessAction) -> Option<http::HttpFilter> {
        let rules = self.rules(action, Speech::Http)?;
        let filter = HttpRbac {
            rules: rules.enforced,
            shadow_rules_stat_prefix: rules.tried.as_ref().map_or("", |_| rules.tried_prefix).to_owned(),
            shadow_rules: rules.tried,
            // As many series as there are rules.
            track_per_rule_stats: true,
            ..Default::default()
        };
        Some(http_filter("envoy.filters.http.rbac", &filter))
    }

    fn network_filter(&self, action: AccessAction) -> Option<listener::Filter> {
        let rules = self.rules(action, Speech::Tcp)?;
        let filter = NetworkRbac {
            stat_prefix: TCP.to_owned(),
            rules: rules.enforced,
            shadow_rules_stat_prefix: rules.tried.as_ref().map_or("", |_| rules.tried_prefix).to_owned(),
            shadow_rules: rules.tried,
            ..Default::default()
        };
        Some(network_filter("envoy.filters.network.rbac", &filter))
    }

    /// `None` if no policy has the action.
    fn rules(&self, action: AccessAction, speech: Speech) -> Option<Rules> {
        let tried_prefix = if action == AccessAction::Allow { "istio_dry_run_allow_" } else { "istio_dry_run_deny_" };
        let rules =
            Rules { enforced: self.rbac(action, speech, false), tried: self.rbac(action, speech, true), tried_prefix };
        (rules.enforced.is_some() || rules.tried.is_some()).then_some(rules)
    }

    fn rbac(&self, action: AccessAction, speech: Speech, dry_run: bool) -> Option<rbac::Rbac> {
        let of_action = |policy: &&&Config<AuthorizationPolicy>| {
            policy.spec.action == action && policy.meta.is_dry_run() == dry_run
        };
        let mut any = false;
        let mut policies = BTreeMap::new();
        for policy in self.policies.iter().filter(of_action) {
            any = true;
            for (number, rule) in policy.spec.rules.iter().enumerate() {
                let rule = Rule { rule, namespace: &policy.meta.namespace, mesh: self.mesh, speech, action };
                if let Some(compiled) = rule.compile() {
                    let mark = if action == AccessAction::Custom { asked::MARK } else { "" };
                    policies.insert(format!("{mark}{}", name(policy, number)), compiled);
                }
            }
        }
        let action = match action {
            AccessAction::Allow => rbac::rbac::Action::Allow,
            AccessAction::Deny | AccessAction::Custom => rbac::rbac::Action::Deny,
            AccessAction::Audit => rbac::rbac::Action::Log,
        };
        any.then(|| rbac::Rbac { action: action as i32, policies, ..Default::default() })
    }
}

/// `AuthorizationPolicy shop/readers`, as findings call it.
fn object(policy: &Config<AuthorizationPolicy>) -> String {
    format!("AuthorizationPolicy {}/{}", policy.meta.namespace, policy.meta.name)
}

/// `ns[shop]-policy[readers]-rule[0]`
fn name(policy: &Config<AuthorizationPolicy>, rule: usize) -> String {
    format!("ns[{}]-policy[{}]-rule[{rule}]", policy.meta.namespace, policy.meta.name)
}
