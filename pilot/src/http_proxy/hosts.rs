//! The virtual hosts of a table, and which of them has a domain that several are known by. Envoy takes a domain only
//! once, and refuses the whole table otherwise.

use std::collections::{BTreeMap, BTreeSet};

use api::envoy::config::route::v3 as route;

use crate::diagnostic::{Code, Findings};
use crate::visibility::Standing;

/// What a host is known by a domain as; the earlier goes before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// A service of a namespace, under the names that tell the namespace: they are nobody else's.
    Name,
    /// The host that was given to a service.
    Host,
    /// A service's name alone, for callers of its namespace.
    Short,
    Alias,
    Address(Standing),
    /// A host that only a VirtualService knows.
    Rule,
}

/// A domain, and by what right it is asked for.
pub(super) type Domain = (Right, String);

/// Virtual hosts in the order in which they were added.
#[derive(Default)]
pub(super) struct Hosts(Vec<Wanted>);

struct Wanted {
    /// Whose it is, as findings name it.
    object: String,
    name: String,
    domains: Vec<Domain>,
    routes: Vec<route::Route>,
}

impl Hosts {
    pub fn add(&mut self, object: String, name: String, domains: Vec<Domain>, routes: Vec<route::Route>) {
        self.0.push(Wanted { object, name, domains, routes });
    }

    /// Each domain to whom it is by right, else to the first that wanted it; `rest` has what nobody else has.
    pub fn finish(self, rest: route::VirtualHost, findings: &mut Findings) -> Vec<route::VirtualHost> {
        let winners = self.winners();
        let mut told = BTreeSet::new();
        for wanted in &self.0 {
            for (right, domain) in &wanted.domains {
                let winner = winners.get(domain.as_str()).map(|(right, index)| (*right, &self.0[*index]));
                told.extend(lost(wanted, right, domain, winner));
            }
        }
        told.into_iter().for_each(|(object, message)| findings.add(Code::Conflict, object, message));
        let kept = |index: usize, domain: &str| winners.get(domain).is_some_and(|(_, winner)| *winner == index);
        let kept: Vec<Vec<bool>> = (self.0.iter().enumerate())
            .map(|(index, wanted)| wanted.domains.iter().map(|(_, domain)| kept(index, domain)).collect())
            .collect();
        let made = self.0.into_iter().zip(kept).filter_map(|(wanted, kept)| wanted.virtual_host(&kept));
        made.chain([rest]).collect()
    }

    fn winners(&self) -> BTreeMap<&str, (&Right, usize)> {
        let mut winners: BTreeMap<&str, (&Right, usize)> = BTreeMap::new();
        for (index, wanted) in self.0.iter().enumerate() {
            for (right, domain) in wanted.domains.iter().filter(|(_, domain)| !is_everything(domain)) {
                let winner = winners.entry(domain).or_insert((right, index));
                *winner = (*winner).min((right, index));
            }
        }
        winners
    }
}

impl Wanted {
    /// With the domains that it keeps; `None` if that is none. A virtual host has each domain once.
    fn virtual_host(self, kept: &[bool]) -> Option<route::VirtualHost> {
        let mut seen = BTreeSet::new();
        let domains = self.domains.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|((_, domain), _)| domain);
        let domains: Vec<String> = domains.filter(|domain| seen.insert(domain.clone())).collect();
        let Self { name, routes, .. } = self;
        (!domains.is_empty()).then(|| route::VirtualHost { name, domains, routes, ..Default::default() })
    }
}

/// What is said to whom a domain was not given.
fn lost(wanted: &Wanted, right: &Right, domain: &str, winner: Option<(&Right, &Wanted)>) -> Option<(String, String)> {
    let name = without_port(domain);
    let message = match winner {
        None => "its host is every host, which is nobody's; name the hosts".to_owned(),
        Some((_, other)) if other.object == wanted.object => return None,
        // Of two VirtualServices for one host the analysis of the configuration tells.
        Some((Right::Rule, _)) => return None,
        // Without a port an address may be several services', each on ports of its own.
        Some(_) if matches!(right, Right::Address(_)) && name == domain => return None,
        Some((_, other)) if matches!(right, Right::Address(_)) => {
            format!("requests for the address {domain} go to {}, whose it is", other.object)
        }
        Some((_, other)) => format!("requests for {name} go to {}, which goes by that name", other.object),
    };
    Some((wanted.object.clone(), message))
}

/// Every host, whatever the port: to Envoy `*:80` is whatever ends in `:80`.
fn is_everything(domain: &str) -> bool {
    domain == "*" || domain.starts_with("*:")
}

fn without_port(domain: &str) -> &str {
    match domain.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => domain,
    }
}
