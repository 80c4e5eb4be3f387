//! What is kept of names, and for how long.

use super::*;
use crate::config::DnsFamily;

#[test]
fn an_authority_is_a_host_with_a_port_or_without() {
    for (authority, expected) in [
        ("a.example", Some(("a.example", 80))),
        ("a.example:8080", Some(("a.example", 8080))),
        ("192.0.2.1", Some(("192.0.2.1", 80))),
        ("192.0.2.1:1", Some(("192.0.2.1", 1))),
        ("[2001:db8::1]", Some(("2001:db8::1", 80))),
        ("[2001:db8::1]:81", Some(("2001:db8::1", 81))),
        ("2001:db8::1", Some(("2001:db8::1", 80))),
        ("a.example:x", None),
        ("a.example:65536", None),
        ("[::1]x", None),
        (":80", None),
    ] {
        assert_eq!(split(authority, 80), expected, "{authority}");
    }
}

#[test]
fn a_name_is_looked_up_again_less_often_the_more_often_that_failed() {
    let rate = (Duration::from_secs(1), Duration::from_secs(30));
    let delays = [1, 2, 3, 5, 6, 40, u32::MAX].map(|failures| delay(rate, failures).as_secs());
    assert_eq!(delays, [1, 2, 4, 16, 30, 30, 30]);
}

fn cache() -> DnsCache {
    DnsCache {
        name: "cache".into(),
        family: DnsFamily::V4OrV6,
        refresh: Duration::from_secs(60),
        failure_refresh: (Duration::from_secs(1), Duration::from_secs(30)),
        host_ttl: Duration::from_secs(300),
        max_hosts: 2,
        query_timeout: None,
        max_pending_requests: 1,
        refused: None,
    }
}

fn cluster(reach: Option<runtime::Reach>) -> config::Cluster {
    let wire = api::envoy::config::cluster::v3::Cluster { name: "c".into(), ..Default::default() };
    let wire = api::envoy::config::cluster::v3::Cluster {
        load_assignment: Some(api::envoy::config::endpoint::v3::ClusterLoadAssignment {
            cluster_name: "c".into(),
            ..Default::default()
        }),
        ..wire
    };
    let made = config::convert::cluster(&wire, &|_| Err(io::ErrorKind::NotFound.into())).unwrap();
    config::Cluster { reach: reach.map(Arc::new), ..made }
}

fn all(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn found(name: &Name) -> Result<SocketAddr, NotFound> {
    name.found.borrow().clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_address_is_kept_while_the_name_has_it_and_when_a_lookup_fails() {
    let (name, cache, cluster) = (Name::new(), cache(), cluster(None));
    let failed = || Err(io::Error::other("no such name"));
    let due = || name.due.get() - Instant::now();
    name.learn(failed(), &cluster, &cache);
    assert_eq!((found(&name), due()), (Err(NotFound::Unresolved("no such name".into())), Duration::from_secs(1)));
    name.learn(Ok(all(&["[2001:db8::1]:80", "192.0.2.2:80"])), &cluster, &cache);
    assert_eq!((found(&name), due()), (Ok("192.0.2.2:80".parse().unwrap()), Duration::from_secs(60)));
    name.learn(Ok(all(&["192.0.2.1:80", "192.0.2.2:80"])), &cluster, &cache);
    assert_eq!(found(&name), Ok("192.0.2.2:80".parse().unwrap()), "still one of them");
    name.learn(failed(), &cluster, &cache);
    name.learn(failed(), &cluster, &cache);
    assert_eq!((found(&name), due()), (Ok("192.0.2.2:80".parse().unwrap()), Duration::from_secs(2)));
    name.learn(Ok(all(&["192.0.2.1:80"])), &cluster, &cache);
    assert_eq!(found(&name), Ok("192.0.2.1:80".parse().unwrap()));
}

#[test]
fn a_name_that_comes_to_stand_for_the_machine_itself_leads_there_no_more() {
    let (name, cache, cluster) = (Name::new(), cache(), cluster(Some(runtime::Reach::default())));
    name.learn(Ok(all(&["192.0.2.1:80"])), &cluster, &cache);
    name.learn(Ok(all(&["127.0.0.1:80", "192.0.2.1:80"])), &cluster, &cache);
    assert_eq!(found(&name), Ok("192.0.2.1:80".parse().unwrap()));
    name.learn(Ok(all(&["127.0.0.1:80"])), &cluster, &cache);
    assert_eq!(found(&name), Err(NotFound::OutOfReach));
}

#[test]
fn names_and_those_who_wait_for_them_are_bounded() {
    let (names, cache) = (Names::default(), cache());
    assert!(names.name(("a", 80), &cache).is_ok() && names.name(("A", 80), &cache).is_ok());
    assert!(names.name(("a", 81), &cache).is_ok());
    assert_eq!(names.name(("b", 80), &cache).err(), Some(NotFound::TooManyNames));
    let waiting = names.wait(&cache).unwrap();
    assert_eq!(names.wait(&cache).err(), Some(NotFound::TooManyWaiting));
    drop(waiting);
    assert!(names.wait(&cache).is_ok());
}
