//! Rules that look at HTTP and hold on ports where none is spoken: what is left of them there covers more than they say.

use galley::Config;
use galley::kinds::{AccessAction, AuthorizationPolicy};

use super::object;
use crate::diagnostic::{Code, Findings};
use crate::node::Node;

/// Tells of each such rule that denies or has a provider asked, and of the port. One that allows is left out there
/// altogether, which nobody has to be warned of.
pub(super) fn complain(policies: &[&Config<AuthorizationPolicy>], node: &Node, found: &mut Findings) {
    for policy in policies {
        let so = match policy.spec.action {
            AccessAction::Deny => "denies connections",
            AccessAction::Custom => "covers connections",
            AccessAction::Allow | AccessAction::Audit => continue,
        };
        let rules = policy.spec.rules.iter().enumerate().filter(|(_, rule)| rule.asks_for_http());
        for (number, rule) in rules {
            let plain = node.services.iter().filter(|served| !served.protocol.is_http());
            for served in plain.filter(|served| rule.is_about_port(served.port)) {
                let message = format!(
                    "rule[{number}] looks at what only HTTP has, which counts for nothing on port {}, where none is \
                     spoken: the rest of the rule {so} there; name the ports that it is meant for, or except this one \
                     (notPorts)",
                    served.port
                );
                found.add(Code::WrongProtocol, object(policy), message);
            }
        }
    }
}
