//! The port that callers of a Consul service use. Consul knows none: it knows where each instance listens.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::agree;
use crate::model::{Endpoint, Service, ServicePort};

/// Has instances that could take each other's place serve one port, each where it listens: the one that the meta
/// `weft-port` declares, else the one on which most of them listen. Returns what is to be told.
pub(super) fn settle(
    name: &str,
    service: &mut Service,
    endpoints: &mut [Endpoint],
    declared: &BTreeSet<u16>,
) -> Option<String> {
    service.guesses_port = declared.is_empty();
    let count = |port: &ServicePort| endpoints.iter().filter(|endpoint| endpoint.service_port == port.name).count();
    let mut ports: Vec<(usize, ServicePort)> = service.ports.iter().map(|port| (count(port), port.clone())).collect();
    let is_declared = |port: &ServicePort| declared.contains(&port.number);
    ports.sort_by_key(|(count, port)| (!is_declared(port), Reverse(*count), port.number));
    let mut kept: Vec<ServicePort> = Vec::new();
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for (_, port) in ports {
        let taker = match &kept[..] {
            // Which of several it would be nobody can tell.
            all if declared.len() > 1 && all.len() > 1 => None,
            all => all.iter().find(|known| agree(known.protocol, port.protocol)),
        };
        match taker.filter(|_| !is_declared(&port)) {
            Some(taker) => drop(renamed.insert(port.name, taker.name.clone())),
            None => kept.push(port),
        }
    }
    if renamed.is_empty() {
        return None;
    }
    let guessed = service.guesses_port.then(|| told(name, service, &kept));
    kept.sort_by_key(|port| port.number);
    service.ports = kept;
    for endpoint in endpoints {
        if let Some(name) = renamed.get(&endpoint.service_port) {
            endpoint.service_port.clone_from(name);
        }
    }
    guessed
}

fn told(name: &str, before: &Service, kept: &[ServicePort]) -> String {
    let words = |ports: &[ServicePort]| {
        let mut numbers: Vec<u16> = ports.iter().map(|port| port.number).collect();
        numbers.sort_unstable();
        numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
    };
    format!(
        "service {name}: instances listen on {}, and nobody says which port callers use, so it is {} for all of them; say \
         so in the meta weft-port of each, also where it is another",
        words(&before.ports),
        words(kept),
    )
}
