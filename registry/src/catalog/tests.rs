//! How the news of several registries become one catalog.

use tokio::sync::watch;

use super::*;
use crate::model::*;
use crate::source::Event;

pub(super) fn service(host: &str, registry: &str, ports: &[(u16, Protocol)]) -> Service {
    Service {
        guesses_port: false,
        key: ServiceKey::new(Hostname::new(host).unwrap(), "default"),
        aliases: vec![],
        ports: ports
            .iter()
            .map(|(number, protocol)| ServicePort { name: format!("p{number}"), number: *number, protocol: *protocol })
            .collect(),
        addresses: vec![],
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: vec![],
        labels: BTreeMap::new(),
        created: 0,
        provenance: Provenance { registry: registry.into(), object: String::new() },
    }
}

fn endpoint(ip: &str, registry: &str) -> Endpoint {
    Endpoint {
        silent_since: None,
        address: Address::Ip(ip.parse().unwrap()),
        port: 9080,
        service_port: "p9080".into(),
        health: Health::Healthy,
        weight: 1,
        tls: TlsMode::Istio,
        workload: Arc::new(Workload {
            hostname: String::new(),
            name: format!("w-{ip}"),
            namespace: "default".into(),
            service_account: "default".into(),
            labels: BTreeMap::new(),
            locality: Locality::default(),
            network: String::new(),
            platform: Platform::Vm,
            cluster: String::new(),
        }),
        provenance: Provenance { registry: registry.into(), object: String::new() },
    }
}

pub(super) fn key(host: &str) -> ServiceKey {
    ServiceKey::new(Hostname::new(host).unwrap(), "default")
}

#[test]
fn endpoints_of_one_host_merge_and_keep_where_they_came_from() {
    let mut merger = Merger::new(["a", "b"]);
    merger.apply(0, Event::Service(service("x.y", "a", &[(9080, Protocol::Http)])));
    merger.apply(1, Event::Service(service("x.y", "b", &[(9080, Protocol::Http)])));
    merger.apply(1, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "b"), endpoint("10.0.0.2", "b")]));
    merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")]));
    let entry = merger.catalog().get(&key("x.y")).unwrap();
    let from: Vec<_> =
        entry.endpoints.iter().map(|e| (e.address.to_string(), e.provenance.registry.to_string())).collect();
    assert_eq!(from, [("10.0.0.1".into(), "a".into()), ("10.0.0.2".into(), "b".into())]);
}

