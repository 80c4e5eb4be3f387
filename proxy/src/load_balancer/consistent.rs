//! What both kinds of consistent hashing share: the hosts that take part, by the share that is due to each.

use super::maglev::Maglev;
use super::ring::Ring;
use crate::config::{Endpoint, LbPolicy};

/// A host that takes part.
#[derive(Debug)]
pub struct Candidate {
    pub host: u32,
    /// What stands for the host in hashes.
    pub key: String,
    /// Its share; all shares add up to 1.
    pub weight: f64,
}

/// Hosts of a locality, where localities have weights; else there is one group.
#[derive(Debug)]
pub struct Members {
    pub hosts: Vec<u32>,
    pub weight: u32,
}

#[derive(Debug)]
pub enum Table {
    Ring(Ring),
    Maglev(Maglev),
    /// The policy does not hash.
    None,
}

impl Table {
    pub fn build(groups: &[Members], endpoints: &[&Endpoint], policy: LbPolicy) -> Self {
        let by_hostname = match policy {
            LbPolicy::RingHash(ring) => ring.by_hostname,
            LbPolicy::Maglev { by_hostname, .. } => by_hostname,
            _ => return Self::None,
        };
        let candidates = candidates(groups, endpoints, by_hostname);
        match policy {
            LbPolicy::RingHash(settings) => Self::Ring(Ring::build(&candidates, settings)),
            LbPolicy::Maglev { table_size, .. } => Self::Maglev(Maglev::build(&candidates, table_size)),
            _ => Self::None,
        }
    }

    pub fn pick(&self, hash: u64, attempt: u32) -> Option<u32> {
        match self {
            Self::Ring(ring) => ring.pick(hash, attempt),
            Self::Maglev(maglev) => maglev.pick(hash, attempt),
            Self::None => None,
        }
    }
}

fn candidates(groups: &[Members], endpoints: &[&Endpoint], by_hostname: bool) -> Vec<Candidate> {
    let all: f64 = groups.iter().map(|group| f64::from(group.weight)).sum();
    let mut candidates = Vec::new();
    for group in groups.iter().filter(|group| group.weight > 0) {
        let endpoint = |host: u32| endpoints[host as usize];
        let sum: f64 = group.hosts.iter().map(|host| f64::from(endpoint(*host).weight)).sum();
        candidates.extend(group.hosts.iter().map(|host| Candidate {
            host: *host,
            key: key(endpoint(*host), by_hostname),
            weight: f64::from(endpoint(*host).weight) * (f64::from(group.weight) / all) / sum,
        }));
    }
    candidates
}

/// `envoy.lb` metadata `hash_key` if it is text, else the address (or the host's name, where that is asked for).
fn key(endpoint: &Endpoint, by_hostname: bool) -> String {
    let own = endpoint.lb_metadata.as_ref().and_then(|metadata| metadata.get("hash_key"));
    if let Some(text) = own.and_then(|value| serde_json::from_str::<String>(value).ok()) {
        return text;
    }
    match &endpoint.hostname {
        Some(name) if by_hostname => name.to_string(),
        _ => endpoint.address.to_string(),
    }
}

#[cfg(test)]
mod tests;
