//! Addresses for services that have none, so that DNS can name them and a captured connection tells by its address
//! which service it is for (Istio, automatic address allocation): one of 240.240.0.0/16, which nobody routes, and one
//! of 2001:2::/48.
//!
//! A service's place comes from a hash of its name. Where two want the same, the older keeps it and the other takes the
//! next that is free. Places depend on which services there are and not on the order in which they came, so every
//! control plane gives the same ones, and gives them again after a restart.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Resolution, Service, ServiceKey};

/// The addresses that a service was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Automatic {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// 254 hosts in each /24 of 240.240.0.0/16: none ends in 0 or 255.
const HOSTS: u32 = 254;
const PLACES: u32 = 256 * HOSTS;

/// Who goes first to a place: the older, then by name.
type Rank = (u64, ServiceKey);

/// Who has which place.
#[derive(Debug, Default)]
pub(super) struct Allocation {
    taken: HashMap<u32, Rank>,
    places: HashMap<ServiceKey, (u64, u32)>,
    /// Places that services have by an address of their own; how many do.
    own: HashMap<u32, usize>,
}

impl Allocation {
    pub fn of(&self, key: &ServiceKey) -> Option<Automatic> {
        self.places.get(key).map(|(_, place)| Automatic::at(*place))
    }

    /// Takes note that a service is new, described anew, or gone. Returns those whose addresses are others now.
    pub fn changed(&mut self, key: &ServiceKey, before: Option<&Service>, now: Option<&Service>) -> Vec<ServiceKey> {
        let mut moved = Vec::new();
        let own = |service: Option<&Service>| service.into_iter().flat_map(own_places).collect::<Vec<_>>();
        let (had, has) = (own(before), own(now));
        if had != has {
            has.into_iter().for_each(|place| self.reserve(place, &mut moved));
            had.into_iter().for_each(|place| self.release(place, &mut moved));
        }
        let created = now.filter(|service| wants_one(service)).map(|service| service.created);
        let known = self.places.get(key).copied();
        if known.map(|(created, _)| created) != created {
            if let Some((_, place)) = known {
                self.places.remove(key);
                self.taken.remove(&place);
                self.fill(place, &mut moved);
            }
            if let Some(created) = created {
                self.settle((created, key.clone()), home(key), &mut moved);
            }
        }
        moved
    }

    /// Gives somebody the first place from `at` on that is free or held by one of lesser rank, who moves on.
    fn settle(&mut self, mut rank: Rank, mut at: u32, moved: &mut Vec<ServiceKey>) {
        // Everybody beyond has none; so many services are no mesh.
        for _ in 0..PLACES {
            let free = !self.own.contains_key(&at);
            if free && self.taken.get(&at).is_none_or(|holder| rank < *holder) {
                self.places.insert(rank.1.clone(), (rank.0, at));
                moved.push(rank.1.clone());
                match self.taken.insert(at, rank) {
                    Some(other) => rank = other,
                    None => return,
                }
            }
            at = (at + 1) % PLACES;
        }
        self.places.remove(&rank.1);
        moved.push(rank.1);
    }

    /// Lets those move up who would rather have had the place.
    fn fill(&mut self, mut hole: u32, moved: &mut Vec<ServiceKey>) {
        while !self.own.contains_key(&hole) {
            let run = (1..PLACES).map(|step| (hole + step) % PLACES);
            let run = run.take_while(|at| self.taken.contains_key(at) || self.own.contains_key(at));
            let holders = run.filter_map(|at| Some((self.taken.get(&at)?, at)));
            let nearer = holders.filter(|((_, key), at)| {
                let home = home(key);
                distance(home, hole) < distance(home, *at)
            });
            let Some((rank, from)) = nearer.min().map(|(rank, from)| (rank.clone(), from)) else { return };
            self.taken.remove(&from);
            self.places.insert(rank.1.clone(), (rank.0, hole));
            moved.push(rank.1.clone());
            self.taken.insert(hole, rank);
            hole = from;
        }
    }

    fn reserve(&mut self, place: u32, moved: &mut Vec<ServiceKey>) {
        *self.own.entry(place).or_default() += 1;
        if let Some(rank) = self.taken.remove(&place) {
            self.settle(rank, (place + 1) % PLACES, moved);
        }
    }

    fn release(&mut self, place: u32, moved: &mut Vec<ServiceKey>) {
        let Some(count) = self.own.get_mut(&place) else { return };
        *count -= 1;
        if *count == 0 {
            self.own.remove(&place);
            self.fill(place, moved);
        }
    }
}

impl Automatic {
    fn at(place: u32) -> Self {
        // Both fit: there are 256 times 254 places.
        let (third, fourth) = ((place / HOSTS) as u8, (place % HOSTS + 1) as u8);
        let last = u16::from_be_bytes([third, fourth]);
        Self { v4: Ipv4Addr::new(240, 240, third, fourth), v6: Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, last) }
    }
}

/// As Istio: a wildcard stands for names that nobody knows beforehand, and a service whose callers dial endpoints
/// themselves is told apart by those.
fn wants_one(service: &Service) -> bool {
    use Resolution::{Dns, DnsRoundRobin, Static};
    service.addresses.is_empty()
        && !service.host().is_wildcard()
        && matches!(service.resolution, Static | Dns | DnsRoundRobin)
}

/// The places that a service's own addresses are, if they lie in the range.
fn own_places(service: &Service) -> impl Iterator<Item = u32> {
    let hosts = service.addresses.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
    hosts.filter_map(|net: &IpNet| {
        let [third, fourth] = match net.addr() {
            IpAddr::V4(ip) => match ip.octets() {
                [240, 240, third, fourth] => [third, fourth],
                _ => return None,
            },
            IpAddr::V6(ip) => match ip.segments() {
                [0x2001, 2, 0, 0, 0, 0, 0xf0f0, last] => last.to_be_bytes(),
                _ => return None,
            },
        };
        (1..=254).contains(&fourth).then(|| u32::from(third) * HOSTS + u32::from(fourth) - 1)
    })
}

/// FNV-1a of `namespace/host`, which must never change.
fn home(key: &ServiceKey) -> u32 {
    let text = [key.namespace.as_bytes(), b"/", key.host.as_str().as_bytes()];
    let hash = text
        .into_iter()
        .flatten()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash % PLACES
}

fn distance(from: u32, to: u32) -> u32 {
    (to + PLACES - from) % PLACES
}

#[cfg(test)]
mod tests;
