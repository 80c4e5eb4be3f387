//! Who may register what, beside what others tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry::{Event, Health, Locality, Merger, Platform, Protocol, Provenance, TlsMode, Workload};

use super::*;

fn registration(account: &str, service: &str, address: &str, port: u16) -> Registration {
    Registration {
        member: None,
        workload: format!("{service}-v1"),
        namespace: "default".into(),
        service_account: account.into(),
        labels: BTreeMap::new(),
        address: address.parse().unwrap(),
        locality: Locality::default(),
        network: String::new(),
        cluster: String::new(),
        weight: 1,
        health: Health::Healthy,
        ports: vec![RegisteredPort {
            service: service.into(),
            port,
            shared: None,
            name: String::new(),
            protocol: Protocol::Http,
        }],
    }
}

/// Consul tells of one endpoint of `bank`, whose identity is the service account `bank`.
fn catalog() -> Arc<Catalog> {
    told_by("consul", "default")
}

fn told_by(registry: &str, namespace: &str) -> Arc<Catalog> {
    let mut merger = Merger::new([registry]);
    let host = ::api::Hostname::resolve("bank", namespace, "cluster.local").unwrap();
    let workload = Workload {
        hostname: String::new(),
        name: "bank-1".into(),
        namespace: namespace.into(),
        service_account: "bank".into(),
        labels: BTreeMap::new(),
        locality: Locality::default(),
        network: String::new(),
        platform: Platform::Consul,
        cluster: String::new(),
    };
    let endpoint = Endpoint {
        silent_since: None,
        address: Address::Ip("10.0.0.5".parse().unwrap()),
        port: 9999,
        service_port: "http-80".into(),
        health: Health::Healthy,
        weight: 1,
        tls: TlsMode::Disabled,
        workload: Arc::new(workload),
        provenance: Provenance { registry: registry.into(), object: "service bank-1".into() },
    };
    let key = ServiceKey::new(host, namespace);
    let service = registry::Service {
        guesses_port: false,
        key: key.clone(),
        aliases: Vec::new(),
        ports: vec![registry::ServicePort { name: "http-80".into(), number: 80, protocol: Protocol::Http }],
        addresses: Vec::new(),
        location: registry::Location::MeshInternal,
        resolution: registry::Resolution::Static,
        visibility: registry::Visibility::Public,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        created: 0,
        provenance: endpoint.provenance.clone(),
    };
    merger.apply(0, Event::Service(service));
    merger.apply(0, Event::Endpoints(key, vec![endpoint]));
    Arc::new(merger.catalog().clone())
}

fn check(registration: &Registration, grant: &Grant, from: &str) -> Result<(), String> {
    let catalog = catalog();
    let from = Some(from.parse().unwrap());
    Claims { grant: Some(grant), from, catalog: &catalog, domain: "cluster.local" }.check(registration)
}

#[test]
fn an_endpoint_that_a_platform_tells_of_is_taken_over_by_nobody() {
    let any =
        Grant { services: vec!["bank".into()], addresses: vec!["10.0.0.0/8".parse().unwrap()], ..Grant::default() };
    let told = check(&registration("evil", "bank", "10.0.0.5", 9999), &any, "10.0.0.66").unwrap_err();
    assert!(told.starts_with("10.0.0.5:9999 is an endpoint that consul tells of (service bank-1)"), "{told}");
    // Also not for another service.
    assert!(check(&registration("evil", "other", "10.0.0.5", 9999), &Grant::default(), "10.0.0.5").is_err());
    assert_eq!(check(&registration("bank", "bank", "10.0.0.5", 9999), &Grant::default(), "10.0.0.5"), Ok(()));
}

