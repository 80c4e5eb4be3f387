//! Whose a name is.

use super::*;

fn of(service: &str) -> Result<String, NotOwn> {
    own_host(service, "shop", "cluster.local").map(|host| host.to_string())
}

#[test]
fn one_label_is_a_service_of_the_workloads_namespace() {
    assert_eq!(of("cart").unwrap(), "cart.shop.svc.cluster.local");
    assert_eq!(of("Cart.shop.svc.cluster.local.").unwrap(), "cart.shop.svc.cluster.local");
}

#[test]
fn another_namespaces_service_is_never_its_own_however_it_is_written() {
    for name in ["cart.prod.svc.cluster.local", "CART.prod.svc.cluster.local.", "cart.prod.svc", "a.cart.prod.svc"] {
        let told = of(name).unwrap_err();
        assert!(matches!(&told, NotOwn::Never(why) if why.contains("namespace prod")), "{name}: {told}");
    }
    assert!(matches!(of("*.prod.svc.cluster.local"), Err(NotOwn::Never(_))));
}

#[test]
fn what_is_no_service_at_all_is_never_taken() {
    for name in ["*", "10.96.0.10", "*.svc.cluster.local", "*.svc", "cart.svc.cluster.local", "a..b", "-a"] {
        let told = of(name).unwrap_err();
        assert!(matches!(told, NotOwn::Never(_)) && told.to_string().starts_with("service \""), "{name}: {told}");
    }
}

#[test]
fn a_shorter_form_of_its_own_is_told_how_to_be_written() {
    for name in ["cart.shop", "cart.shop.svc"] {
        assert!(of(name).is_err_and(|told| told.to_string().contains("write cart")), "{name}");
    }
}

#[test]
fn all_else_waits_for_an_operators_word() {
    let others = [
        "cart.prod",
        "api.example.com",
        "*.example.com",
        "svc.cluster.local",
        "api.example.com.shop.svc.cluster.local",
    ];
    for name in others {
        assert!(matches!(of(name), Err(NotOwn::Unnamed(_))), "{name}: {:?}", of(name));
    }
}

/// A catalog in which a platform tells of `prod/bank` at an address, and a ServiceEntry of a namespace names it too.
fn catalog(namespace: &str, address: &str) -> crate::Catalog {
    use crate::model::*;
    use crate::{Event, Merger};
    let mut merger = Merger::new(["static", "east"]);
    let told = [("static", namespace, "ServiceEntry shop/mine", "mine"), ("east", "prod", "pod bank-1", "bank")];
    for (index, (registry, namespace, object, name)) in told.into_iter().enumerate() {
        let provenance = Provenance { registry: registry.into(), object: object.into() };
        let key = ServiceKey::new(Hostname::new(&format!("{name}.example")).unwrap(), namespace);
        let port = ServicePort { name: "http".into(), number: 80, protocol: Protocol::Http };
        let service = Service {
            guesses_port: false,
            key: key.clone(),
            aliases: vec![],
            ports: vec![port],
            addresses: vec![],
            location: Location::MeshInternal,
            resolution: Resolution::Static,
            visibility: Visibility::Public,
            subject_alt_names: vec![],
            labels: Default::default(),
            created: 0,
            provenance: provenance.clone(),
        };
        let workload = Workload {
            hostname: String::new(),
            name: name.into(),
            namespace: namespace.into(),
            service_account: name.into(),
            labels: Default::default(),
            locality: Locality::default(),
            network: String::new(),
            platform: Platform::Static,
            cluster: String::new(),
        };
        let endpoint = Endpoint {
            silent_since: None,
            address: Address::Ip(if index == 0 { address } else { "10.0.0.5" }.parse().unwrap()),
            port: 8080,
            service_port: "http".into(),
            health: Health::Healthy,
            weight: 1,
            tls: TlsMode::Istio,
            workload: std::sync::Arc::new(workload),
            provenance,
        };
        merger.apply(index, Event::Service(service));
        merger.apply(index, Event::Endpoints(key, vec![endpoint]));
    }
    merger.catalog().clone()
}

#[test]
fn a_service_entry_that_names_another_namespaces_workload_by_its_address_is_found() {
    let found: Vec<_> = foreign_addresses(&catalog("shop", "::ffff:10.0.0.5")).into_iter().collect();
    let [foreign] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*foreign.object, &*foreign.owner), ("ServiceEntry shop/mine", "prod/bank"));
    assert!(foreign_addresses(&catalog("shop", "10.0.0.6")).is_empty());
    assert!(foreign_addresses(&catalog("prod", "10.0.0.5")).is_empty(), "it is its own namespace's");
}

#[test]
fn what_is_only_written_down_is_the_word_of_its_own_namespace() {
    let catalog = catalog("shop", "10.0.0.5");
    let all: Vec<_> = catalog.entries().flat_map(|entry| entry.endpoints.iter()).collect();
    let counts = |registry: &str, namespace: &str| {
        let endpoint = all.iter().find(|endpoint| &*endpoint.provenance.registry == registry).unwrap();
        speaks_for(endpoint, namespace)
    };
    assert!(counts("static", "shop") && !counts("static", "prod"));
    assert!(counts("east", "prod") && counts("east", "shop"));
}