#[test]
fn an_endpoint_change_does_not_touch_the_service() {
    let mut merger = Merger::new(["a"]);
    merger.apply(0, Event::Service(service("x.y", "a", &[(9080, Protocol::Http)])));
    merger.apply(0, Event::Service(service("z.y", "a", &[(9080, Protocol::Http)])));
    let before = merger.catalog().clone();
    assert!(merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")])));
    let after = merger.catalog();
    assert!(!after.services_differ(&before));
    assert_eq!(after.changed_endpoints(&before).collect::<Vec<_>>(), [&key("x.y")]);
    assert!(after.version > before.version);
}

#[test]
fn the_same_news_twice_is_no_change() {
    let mut merger = Merger::new(["a"]);
    merger.apply(0, Event::Service(service("x.y", "a", &[(9080, Protocol::Http)])));
    merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")]));
    assert!(!merger.apply(0, Event::Service(service("x.y", "a", &[(9080, Protocol::Http)]))));
    assert!(!merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")])));
}

#[test]
fn the_earlier_registry_decides_and_the_conflict_is_told() {
    let mut merger = Merger::new(["a", "b"]);
    merger.apply(1, Event::Service(service("x.y", "b", &[(80, Protocol::Tcp), (81, Protocol::Tcp)])));
    merger.apply(0, Event::Service(service("x.y", "a", &[(80, Protocol::Http)])));
    let entry = merger.catalog().get(&key("x.y")).unwrap();
    assert_eq!(entry.service.port(80).unwrap().protocol, Protocol::Http);
    assert_eq!(entry.service.port(81).unwrap().protocol, Protocol::Tcp);
    assert_eq!(*entry.conflicts, ["port 80: a says HTTP, b says TCP; a decides".to_owned()]);
}

#[test]
fn a_service_lives_while_one_registry_knows_it() {
    let mut merger = Merger::new(["a", "b"]);
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        merger.apply(index, Event::Service(service("x.y", name, &[(80, Protocol::Http)])));
    }
    merger.apply(0, Event::ServiceGone(key("x.y")));
    assert_eq!(&*merger.catalog().get(&key("x.y")).unwrap().service.provenance.registry, "b");
    merger.apply(1, Event::ServiceGone(key("x.y")));
    assert!(merger.catalog().get(&key("x.y")).is_none());
}

#[test]
fn a_lost_registry_keeps_its_endpoints() {
    let mut merger = Merger::new(["a"]);
    merger.apply(0, Event::Service(service("x.y", "a", &[(9080, Protocol::Http)])));
    merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")]));
    merger.apply(0, Event::Synced);
    merger.apply(0, Event::Lost("connection refused".into()));
    let catalog = merger.catalog();
    assert_eq!(catalog.get(&key("x.y")).unwrap().endpoints.len(), 1);
    assert_eq!(catalog.registries[0].state, RegistryState::Stale("connection refused".into()));
}

#[tokio::test]
async fn what_a_registry_tells_reaches_the_published_catalog() {
    let registry = crate::MemoryRegistry::new("memory");
    registry.service(service("x.y", "memory", &[(9080, Protocol::Http)]));
    registry.endpoints(&key("x.y"), vec![endpoint("10.0.0.1", "memory")]);
    registry.synced();
    let (publish, mut catalog) = watch::channel(Arc::default());
    let following = tokio::spawn(run(vec![Arc::new(registry.clone())], Policy::default(), publish));
    let seen =
        catalog.wait_for(|catalog: &Arc<Catalog>| catalog.synced() && catalog.version > 0).await.unwrap().clone();
    assert_eq!(seen.get(&key("x.y")).unwrap().endpoints.len(), 1);
    registry.endpoints(&key("x.y"), vec![]);
    catalog.wait_for(|catalog| catalog.get(&key("x.y")).unwrap().endpoints.is_empty()).await.unwrap();
    following.abort();
}

#[test]
fn endpoints_find_their_port_whatever_each_registry_calls_it() {
    let mut merger = Merger::new(["a", "b"]);
    let mut named = service("x.y", "b", &[(9080, Protocol::Http)]);
    named.ports[0].name = "web".into();
    merger.apply(0, Event::Service(service("x.y", "a", &[(9080, Protocol::Http)])));
    merger.apply(1, Event::Service(named));
    merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")]));
    let other = Endpoint { service_port: "web".into(), ..endpoint("10.0.0.2", "b") };
    merger.apply(1, Event::Endpoints(key("x.y"), vec![other]));
    let ports = |merger: &Merger| -> Vec<String> {
        let entry = merger.catalog().get(&key("x.y")).unwrap();
        entry.endpoints.iter().map(|endpoint| endpoint.service_port.clone()).collect()
    };
    assert_eq!(ports(&merger), ["p9080", "p9080"]);
    // The later registry decides once it is alone.
    merger.apply(0, Event::ServiceGone(key("x.y")));
    assert_eq!(ports(&merger), ["web"]);
}

#[test]
fn an_alias_stays_while_anybody_serves_the_host() {
    let mut merger = Merger::new(["a", "b"]);
    let alias = Hostname::new("x.service.consul").unwrap();
    let aliased = Service { aliases: vec![alias.clone()], ..service("x.y", "b", &[(80, Protocol::Http)]) };
    merger.apply(0, Event::Service(service("x.y", "a", &[(80, Protocol::Http)])));
    merger.apply(1, Event::Service(aliased));
    let before = merger.catalog().clone();
    assert!(before.by_host(&alias).next().is_some());
    merger.apply(1, Event::ServiceGone(key("x.y")));
    assert!(merger.catalog().by_host(&alias).next().is_some());
    assert!(!merger.catalog().services_differ(&before), "that one platform goes changes endpoints only");
    merger.apply(0, Event::ServiceGone(key("x.y")));
    assert!(merger.catalog().by_host(&alias).next().is_none());
}

#[test]
fn what_registries_say_differently_of_one_endpoint_is_told() {
    let mut merger = Merger::new(["a", "b"]);
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        merger.apply(index, Event::Service(service("x.y", name, &[(9080, Protocol::Http)])));
    }
    merger.apply(0, Event::Endpoints(key("x.y"), vec![endpoint("10.0.0.1", "a")]));
    let other = Endpoint { health: Health::Unhealthy, tls: TlsMode::Disabled, ..endpoint("10.0.0.1", "b") };
    assert!(merger.apply(1, Event::Endpoints(key("x.y"), vec![other])));
    let entry = merger.catalog().get(&key("x.y")).unwrap();
    assert_eq!(entry.endpoints.len(), 1);
    let told = "endpoint 10.0.0.1:9080: a says healthy, mutual TLS, b says unhealthy, plain text; a decides";
    assert_eq!(*entry.conflicts, [told.to_owned()]);
    merger.apply(1, Event::Endpoints(key("x.y"), vec![]));
    assert!(merger.catalog().get(&key("x.y")).unwrap().conflicts.is_empty());
}

