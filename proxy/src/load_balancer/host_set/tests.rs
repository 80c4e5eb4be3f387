//! Shares of traffic, with fixed dice.

use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::config::{Choices, Endpoint, EndpointAddress, HealthStatus, LocalityEndpoints, SlowStart};

/// A fixed sequence of random-looking bits.
struct Dice(Cell<u64>);

impl Dice {
    fn new() -> Self {
        Self(Cell::new(0x9e37_79b9_7f4a_7c15))
    }

    fn roll(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x
    }
}

/// All that is asked while picking: nothing is under way, and all hosts have been healthy for ever.
struct Calm<A>(Dice, A);

impl<A: Fn(usize) -> u32> Ask for Calm<A> {
    fn random(&self) -> u64 {
        self.0.roll()
    }

    fn active(&self, host: usize) -> u32 {
        (self.1)(host)
    }

    fn healthy_for(&self, _: usize) -> Duration {
        Duration::MAX
    }

    fn newest(&self) -> Duration {
        Duration::MAX
    }
}

fn endpoint(weight: u32, health: HealthStatus) -> Endpoint {
    Endpoint { weight, health, ..Endpoint::at(EndpointAddress::Unix("/x".into())) }
}

fn locality(priority: u32, weight: Option<u32>, hosts: &[(u32, bool)]) -> LocalityEndpoints {
    let health = |healthy| if healthy { HealthStatus::Healthy } else { HealthStatus::Unhealthy };
    let endpoints = hosts.iter().map(|(weight, healthy)| Arc::new(endpoint(*weight, health(*healthy))));
    LocalityEndpoints { locality: String::new(), priority, weight, endpoints: endpoints.collect() }
}

fn assignment(localities: Vec<LocalityEndpoints>) -> Arc<LoadAssignment> {
    Arc::new(LoadAssignment { localities, ..Default::default() })
}

fn set(assignment: &Arc<LoadAssignment>, policy: LbPolicy) -> HostSet {
    let rules = Rules { policy, panic_threshold: 50.0, locality_weighted: true };
    let health: Vec<_> = assignment.endpoints().map(|endpoint| known(endpoint.health)).collect();
    HostSet::build(assignment, rules, |host| health[host], |_| true)
}

fn known(health: HealthStatus) -> Health {
    match health {
        HealthStatus::Healthy => Health::Healthy,
        HealthStatus::Degraded => Health::Degraded,
        HealthStatus::Unhealthy => Health::Unhealthy,
    }
}

fn shares_of(set: &HostSet, ask: &impl Ask) -> Vec<f64> {
    let mut counts = vec![0.0; set.weights.len()];
    for _ in 0..10_000 {
        if let Some(host) = set.pick(None, 0, None, ask) {
            counts[host] += 0.01;
        }
    }
    counts
}

fn shares(localities: Vec<LocalityEndpoints>, policy: LbPolicy, active: impl Fn(usize) -> u32) -> Vec<f64> {
    shares_of(&set(&assignment(localities), policy), &Calm(Dice::new(), active))
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    for (found_share, share) in found.iter().zip(expected) {
        assert!((found_share - share).abs() <= tolerance, "{found:?} is not {expected:?}");
    }
}

const ROUND: LbPolicy = LbPolicy::RoundRobin { slow_start: None };
const LEAST: LbPolicy = LbPolicy::LeastRequest { choices: Choices::Some(2), bias: 1.0, slow_start: None };

#[test]
fn every_policy_shares_evenly_among_equals() {
    for policy in [ROUND, LbPolicy::Random, LEAST] {
        let hosts = vec![locality(0, None, &[(1, true); 4])];
        close(&shares(hosts, policy, |_| 0), &[25.0; 4], 1.5);
    }
}

#[test]
fn weights_are_kept_to() {
    for policy in [ROUND, LEAST] {
        let hosts = vec![locality(0, None, &[(1, true), (2, true), (7, true)])];
        close(&shares(hosts, policy, |_| 0), &[10.0, 20.0, 70.0], 0.2);
    }
}

#[test]
fn least_request_avoids_the_busy_host() {
    let hosts = || vec![locality(0, None, &[(1, true); 3])];
    let busy = |host| if host == 0 { 10 } else { 0 };
    assert!(shares(hosts(), LEAST, busy)[0] < 12.0);
    let weighted = vec![locality(0, None, &[(2, true), (1, true)])];
    let found = shares(weighted, LEAST, |host| if host == 0 { 3 } else { 0 });
    close(&found, &[33.3, 66.7], 1.0);
}

#[test]
fn unhealthy_hosts_get_nothing_until_too_many_are() {
    let most_are_well = vec![locality(0, None, &[(1, true), (1, true), (1, false)])];
    close(&shares(most_are_well, ROUND, |_| 0), &[50.0, 50.0, 0.0], 0.1);
    let panic = vec![locality(0, None, &[(1, true), (1, false), (1, false)])];
    close(&shares(panic, ROUND, |_| 0), &[33.3; 3], 0.1);
}