#[test]
fn a_service_that_others_serve_is_joined_by_word_of_its_operator_only() {
    let mine = registration("evil", "bank", "10.0.0.66", 80);
    let told = check(&mine, &Grant::default(), "10.0.0.66").unwrap_err();
    assert!(told.contains("bank is served by service account bank") && told.contains("--allow-service bank"), "{told}");
    let named = Grant { services: vec!["bank".into()], ..Grant::default() };
    assert_eq!(check(&mine, &named, "10.0.0.66"), Ok(()));
    let of_group = Grant { workload_group: Some("banks".into()), ..Grant::default() };
    assert_eq!(check(&mine, &of_group, "10.0.0.66"), Ok(()));
    assert_eq!(check(&registration("evil", "new", "10.0.0.66", 80), &Grant::default(), "10.0.0.66"), Ok(()));
}

#[test]
fn a_workload_is_where_it_connects_from_unless_its_token_says_otherwise() {
    let new = |address: &str| registration("new", "new", address, 80);
    let told = check(&new("10.0.0.7"), &Grant::default(), "10.0.0.66").unwrap_err();
    assert!(told.contains("which is 10.0.0.66") && told.contains("--allow-address 10.0.0.7"), "{told}");
    assert_eq!(check(&new("10.0.0.66"), &Grant::default(), "::ffff:10.0.0.66"), Ok(()));
    assert_eq!(check(&new("10.0.0.7"), &Grant::default(), "127.0.0.1"), Ok(()), "the control plane's own machine");
    let behind_nat = Grant { addresses: vec!["10.0.0.0/24".parse().unwrap()], ..Grant::default() };
    assert_eq!(check(&new("10.0.0.7"), &behind_nat, "192.0.2.1"), Ok(()));
    assert!(check(&new("10.1.0.7"), &behind_nat, "10.1.0.7").is_err());
}

#[test]
fn a_workload_registers_no_host_of_another_namespace() {
    let told = |service: &str, grant: &Grant| check(&registration("new", service, "10.0.0.66", 80), grant, "10.0.0.66");
    let named = |service: &str| Grant { services: vec![service.into()], ..Grant::default() };
    for own in ["reviews", "reviews.default.svc.cluster.local"] {
        assert_eq!(told(own, &Grant::default()), Ok(()));
    }
    let others = ["reviews.prod", "api.example.com", "*.example.com", "api.example.com.default.svc.cluster.local"];
    for foreign in others {
        let error = told(foreign, &Grant::default()).unwrap_err();
        assert!(error.contains(&format!("--allow-service {foreign}")), "{error}");
        assert_eq!(told(foreign, &named(foreign)), Ok(()), "by word of its operator");
    }
    for never in ["*", "10.96.0.10", "*.svc.cluster.local", "reviews.prod.svc", "reviews.prod.svc.cluster.local"] {
        for grant in [Grant::default(), named(never)] {
            assert!(told(never, &grant).unwrap_err().starts_with("service \""), "{never}");
        }
    }
}

#[test]
fn no_token_gives_away_the_name_by_which_another_service_is_known() {
    let named = Grant { services: vec!["bank.default".into()], ..Grant::default() };
    let mut of_other = registration("new", "bank.default", "10.0.0.66", 80);
    of_other.namespace = "other".into();
    let error = check(&of_other, &named, "10.0.0.66").unwrap_err();
    assert!(error.contains("callers know bank.default.svc.cluster.local by this name"), "{error}");
}

#[test]
fn nobody_is_locked_out_of_its_own_address_by_another_namespaces_service_entry() {
    let check = |catalog: Arc<Catalog>| {
        let claims = Claims { grant: None, from: "10.0.0.5".parse().ok(), catalog: &catalog, domain: "cluster.local" };
        claims.check(&registration("reviews", "reviews", "10.0.0.5", 9999))
    };
    assert_eq!(check(told_by(registry::Provenance::DECLARED, "shop")), Ok(()));
    // Its own namespace's word counts, and so does a platform's, whatever the namespace.
    assert!(check(told_by(registry::Provenance::DECLARED, "default")).unwrap_err().contains("10.0.0.5:9999"));
    assert!(check(told_by("consul", "shop")).unwrap_err().contains("10.0.0.5:9999"));
}