#[test]
fn weight_place_and_version_are_part_of_what_registries_may_say_differently() {
    let mut merger = Merger::new(["a", "b"]);
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        merger.apply(index, Event::Service(service("x.y", name, &[(9080, Protocol::Http)])));
    }
    let at = |registry: &str, weight: u32, place: &str, labels: &[(&str, &str)]| {
        let mut endpoint = Endpoint { weight, ..endpoint("10.0.0.1", registry) };
        let workload = Arc::make_mut(&mut endpoint.workload);
        workload.locality = place.parse().unwrap();
        workload.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        endpoint
    };
    let first = at("a", 1, "", &[("version", "v1"), ("app", "x"), ("pod", "p")]);
    let second = at("b", 5, "eu/a", &[("version", "v2"), ("app", "x"), ("rack", "r")]);
    merger.apply(0, Event::Endpoints(key("x.y"), vec![first]));
    merger.apply(1, Event::Endpoints(key("x.y"), vec![second]));
    let entry = merger.catalog().get(&key("x.y")).unwrap();
    let told = "endpoint 10.0.0.1:9080: a says weight 1, no locality, label version=v1, \
                b says weight 5, locality eu/a, label version=v2; a decides";
    assert_eq!(*entry.conflicts, [told.to_owned()]);
}

/// A service as a platform tells of it that knows no port but those where instances listen, and one of them.
fn guessed(registry: &str, number: u16, protocol: Protocol, ip: &str) -> [Event; 2] {
    let service = Service { guesses_port: true, ..service("x.y", registry, &[(number, protocol)]) };
    let endpoint = Endpoint { port: number, service_port: format!("p{number}"), ..endpoint(ip, registry) };
    [Event::Service(service), Event::Endpoints(key("x.y"), vec![endpoint])]
}

/// Each endpoint, and the number of the port that it serves.
fn served(merger: &Merger) -> Vec<(String, u16)> {
    let entry = merger.catalog().get(&key("x.y")).unwrap();
    let number = |name: &str| entry.service.ports.iter().find(|port| port.name == name).unwrap().number;
    entry.endpoints.iter().map(|e| (format!("{}:{}", e.address, e.port), number(&e.service_port))).collect()
}

