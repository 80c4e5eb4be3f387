//! Rules that look at HTTP and hold on ports that do not speak it: what is left of them there covers more than they say.

use galley::Config;
use galley::kinds::{AccessAction, AuthorizationPolicy};

use super::object;
use crate::diagnostic::{Code, Findings};
use crate::node::Node;

/// Tells of each such rule that denies or has a provider asked, and of the port. One that allows is left out there
/// altogether, which nobody has to be warned of.
pub(super) fn complain(policies: &[&Config<AuthorizationPolicy>], node: &Node, found: &mut Findings) {
    for policy in policies {
        let so = match (policy.spec.action, policy.meta.is_dry_run()) {
            (AccessAction::Deny, false) => "denies connections",
            (AccessAction::Deny, true) => "would deny connections",
            (AccessAction::Custom, _) => "covers connections",
            (AccessAction::Allow | AccessAction::Audit, _) => continue,
        };
        for (number, rule) in policy.spec.rules.iter().enumerate() {
            let plain = node.services.iter().filter(|served| !served.protocol.is_http());
            for served in plain.filter(|served| rule.asks_for_http_on(served.port)) {
                let message = format!(
                    "rule[{number}] looks at what only HTTP has, which counts for nothing on port {}, which is not \
                     declared as HTTP: the rest of the rule {so} there; name the ports that it is meant for, or except \
                     this one (notPorts)",
                    served.port
                );
                found.add(Code::WrongProtocol, object(policy), message);
            }
        }
    }
}
