//! The hosts of a cluster, grouped for picking, and the worker's place in each group.

use std::cell::{Cell, RefCell};

use super::edf::Schedule;
use super::health::{Census, loads};
use crate::config::{LbPolicy, LoadAssignment};

/// Hosts by number, in the order of the assignment.
#[derive(Debug)]
pub struct HostSet {
    priorities: Vec<Priority>,
    weights: Vec<u32>,
}

#[derive(Debug)]
struct Priority {
    /// Percent of the traffic.
    load: u32,
    groups: Vec<Group>,
    /// Sum of the groups' weights.
    weight: u64,
}

/// Hosts among which a policy picks.
#[derive(Debug)]
struct Group {
    hosts: Vec<usize>,
    weight: u64,
    /// All hosts weigh the same.
    even: bool,
}

/// Where a worker is in each group. It belongs to one host set and is made anew with it.
#[derive(Debug)]
pub struct LbState {
    groups: Vec<Vec<GroupState>>,
}

#[derive(Debug)]
struct GroupState {
    turn: Cell<usize>,
    schedule: RefCell<Option<Schedule>>,
}

struct Member {
    host: usize,
    healthy: bool,
}

impl HostSet {
    /// `panic_threshold`: percent of healthy hosts in a priority under which health is ignored there.
    /// `locality_weighted`: whether the weights of localities count. `ejected` tells of hosts that are out for what
    /// this worker saw of them.
    pub fn build(
        assignment: &LoadAssignment,
        panic_threshold: f64,
        locality_weighted: bool,
        ejected: impl Fn(usize) -> bool,
    ) -> Self {
        let mut weights = Vec::new();
        let mut priorities: Vec<Vec<(Option<u32>, Vec<Member>)>> = Vec::new();
        for locality in &assignment.localities {
            let level = locality.priority as usize;
            if priorities.len() <= level {
                priorities.resize_with(level.min(127) + 1, Vec::new);
            }
            let members = locality.endpoints.iter().map(|endpoint| {
                let host = weights.len();
                weights.push(endpoint.weight.max(1));
                Member { host, healthy: endpoint.healthy && !ejected(host) }
            });
            let members = members.collect();
            if let Some(localities) = priorities.get_mut(level) {
                localities.push((locality.weight.filter(|_| locality_weighted), members));
            }
        }
        let census: Vec<Census> = priorities.iter().map(|localities| count(localities)).collect();
        let priorities = priorities.iter().zip(&census).zip(loads(&census));
        let priorities = priorities
            .map(|((localities, census), load)| {
                let panic = (census.healthy as f64) * 100.0 < panic_threshold * census.total as f64;
                priority(localities, &weights, load, panic || census.healthy == 0)
            })
            .collect();
        Self { priorities, weights }
    }

    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    pub fn state(&self) -> LbState {
        let groups = self.priorities.iter().map(|priority| {
            priority.groups.iter().map(|_| GroupState { turn: Cell::new(0), schedule: RefCell::new(None) }).collect()
        });
        LbState { groups: groups.collect() }
    }

    /// The number of a host; `None` if there is none to pick. `random` gives fresh random bits; `active` tells how
    /// much a host has under way.
    pub fn pick(
        &self,
        state: &LbState,
        policy: LbPolicy,
        random: impl Fn() -> u64,
        active: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let level = self.pick_priority(random() % 100)?;
        let priority = &self.priorities[level];
        let place = priority.pick_group(random());
        let (group, state) = (priority.groups.get(place)?, state.groups.get(level)?.get(place)?);
        if group.hosts.is_empty() {
            return None;
        }
        let weight = |index: usize| f64::from(self.weights[group.hosts[index]]);
        let index = match policy {
            LbPolicy::Random => (random() % group.hosts.len() as u64) as usize,
            LbPolicy::RoundRobin if group.even => state.next_turn(group.hosts.len(), &random),
            LbPolicy::RoundRobin => state.scheduled(group, weight, weight)?,
            LbPolicy::LeastRequest { choice_count } if group.even => {
                least_active(group, choice_count, &random, &active)
            }
            LbPolicy::LeastRequest { .. } => {
                let burdened = |index: usize| weight(index) / (f64::from(active(group.hosts[index])) + 1.0);
                state.scheduled(group, burdened, burdened)?
            }
        };
        Some(group.hosts[index])
    }

    fn pick_priority(&self, percent: u64) -> Option<usize> {
        let mut sum = 0;
        self.priorities.iter().position(|priority| {
            sum += u64::from(priority.load);
            percent < sum
        })
    }
}

fn count(localities: &[(Option<u32>, Vec<Member>)]) -> Census {
    let members = || localities.iter().flat_map(|(_, members)| members);
    Census { healthy: members().filter(|member| member.healthy).count(), total: members().count() }
}

/// Where localities carry weights each is a group of its own; else all hosts of the priority are one.
fn priority(localities: &[(Option<u32>, Vec<Member>)], weights: &[u32], load: u32, panic: bool) -> Priority {
    let usable = |members: &Vec<Member>| -> Vec<usize> {
        members.iter().filter(|member| panic || member.healthy).map(|member| member.host).collect()
    };
    let groups: Vec<Group> = if localities.iter().any(|(weight, _)| weight.is_some()) {
        let weighted = localities.iter().filter_map(|(weight, members)| {
            let (hosts, total) = (usable(members), members.len().max(1));
            let health = (1.4 * hosts.len() as f64 / total as f64).min(1.0);
            let share = f64::from(weight.unwrap_or(0)) * health * 1000.0;
            (share > 0.0).then(|| group(hosts, weights, share as u64))
        });
        weighted.collect()
    } else {
        vec![group(localities.iter().flat_map(|(_, members)| usable(members)).collect(), weights, 1)]
    };
    let weight = groups.iter().map(|group| group.weight).sum();
    Priority { load, groups, weight }
}

fn group(hosts: Vec<usize>, weights: &[u32], weight: u64) -> Group {
    let even = hosts.windows(2).all(|pair| weights[pair[0]] == weights[pair[1]]);
    Group { hosts, weight, even }
}

fn least_active(group: &Group, choices: u32, random: impl Fn() -> u64, active: impl Fn(usize) -> u32) -> usize {
    let any = || (random() % group.hosts.len() as u64) as usize;
    let mut best = any();
    for _ in 1..choices.max(1) {
        let other = any();
        if active(group.hosts[other]) < active(group.hosts[best]) {
            best = other;
        }
    }
    best
}

impl Priority {
    fn pick_group(&self, random: u64) -> usize {
        if self.groups.len() < 2 {
            return 0;
        }
        let mut left = random % self.weight.max(1);
        let found = self.groups.iter().position(|group| {
            let here = left < group.weight;
            left = left.saturating_sub(group.weight);
            here
        });
        found.unwrap_or(0)
    }
}

impl GroupState {
    /// Round robin from a random start, so that workers do not march in step.
    fn next_turn(&self, hosts: usize, random: impl Fn() -> u64) -> usize {
        let turn = if self.turn.get() == 0 { (random() % hosts as u64) as usize + 1 } else { self.turn.get() };
        self.turn.set(turn % hosts + 1);
        turn - 1
    }

    fn scheduled(&self, group: &Group, first: impl Fn(usize) -> f64, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let mut schedule = self.schedule.borrow_mut();
        schedule.get_or_insert_with(|| Schedule::new((0..group.hosts.len()).map(first))).next(weight)
    }
}

#[cfg(test)]
mod tests;