#[test]
fn what_platforms_without_ports_for_callers_tell_serves_one_port_wherever_it_listens() {
    let mut merger = Merger::new(["consul", "discovery"]);
    for (index, [service, endpoints]) in
        [guessed("consul", 9100, Protocol::Auto, "10.0.0.1"), guessed("discovery", 80, Protocol::Http, "10.0.0.2")]
            .into_iter()
            .enumerate()
    {
        merger.apply(index, service);
        merger.apply(index, endpoints);
    }
    let entry = merger.catalog().get(&key("x.y")).unwrap();
    assert_eq!(entry.service.ports.iter().map(|port| port.number).collect::<Vec<_>>(), [9100]);
    assert_eq!(served(&merger), [("10.0.0.1:9100".into(), 9100), ("10.0.0.2:80".into(), 9100)]);
    let told = &entry.conflicts[0];
    assert!(told.starts_with("port 80: what discovery knows there serves port 9100, which consul says"), "{told}");
    assert!(told.contains("weft-port"), "{told}");
    // The same address and port is one endpoint.
    let [_, again] = guessed("discovery", 9100, Protocol::Http, "10.0.0.1");
    let Event::Endpoints(_, mut again) = again else { panic!() };
    again[0].service_port = "p80".into();
    merger.apply(1, Event::Endpoints(key("x.y"), again));
    assert_eq!(served(&merger), [("10.0.0.1:9100".into(), 9100)]);
    // The later is by itself again once the earlier goes.
    merger.apply(0, Event::ServiceGone(key("x.y")));
    assert_eq!(served(&merger), [("10.0.0.1:9100".into(), 80)]);
}

#[test]
fn a_port_that_a_platform_declares_is_that_of_the_instances_of_those_who_declare_none() {
    let mut merger = Merger::new(["consul", "kubernetes"]);
    for event in guessed("consul", 9100, Protocol::Auto, "10.0.0.1") {
        merger.apply(0, event);
    }
    merger.apply(1, Event::Service(service("x.y", "kubernetes", &[(80, Protocol::Http)])));
    let pod = Endpoint { port: 8080, service_port: "p80".into(), ..endpoint("10.0.0.2", "kubernetes") };
    merger.apply(1, Event::Endpoints(key("x.y"), vec![pod]));
    let both: [(String, u16); 2] = [("10.0.0.1:9100".into(), 80), ("10.0.0.2:8080".into(), 80)];
    assert_eq!(served(&merger), both);
    // Another protocol is another port, and so is one of several.
    for event in guessed("consul", 9100, Protocol::Tcp, "10.0.0.1") {
        merger.apply(0, event);
    }
    assert_eq!(served(&merger)[0], ("10.0.0.1:9100".into(), 9100));
}

#[test]
fn a_registry_that_is_lost_again_is_as_old_as_its_first_loss() {
    let mut merger = Merger::new(["a"]);
    merger.at(100);
    merger.apply(0, Event::Synced);
    merger.at(200);
    merger.apply(0, Event::Lost("refused".into()));
    merger.at(300);
    merger.apply(0, Event::Lost("no answer".into()));
    let status = &merger.catalog().registries[0];
    assert_eq!((&status.state, status.since), (&RegistryState::Stale("no answer".into()), 200));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_lost_for_too_long_counts_again_once_it_is_back() {
    let registry = crate::MemoryRegistry::new("memory");
    registry.service(service("x.y", "memory", &[(9080, Protocol::Http)]));
    registry.endpoints(&key("x.y"), vec![endpoint("10.0.0.1", "memory")]);
    registry.synced();
    let (publish, mut catalog) = watch::channel(Arc::default());
    let minute = std::time::Duration::from_secs(60);
    let following = tokio::spawn(run(vec![Arc::new(registry.clone())], Policy { forget_after: Some(minute) }, publish));
    let known = |catalog: &Arc<Catalog>| catalog.get(&key("x.y")).is_some();
    catalog.wait_for(known).await.unwrap();
    let lost = tokio::time::Instant::now();
    registry.tell(Event::Lost("refused".into()));
    let without = catalog.wait_for(|catalog| !known(catalog)).await.unwrap().clone();
    assert!(lost.elapsed() >= minute);
    assert!(without.registries[0].forgotten && without.registries[0].endpoints == 1);
    registry.synced();
    catalog.wait_for(|catalog| known(catalog) && !catalog.registries[0].forgotten).await.unwrap();
    following.abort();
}
