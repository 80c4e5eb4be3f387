//! Shares of traffic, with fixed dice.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::config::{Endpoint, EndpointAddress, LocalityEndpoints};

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

fn locality(priority: u32, weight: Option<u32>, hosts: &[(u32, bool)]) -> LocalityEndpoints {
    let endpoint = |(weight, healthy): &(u32, bool)| {
        Arc::new(Endpoint {
            address: EndpointAddress::Unix("/x".into()),
            weight: *weight,
            healthy: *healthy,
            transport_labels: BTreeMap::new(),
            workload: None,
        })
    };
    LocalityEndpoints { locality: String::new(), priority, weight, endpoints: hosts.iter().map(endpoint).collect() }
}

fn shares(localities: Vec<LocalityEndpoints>, policy: LbPolicy, active: impl Fn(usize) -> u32) -> Vec<f64> {
    let assignment = LoadAssignment { cluster_name: String::new(), localities };
    let set = HostSet::build(&assignment, 50.0, true, |_| false);
    let (state, dice) = (set.state(), Dice::new());
    let mut counts = vec![0.0; set.len()];
    for _ in 0..10_000 {
        if let Some(host) = set.pick(&state, policy, || dice.roll(), &active) {
            counts[host] += 0.01;
        }
    }
    counts
}

fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    for (found_share, share) in found.iter().zip(expected) {
        assert!((found_share - share).abs() <= tolerance, "{found:?} is not {expected:?}");
    }
}

const LEAST: LbPolicy = LbPolicy::LeastRequest { choice_count: 2 };

#[test]
fn every_policy_shares_evenly_among_equals() {
    for policy in [LbPolicy::RoundRobin, LbPolicy::Random, LEAST] {
        let hosts = vec![locality(0, None, &[(1, true); 4])];
        close(&shares(hosts, policy, |_| 0), &[25.0; 4], 1.5);
    }
}

#[test]
fn weights_are_kept_to() {
    for policy in [LbPolicy::RoundRobin, LEAST] {
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
    close(&shares(most_are_well, LbPolicy::RoundRobin, |_| 0), &[50.0, 50.0, 0.0], 0.1);
    let panic = vec![locality(0, None, &[(1, true), (1, false), (1, false)])];
    close(&shares(panic, LbPolicy::RoundRobin, |_| 0), &[33.3; 3], 0.1);
}

#[test]
fn a_lower_priority_takes_what_the_higher_cannot() {
    let localities = || vec![locality(0, None, &[(1, true), (1, false)]), locality(1, None, &[(1, true)])];
    close(&shares(localities(), LbPolicy::RoundRobin, |_| 0), &[70.0, 0.0, 30.0], 2.0);
    let lost = vec![locality(0, None, &[(1, false)]), locality(1, None, &[(1, true)])];
    close(&shares(lost, LbPolicy::RoundRobin, |_| 0), &[0.0, 100.0], 0.1);
}

#[test]
fn localities_share_by_their_weights() {
    let localities = vec![locality(0, Some(80), &[(1, true)]), locality(0, Some(20), &[(1, true), (1, true)])];
    close(&shares(localities, LbPolicy::RoundRobin, |_| 0), &[80.0, 10.0, 10.0], 1.5);
}

#[test]
fn without_hosts_there_is_nothing_to_pick() {
    assert!(shares(vec![], LbPolicy::RoundRobin, |_| 0).is_empty());
    assert!(shares(vec![locality(0, None, &[])], LbPolicy::Random, |_| 0).is_empty());
}
