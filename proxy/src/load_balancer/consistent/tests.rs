//! The host of each key is the one to which Envoy 1.40 sent it, from the same clusters.

use std::sync::Arc;

use super::*;
use crate::config::{EndpointAddress, HashFunction, LbMetadata, RingHash};
use crate::load_balancer::hash::xx;

/// Port 19001 and up, on one address.
fn endpoints(weights: &[u32], keys: &[(usize, &str)]) -> Vec<Endpoint> {
    let one = |(index, weight): (usize, &u32)| {
        let key = keys.iter().find(|(host, _)| *host == index);
        let metadata = key.map(|(_, key)| LbMetadata::from([("hash_key".to_owned(), format!("\"{key}\""))]));
        let address = EndpointAddress::Socket(([127, 0, 0, 1], 19001 + index as u16).into());
        Endpoint { weight: *weight, lb_metadata: metadata.map(Arc::new), ..Endpoint::at(address) }
    };
    weights.iter().enumerate().map(one).collect()
}

fn picks(table: &Table) -> String {
    (0..48).filter_map(|key| table.pick(xx(format!("key-{key}").as_bytes()), 0)).map(|host| host.to_string()).collect()
}

fn chosen(endpoints: &[Endpoint], policy: LbPolicy) -> String {
    let hosts = (0..endpoints.len() as u32).collect();
    picks(&Table::build(&[Members { hosts, weight: 1 }], &endpoints.iter().collect::<Vec<_>>(), policy))
}

fn ring(minimum: u64, maximum: u64, function: HashFunction) -> LbPolicy {
    LbPolicy::RingHash(RingHash { minimum, maximum, function, by_hostname: false })
}

fn maglev(table_size: u64) -> LbPolicy {
    LbPolicy::Maglev { table_size, by_hostname: false }
}

const LARGEST: u64 = 8 * 1024 * 1024;
const EVEN: &[u32] = &[1; 5];
const UNEVEN: &[u32] = &[1, 2, 3, 1, 5];
const KEYS: &[(usize, &str)] = &[(0, "alpha"), (3, "delta")];

#[test]
fn a_ring_sends_a_key_where_envoy_sends_it() {
    let (xx, murmur) = (HashFunction::XxHash, HashFunction::Murmur2);
    let even = endpoints(EVEN, &[]);
    assert_eq!(chosen(&even, ring(1024, LARGEST, xx)), "413441233423043104232223212423240141322110311412");
    assert_eq!(chosen(&even, ring(1024, LARGEST, murmur)), "022042442322024332130103412131102041034043020112");
    let uneven = endpoints(UNEVEN, &[]);
    assert_eq!(chosen(&uneven, ring(100, LARGEST, xx)), "444444222222123344022142114440042234201343411412");
    assert_eq!(chosen(&uneven, ring(7, 10, xx)), "112224421312332412232311312122043131321423213130");
    let named = endpoints(EVEN, KEYS);
    assert_eq!(chosen(&named, ring(1024, LARGEST, xx)), "412043204320043144212221212423244141222012001412");
}

#[test]
fn maglev_sends_a_key_where_envoy_sends_it() {
    assert_eq!(chosen(&endpoints(EVEN, &[]), maglev(65537)), "124120412123414214043203223244223323313242242044");
    assert_eq!(chosen(&endpoints(UNEVEN, &[]), maglev(103)), "113402411422114110232444424231224133214422102224");
    assert_eq!(chosen(&endpoints(UNEVEN, KEYS), maglev(503)), "342243404404420144440414224244242442224224343140");
}

#[test]
fn the_weights_of_localities_count_where_they_are_asked_for() {
    let endpoints = endpoints(&[1, 2, 1, 1, 4], &[]);
    let groups = [Members { hosts: vec![0, 1], weight: 3 }, Members { hosts: vec![2, 3, 4], weight: 1 }];
    let table = Table::build(&groups, &endpoints.iter().collect::<Vec<_>>(), maglev(65537));
    assert_eq!(picks(&table), "114111411111111014040400143211403323110241041041");
}

#[test]
fn a_further_attempt_goes_elsewhere_and_no_hosts_are_no_panic() {
    let hosts = endpoints(EVEN, &[]);
    for policy in [ring(1024, LARGEST, HashFunction::XxHash), maglev(65537)] {
        let all = Members { hosts: (0..5).collect(), weight: 1 };
        let table = Table::build(&[all], &hosts.iter().collect::<Vec<_>>(), policy);
        let tried: std::collections::BTreeSet<_> = (0..20).filter_map(|attempt| table.pick(7, attempt)).collect();
        assert!(tried.len() > 1, "{tried:?}");
        let none = Table::build(&[Members { hosts: vec![], weight: 1 }], &[], policy);
        assert_eq!(none.pick(7, 0), None);
    }
}
