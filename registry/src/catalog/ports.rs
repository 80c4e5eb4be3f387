//! The ports of a service that several registries tell of.
//!
//! Some platforms declare the port that callers name. Others (Consul, hosts that check in) know only where each instance
//! listens, so their number is a guess: what they tell serves the port that is declared, else the one that the first of
//! them guesses, each instance by its own port.

use std::sync::Arc;

use crate::model::{Protocol, Service, ServicePort};

/// All ports of a service as these registries describe it, the earlier deciding; and what they say differently.
pub(super) fn merge(descriptions: &[&Arc<Service>]) -> (Vec<ServicePort>, Vec<String>) {
    let mut ports: Vec<ServicePort> = Vec::new();
    let (mut whose, mut conflicts): (Vec<&str>, Vec<String>) = Default::default();
    let declared = descriptions.iter().filter(|service| !service.guesses_port);
    let guessed = descriptions.iter().filter(|service| service.guesses_port);
    for service in declared.chain(guessed) {
        let registry = &*service.provenance.registry;
        for port in &service.ports {
            let known = served(&ports, service, port)
                .and_then(|known| ports.iter().position(|port| port.number == known.number));
            let Some(index) = known else {
                ports.push(port.clone());
                whose.push(registry);
                continue;
            };
            let (known, first) = (&ports[index], whose[index]);
            if known.number != port.number {
                conflicts.push(format!(
                    "port {}: what {registry} knows there serves port {}, which {first} says; callers use {}; give the \
                     port that callers use there, too (in Consul by the meta weft-port), or another name to another service",
                    port.number, known.number, known.number,
                ));
            } else if known.protocol != port.protocol {
                conflicts.push(format!(
                    "port {}: {first} says {}, {registry} says {}; {first} decides",
                    port.number,
                    known.protocol.as_str(),
                    port.protocol.as_str(),
                ));
            }
        }
    }
    (ports, conflicts)
}

/// Which of the published ports is served by what a registry knows at a port of its own.
pub(super) fn served<'a>(published: &'a [ServicePort], own: &Service, port: &ServicePort) -> Option<&'a ServicePort> {
    let same = published.iter().find(|known| known.number == port.number);
    match published {
        [only] if own.guesses_port && agree(only.protocol, port.protocol) => same.or(Some(only)),
        _ => same,
    }
}

/// Whether the same could be spoken on both.
pub(crate) fn agree(one: Protocol, other: Protocol) -> bool {
    one == other || one == Protocol::Auto || other == Protocol::Auto
}
