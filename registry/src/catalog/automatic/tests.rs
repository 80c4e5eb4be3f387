//! Who gets which address.

use std::collections::{BTreeMap, BTreeSet};

use api::Hostname;

use super::*;
use crate::model::{Location, Provenance, Visibility};

fn service(host: &str) -> Service {
    Service {
        guesses_port: false,
        key: ServiceKey::new(Hostname::new(host).unwrap(), "default"),
        aliases: vec![],
        ports: vec![],
        addresses: vec![],
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: vec![],
        labels: BTreeMap::new(),
        created: 0,
        provenance: Provenance { registry: "a".into(), object: String::new() },
    }
}

fn with_address(host: &str, address: &str) -> Service {
    Service { addresses: vec![address.parse().unwrap()], ..service(host) }
}

/// The addresses after the services came, and some went, in this order.
fn after<'a>(steps: impl IntoIterator<Item = (&'a Service, bool)>) -> BTreeMap<String, Ipv4Addr> {
    let mut allocation = Allocation::default();
    for (service, comes) in steps {
        let (before, now) = if comes { (None, Some(service)) } else { (Some(service), None) };
        allocation.changed(&service.key, before, now);
    }
    let given = allocation.places.keys();
    given.map(|key| (key.host.to_string(), allocation.of(key).unwrap().v4)).collect()
}

fn come<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeMap<String, Ipv4Addr> {
    after(services.into_iter().map(|service| (service, true)))
}

/// Names whose hash is the same place, so that they stand in each other's way.
fn crowd(count: usize) -> Vec<Service> {
    let first = service("s0.default.svc.cluster.local");
    let wanted = home(&first.key);
    let others = (1..).map(|n| service(&format!("s{n}.default.svc.cluster.local")));
    [first].into_iter().chain(others.filter(|other| home(&other.key) == wanted)).take(count).collect()
}

#[test]
fn an_address_follows_from_the_name_alone() {
    let mut allocation = Allocation::default();
    let reviews = service("reviews.default.svc.cluster.local");
    let moved = allocation.changed(&reviews.key, None, Some(&reviews));
    assert_eq!(moved, std::slice::from_ref(&reviews.key));
    let given = allocation.of(&reviews.key).unwrap();
    // Written down: a service must not move because this program is a newer one.
    assert_eq!((given.v4.to_string(), given.v6.to_string()), ("240.240.210.175".into(), "2001:2::f0f0:d2af".into()));
}

#[test]
fn only_services_that_dns_can_name_get_one() {
    let none = [
        with_address("own.example.com", "10.0.0.1/32"),
        service("*.example.com"),
        Service { resolution: Resolution::Passthrough, ..service("headless.example.com") },
        Service { resolution: Resolution::DynamicDns, ..service("dynamic.example.com") },
    ];
    assert_eq!(come(&none), BTreeMap::new());
    assert_eq!(come(&[Service { resolution: Resolution::Dns, ..service("api.example.com") }]).len(), 1);
}

#[test]
fn no_two_services_share_an_address() {
    let services: Vec<Service> = (0..10_000).map(|n| service(&format!("s{n}.default.svc.cluster.local"))).collect();
    let given = come(&services);
    let distinct: BTreeSet<&Ipv4Addr> = given.values().collect();
    assert_eq!(distinct.len(), 10_000);
    assert!(given.values().all(|ip| ip.octets()[..2] == [240, 240] && ![0, 255].contains(&ip.octets()[3])));
}

#[test]
fn the_order_in_which_services_come_and_go_does_not_matter() {
    let crowd = crowd(4);
    let [a, b, c, d] = [&crowd[0], &crowd[1], &crowd[2], &crowd[3]];
    let expected = come([a, b, c]);
    for order in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        assert_eq!(come(order), expected);
    }
    for gone in [a, b, c] {
        let all = [a, b, c, d].map(|service| (service, true));
        let rest = [a, b, c, d].into_iter().filter(|service| service.key != gone.key);
        assert_eq!(after(all.into_iter().chain([(gone, false)])), come(rest));
    }
}

#[test]
fn the_older_service_keeps_its_address() {
    let mut crowd = crowd(2);
    crowd[1].created = 1;
    let alone = come(&crowd[1..]);
    crowd[0].created = 2;
    let both = come([&crowd[1], &crowd[0]]);
    let name = crowd[1].host().to_string();
    assert_eq!(both[&name], alone[&name]);
    crowd[0].created = 0;
    assert_ne!(come([&crowd[1], &crowd[0]])[&name], alone[&name]);
}

#[test]
fn an_address_that_somebody_declares_is_given_to_nobody_else() {
    let reviews = service("reviews.default.svc.cluster.local");
    let usual = come([&reviews])[reviews.host().as_str()];
    for address in [format!("{usual}/32"), "2001:2::f0f0:d2af/128".to_owned()] {
        let other = with_address("other.example.com", &address);
        assert_ne!(come([&reviews, &other])[reviews.host().as_str()], usual);
        assert_eq!(come([&reviews, &other]), come([&other, &reviews]));
        let left = after([(&reviews, true), (&other, true), (&other, false)]);
        assert_eq!(left[reviews.host().as_str()], usual);
    }
}