#[test]
fn a_lower_priority_takes_what_the_higher_cannot() {
    let localities = || vec![locality(0, None, &[(1, true), (1, false)]), locality(1, None, &[(1, true)])];
    close(&shares(localities(), ROUND, |_| 0), &[70.0, 0.0, 30.0], 2.0);
    let lost = vec![locality(0, None, &[(1, false)]), locality(1, None, &[(1, true)])];
    close(&shares(lost, ROUND, |_| 0), &[0.0, 100.0], 0.1);
}

#[test]
fn without_the_priorities_that_were_tried_the_others_take_all() {
    let halves = locality(1, None, &[(1, true), (1, false)]);
    let hosts = assignment(vec![locality(0, None, &[(1, true)]), halves, locality(2, None, &[(1, true)])]);
    let set = set(&hosts, ROUND);
    let healthy =
        |left: &[u32]| set.loads_without(left).map(|loads| loads.iter().map(|load| load.healthy).collect::<Vec<_>>());
    assert_eq!(healthy(&[]), Some(vec![100, 0, 0]));
    assert_eq!(healthy(&[0]), Some(vec![0, 70, 30]));
    assert_eq!(healthy(&[0, 2]), Some(vec![0, 100, 0]));
    assert_eq!(healthy(&[0, 1, 2]), None);
    let loads = set.loads_without(&[0, 1]);
    assert_eq!(set.pick(None, 0, loads.as_deref(), &Calm(Dice::new(), |_| 0)), Some(3));
    assert_eq!(
        (0..5).map(|host| set.priority_of(host)).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(1), Some(2), None]
    );
}

#[test]
fn localities_share_by_their_weights() {
    let localities = vec![locality(0, Some(80), &[(1, true)]), locality(0, Some(20), &[(1, true), (1, true)])];
    close(&shares(localities, ROUND, |_| 0), &[80.0, 10.0, 10.0], 0.1);
    let half_lost = vec![locality(0, Some(50), &[(1, true)]), locality(0, Some(50), &[(1, true), (1, false)])];
    close(&shares(half_lost, ROUND, |_| 0), &[58.8, 41.2, 0.0], 0.1);
}

#[test]
fn a_degraded_host_helps_out_only() {
    let degraded = |healthy: usize| {
        let mut group = locality(0, None, &vec![(1, true); healthy]);
        group.endpoints.push(Arc::new(endpoint(1, HealthStatus::Degraded)));
        vec![group]
    };
    close(&shares(degraded(3), ROUND, |_| 0), &[33.3, 33.3, 33.3, 0.0], 0.1);
    close(&shares(degraded(1), ROUND, |_| 0), &[70.0, 30.0], 2.0);
}

#[test]
fn a_full_scan_finds_the_least_busy_and_spreads_ties() {
    let scan = LbPolicy::LeastRequest { choices: Choices::All, bias: 1.0, slow_start: None };
    let hosts = vec![locality(0, None, &[(1, true); 4])];
    close(&shares(hosts, scan, |host| u32::from(host < 2)), &[0.0, 0.0, 50.0, 50.0], 2.0);
}

#[test]
fn the_bias_says_how_much_work_under_way_counts() {
    let biased = |bias| LbPolicy::LeastRequest { choices: Choices::Some(2), bias, slow_start: None };
    let weighted = || vec![locality(0, None, &[(2, true), (1, true)])];
    let busy = |host| if host == 0 { 3 } else { 0 };
    close(&shares(weighted(), biased(0.0), busy), &[66.7, 33.3], 1.0);
    close(&shares(weighted(), biased(2.0), busy), &[11.1, 88.9], 1.0);
}

/// The first host has been there for half the window.
struct Warming(Dice);

impl Ask for Warming {
    fn random(&self) -> u64 {
        self.0.roll()
    }

    fn active(&self, _: usize) -> u32 {
        0
    }

    fn healthy_for(&self, host: usize) -> Duration {
        if host == 0 { self.newest() } else { Duration::MAX }
    }

    fn newest(&self) -> Duration {
        Duration::from_secs(30)
    }
}

#[test]
fn a_new_host_gets_its_share_little_by_little() {
    let slow_start = Some(SlowStart { window: Duration::from_secs(60), aggression: 1.0, least: 0.1 });
    for policy in [
        LbPolicy::RoundRobin { slow_start },
        LbPolicy::LeastRequest { choices: Choices::Some(2), bias: 1.0, slow_start },
    ] {
        let hosts = assignment(vec![locality(0, None, &[(1, true); 2])]);
        close(&shares_of(&set(&hosts, policy), &Warming(Dice::new())), &[33.3, 66.7], 0.1);
    }
}

#[test]
fn without_hosts_there_is_nothing_to_pick() {
    assert!(shares(vec![], ROUND, |_| 0).is_empty());
    assert!(shares(vec![locality(0, None, &[])], LbPolicy::Random, |_| 0).is_empty());
}
