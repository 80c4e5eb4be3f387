//! Rules that name a service's port where the workload listens on another: they hold for nothing, which of a DENY nobody
//! would notice (Istio's `ports` and `destination.port` are those of the workload).

use galley::Config;
use galley::kinds::{AccessCondition, AuthorizationPolicy};
use registry::Service;

use super::object;
use crate::diagnostic::{Code, Findings};
use crate::node::Node;
use crate::visibility::View;

/// Tells of each port that a policy names, that a service of the workload has, and that the workload does not listen on.
pub(super) fn complain(policies: &[&Config<AuthorizationPolicy>], view: &View<'_>, node: &Node, found: &mut Findings) {
    let domain = &view.index.mesh().domain;
    let hosts = node.services.iter().map(|served| api::Hostname::resolve(&served.service, &node.namespace, domain));
    let services = hosts.filter_map(|host| view.named(host.ok()?.as_ref()).map(|entry| &*entry.service));
    let services: Vec<&Service> = services.collect();
    let listens = |port: u16| node.services.iter().any(|served| served.port == port);
    let served: Vec<String> = node.services.iter().map(|served| served.port.to_string()).collect();
    for policy in policies {
        for (port, is_exception) in named(&policy.spec).filter(|(port, _)| !listens(*port)) {
            let Some(of) = services.iter().find(|service| service.ports.iter().any(|other| other.number == port))
            else {
                continue;
            };
            let so = if is_exception { "nothing is excepted" } else { "nothing is covered" };
            let message = format!(
                "port {port} is that of the service {}, but rules look at the port of the workload: where it listens on \
                 {}, {so}; name that port",
                of.key.host,
                served.join(", ")
            );
            found.add(Code::UnknownPort, object(policy), message);
        }
    }
}

/// The ports that a policy names, and whether they are exceptions (`notPorts`).
fn named(policy: &AuthorizationPolicy) -> impl Iterator<Item = (u16, bool)> {
    let operations = policy.rules.iter().flat_map(|rule| &rule.to).map(|operation| &operation.ports);
    let conditions = policy.rules.iter().flat_map(|rule| &rule.when).filter_map(|condition| match condition {
        AccessCondition::Port(ports) => Some(ports),
        _ => None,
    });
    operations.chain(conditions).flat_map(|ports| {
        let none = ports.none.iter().map(|port| (*port, true));
        ports.any.iter().map(|port| (*port, false)).chain(none)
    })
}
