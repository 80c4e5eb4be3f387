//! The hosts of a cluster, or of a subset of it, grouped for picking.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use super::Ask;
use super::consistent::{Members, Table};
use super::edf::Schedule;
use super::group::Group;
use super::health::{Available, Census, Health, Load, distribute, loads};
use crate::config::{LbPolicy, LoadAssignment, LocalityEndpoints};

/// How a cluster picks.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub policy: LbPolicy,
    /// Percent of hosts of a priority that must be well; with fewer, health is ignored there.
    pub panic_threshold: f64,
    /// Whether the weights of localities count.
    pub locality_weighted: bool,
}

/// Hosts by number, in the order of the assignment. Some may be left out.
#[derive(Debug)]
pub struct HostSet {
    policy: LbPolicy,
    assignment: Arc<LoadAssignment>,
    weights: Box<[u32]>,
    priorities: Box<[Priority]>,
}

#[derive(Debug)]
struct Priority {
    available: Available,
    load: Load,
    healthy: Pool,
    degraded: Pool,
}

#[derive(Debug)]
enum Pool {
    /// One group, or one for each locality and whose turn it is.
    Turns { groups: Box<[Group]>, localities: Option<RefCell<Schedule>>, shares: Box<[f64]> },
    /// The table is made at the first pick.
    Hashed { groups: Box<[Members]>, table: OnceCell<Table> },
}

/// The hosts of a locality that are in the set.
struct Locality {
    weight: u32,
    members: Vec<(u32, Health)>,
}

impl HostSet {
    /// `health` tells of a host what is known by now, `includes` whether it is in this set at all.
    pub fn build(
        assignment: &Arc<LoadAssignment>,
        rules: Rules,
        health: impl Fn(usize) -> Health,
        includes: impl Fn(usize) -> bool,
    ) -> Self {
        let mut weights = Vec::new();
        let mut levels: Vec<Vec<Locality>> = Vec::new();
        for locality in &assignment.localities {
            let level = level(locality) as usize;
            if levels.len() <= level {
                levels.resize_with(level + 1, Vec::new);
            }
            let mut members = Vec::new();
            for endpoint in &locality.endpoints {
                let host = weights.len();
                weights.push(endpoint.weight.max(1));
                if includes(host) {
                    members.push((host as u32, health(host)));
                }
            }
            levels[level].push(Locality { weight: locality.weight.unwrap_or(0), members });
        }
        let census: Vec<Census> = levels.iter().map(|localities| count(localities)).collect();
        let factor = assignment.overprovisioning_factor;
        let loads = loads(&census, factor, rules.panic_threshold);
        let priorities = levels.iter().zip(&census).zip(loads).map(|((localities, census), load)| Priority {
            available: census.available(factor),
            load,
            healthy: pool(localities, Health::Healthy, load.panic, rules, factor, &weights),
            degraded: pool(localities, Health::Degraded, false, rules, factor, &weights),
        });
        Self {
            policy: rules.policy,
            priorities: priorities.collect(),
            assignment: Arc::clone(assignment),
            weights: weights.into(),
        }
    }

    pub fn assignment(&self) -> &Arc<LoadAssignment> {
        &self.assignment
    }

    /// The number of a host; `None` if there is none to pick. A policy that hashes takes `hash`, or a random one where
    /// there is nothing to hash; each further `attempt` takes it elsewhere. `loads` stand in for the priorities' own
    /// shares, but not where the policy hashes (as in Envoy).
    pub fn pick(&self, hash: Option<u64>, attempt: u32, loads: Option<&[Load]>, ask: &impl Ask) -> Option<usize> {
        let host = if self.policy.hashes() {
            let hash = hash.unwrap_or_else(|| ask.random());
            let (priority, _) = self.pick_priority(hash, None)?;
            priority.healthy.hashed(&self.assignment, self.policy)?.pick(hash, attempt)
        } else {
            self.pick_pool(loads, ask)?.pick(&self.weights, self.policy, ask)
        };
        host.map(|host| host as usize)
    }

    /// The shares without priorities of these numbers; `None` if nothing else is available.
    pub fn loads_without(&self, left: &[u32]) -> Option<Box<[Load]>> {
        let mut available: Vec<Available> = self.priorities.iter().map(|priority| priority.available).collect();
        for priority in left {
            available[*priority as usize] = Available::default();
        }
        let any = available.iter().any(|available| *available != Available::default());
        any.then(|| distribute(&available).into())
    }

