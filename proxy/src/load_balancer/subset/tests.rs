//! Which hosts a request may get, by what its route asks for.

use std::time::Duration;

use super::*;
use crate::config::{EndpointAddress, LbPolicy, LocalityEndpoints, SubsetSelector};
use crate::load_balancer::Ask;

fn labels(pairs: &[(&str, &str)]) -> LbMetadata {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn assignment() -> Arc<LoadAssignment> {
    let host = |pairs: &[(&str, &str)]| {
        let metadata = Some(Arc::new(labels(pairs)));
        Arc::new(Endpoint { lb_metadata: metadata, ..Endpoint::at(EndpointAddress::Unix("/x".into())) })
    };
    let endpoints = vec![
        host(&[("version", "1"), ("stage", "prod")]),
        host(&[("version", "1"), ("stage", "dev")]),
        host(&[("version", "2"), ("stage", "prod")]),
    ];
    let locality = LocalityEndpoints { locality: String::new(), priority: 0, weight: None, endpoints };
    Arc::new(LoadAssignment { localities: vec![locality], ..Default::default() })
}

struct Any;

impl Ask for Any {
    fn random(&self) -> u64 {
        0
    }

    fn active(&self, _: usize) -> u32 {
        0
    }

    fn healthy_for(&self, _: usize) -> Duration {
        Duration::MAX
    }

    fn newest(&self) -> Duration {
        Duration::MAX
    }
}

fn selector(keys: &[&str], fallback: Option<SubsetFallback>) -> SubsetSelector {
    SubsetSelector { keys: keys.iter().map(|key| (*key).to_owned()).collect(), fallback }
}

/// The hosts that requests get, of both selectors and the given fallback.
fn hosts(fallback: SubsetFallback, wanted: Option<&[(&str, &str)]>) -> Vec<usize> {
    let rules =
        Rules { policy: LbPolicy::RoundRobin { slow_start: None }, panic_threshold: 50.0, locality_weighted: false };
    let subsets = SubsetRules {
        selectors: vec![
            selector(&["stage", "version"], Some(SubsetFallback::Keys(vec!["stage".into()]))),
            selector(&["stage"], None),
            selector(&["version"], Some(SubsetFallback::None)),
        ],
        fallback,
        default_subset: labels(&[("version", "2")]),
        locality_weighted: false,
    };
    let assignment = assignment();
    let whole = HostSet::build(&assignment, rules, |_| Health::Healthy, |_| true);
    let subsets = Subsets::build(&assignment, &Arc::new(subsets), rules, |_| Health::Healthy);
    let wanted = wanted.map(labels);
    let Some(found) = subsets.find(wanted.as_ref(), &whole) else { return vec![] };
    let mut hosts: Vec<usize> = (0..6).filter_map(|_| found.pick(None, 0, None, &Any)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

#[test]
fn a_route_gets_the_hosts_that_it_asks_for() {
    let of = |wanted| hosts(SubsetFallback::None, Some(wanted));
    assert_eq!(of(&[("version", "1")]), [0, 1]);
    assert_eq!(of(&[("version", "1"), ("stage", "dev")]), [1]);
    assert_eq!(of(&[("stage", "prod")]), [0, 2]);
}

#[test]
fn what_no_subset_is_for_falls_back_as_is_said() {
    let unknown: Option<&[(&str, &str)]> = Some(&[("zone", "a")]);
    for wanted in [unknown, None, Some(&[("stage", "gone")])] {
        assert_eq!(hosts(SubsetFallback::None, wanted), [0; 0]);
        assert_eq!(hosts(SubsetFallback::AnyEndpoint, wanted), [0, 1, 2]);
        assert_eq!(hosts(SubsetFallback::DefaultSubset, wanted), [2]);
    }
}

#[test]
fn a_selector_has_a_fallback_of_its_own() {
    assert_eq!(hosts(SubsetFallback::AnyEndpoint, Some(&[("version", "9")])), [0; 0]);
    assert_eq!(hosts(SubsetFallback::None, Some(&[("version", "2"), ("stage", "dev")])), [1]);
}