    /// The priority of a host by its number.
    pub fn priority_of(&self, host: usize) -> Option<u32> {
        let mut first = 0;
        let locality = self.assignment.localities.iter().find(|locality| {
            first += locality.endpoints.len();
            host < first
        })?;
        Some(level(locality))
    }

    fn pick_pool(&self, loads: Option<&[Load]>, ask: &impl Ask) -> Option<&Pool> {
        if let [Priority { load: Load { degraded: 0, .. }, healthy, .. }] = &*self.priorities {
            return Some(healthy);
        }
        let (priority, degraded) = self.pick_priority(ask.random(), loads)?;
        Some(if degraded { &priority.degraded } else { &priority.healthy })
    }

    /// The priority that a number falls on, and whether it is for its degraded hosts.
    fn pick_priority(&self, number: u64, loads: Option<&[Load]>) -> Option<(&Priority, bool)> {
        let (percent, mut sum) = (number % 100, 0);
        for degraded in [false, true] {
            for (at, priority) in self.priorities.iter().enumerate() {
                let load = loads.map_or(priority.load, |loads| loads[at]);
                sum += u64::from(if degraded { load.degraded } else { load.healthy });
                if percent < sum {
                    return Some((priority, degraded));
                }
            }
        }
        None
    }
}

/// Envoy knows priorities up to 127.
fn level(locality: &LocalityEndpoints) -> u32 {
    locality.priority.min(127)
}

fn count(localities: &[Locality]) -> Census {
    let mut census = Census::default();
    for (_, health) in localities.iter().flat_map(|locality| &locality.members) {
        census.total += 1;
        census.known += usize::from(*health != Health::Pending);
        census.healthy += usize::from(*health == Health::Healthy);
        census.degraded += usize::from(*health == Health::Degraded);
    }
    census
}

/// The hosts of that health, or all of them in a panic.
fn pool(localities: &[Locality], wanted: Health, panic: bool, rules: Rules, factor: u32, weights: &[u32]) -> Pool {
    let eligible = |locality: &Locality| -> Vec<u32> {
        locality.members.iter().filter(|(_, health)| panic || *health == wanted).map(|(host, _)| *host).collect()
    };
    let by_locality = rules.locality_weighted && localities.iter().any(|locality| locality.weight > 0);
    if rules.policy.hashes() {
        let one = |locality: &Locality| Members { hosts: eligible(locality), weight: locality.weight };
        let groups = if by_locality {
            localities.iter().map(one).collect()
        } else {
            Box::new([Members { hosts: localities.iter().flat_map(eligible).collect(), weight: 1 }]) as Box<[_]>
        };
        return Pool::Hashed { groups, table: OnceCell::new() };
    }
    if !by_locality || panic {
        let hosts = localities.iter().flat_map(eligible).collect();
        return Pool::Turns {
            groups: Box::new([Group::new(hosts, weights)]),
            localities: None,
            shares: Box::default(),
        };
    }
    let (mut groups, mut shares) = (Vec::new(), Vec::new());
    for locality in localities {
        let hosts = eligible(locality);
        let known = locality.members.iter().filter(|(_, health)| *health != Health::Pending).count();
        if hosts.is_empty() || locality.weight == 0 {
            continue;
        }
        let available = (f64::from(factor) / 100.0 * hosts.len() as f64 / known as f64).min(1.0);
        shares.push(f64::from(locality.weight) * available);
        groups.push(Group::new(hosts, weights));
    }
    let turns = Schedule::new(shares.iter().copied());
    Pool::Turns { groups: groups.into(), localities: Some(RefCell::new(turns)), shares: shares.into() }
}

impl Pool {
    fn pick(&self, weights: &[u32], policy: LbPolicy, ask: &impl Ask) -> Option<u32> {
        let Self::Turns { groups, localities, shares } = self else { return None };
        let group = match localities {
            None => groups.first()?,
            Some(turns) => groups.get(turns.borrow_mut().next(|group| shares[group])?)?,
        };
        group.pick(weights, policy, ask)
    }

    fn hashed(&self, assignment: &LoadAssignment, policy: LbPolicy) -> Option<&Table> {
        let Self::Hashed { groups, table } = self else { return None };
        Some(table.get_or_init(|| {
            let endpoints: Vec<_> = assignment.endpoints().map(|endpoint| &**endpoint).collect();
            Table::build(groups, &endpoints, policy)
        }))
    }
}

#[cfg(test)]
mod tests;
