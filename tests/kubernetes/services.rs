//! A cluster's services as the mesh sees them, through everything that can happen on the wire.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::StreamExt as _;
use registry::kubernetes::{Cluster, Kubernetes};
use registry::{Endpoint, Event, EventStream, Health, Registry as _, Service};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::{PACE, PATIENCE, TestCluster};

/// Follows a cluster's events, and what they add up to.
struct Watcher {
    events: EventStream,
    services: BTreeMap<String, Service>,
    endpoints: BTreeMap<String, Vec<Endpoint>>,
    /// All events so far.
    told: Vec<Event>,
}

impl Watcher {
    fn of(cluster: Cluster) -> Self {
        let events = Kubernetes::new(cluster, "cluster.local").with_pace(PACE).watch();
        Self { events, services: BTreeMap::new(), endpoints: BTreeMap::new(), told: Vec::new() }
    }

    /// Takes events until something holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let event = timeout(PATIENCE, self.events.next()).await;
            let event = event.unwrap_or_else(|_| panic!("{what} did not come about: {:?}", self.told.last()));
            let event = event.expect("the registry goes on");
            match event.clone() {
                Event::Service(service) => drop(self.services.insert(service.host().to_string(), service)),
                Event::ServiceGone(key) => {
                    self.services.remove(key.host.as_str());
                    self.endpoints.remove(key.host.as_str());
                }
                Event::Endpoints(key, endpoints) => drop(self.endpoints.insert(key.host.to_string(), endpoints)),
                Event::Findings(_) | Event::Synced | Event::Lost(_) => {}
            }
            self.told.push(event);
        }
    }

    async fn until_synced(&mut self) {
        self.until("the first sync", |watcher| watcher.told.last() == Some(&Event::Synced)).await;
    }

    /// `address health`, of one service.
    fn addresses(&self, service: &str) -> Vec<String> {
        let endpoints = self.endpoints.get(&host(service)).into_iter().flatten();
        endpoints.map(|endpoint| format!("{} {}", endpoint.address, endpoint.health.as_str())).collect()
    }
}

fn host(service: &str) -> String {
    format!("{service}.default.svc.cluster.local")
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    })
}

fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoint = |address: &&str| json!({ "addresses": [address], "conditions": { "ready": true } });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": service },
        },
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_cluster_reaches_the_mesh() {
    let cluster = TestCluster::start().await;
    cluster.apply(&service("reviews").to_string()).await;
    cluster.apply(&slice("reviews", &["10.1.0.1"]).to_string()).await;
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    assert_eq!(watcher.addresses("reviews"), ["10.1.0.1 healthy"]);
    let provenance = &watcher.services[&host("reviews")].provenance;
    assert_eq!((&*provenance.registry, provenance.object.as_str()), ("east", "Service default/reviews"));

    cluster.apply(&slice("reviews", &["10.1.0.1", "10.1.0.2"]).to_string()).await;
    watcher.until("a second endpoint", |watcher| watcher.addresses("reviews").len() == 2).await;
    let mut draining = slice("reviews", &["10.1.0.1", "10.1.0.2"]);
    draining["endpoints"][0]["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
    cluster.apply(&draining.to_string()).await;
    watcher.until("draining", |watcher| watcher.addresses("reviews")[0] == "10.1.0.1 draining").await;

    cluster.delete("/api/v1/namespaces/default/services/reviews").await;
    watcher.until("the end", |watcher| !watcher.services.contains_key(&host("reviews"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_waits_for_its_pod_and_takes_its_node_s_place() {
    let cluster = TestCluster::start().await;
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "n1", "labels": {
            "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-a", "topology.istio.io/subzone": "r1",
        } },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "reviews-1", "namespace": "default", "labels": {
            "app": "reviews", "version": "v1", "security.istio.io/tlsMode": "istio",
        } },
        "spec": { "nodeName": "n1", "serviceAccountName": "bookinfo", "containers": [{ "name": "app", "image": "app" }] },
    });
    let mut held = slice("reviews", &["10.1.0.1"]);
    held["endpoints"][0]["targetRef"] = json!({ "kind": "Pod", "name": "reviews-1", "namespace": "default" });
    for object in [&node, &service("reviews"), &held] {
        cluster.apply(&object.to_string()).await;
    }
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    assert!(watcher.addresses("reviews").is_empty(), "nobody knows yet whether it speaks mutual TLS");
    cluster.apply(&pod.to_string()).await;
    watcher.until("the pod's endpoint", |watcher| !watcher.addresses("reviews").is_empty()).await;
    let endpoint = &watcher.endpoints[&host("reviews")][0];
    assert_eq!(endpoint.tls, registry::TlsMode::Istio);
    assert_eq!(endpoint.workload.service_account, "bookinfo");
    assert_eq!(endpoint.workload.locality.to_string(), "eu/eu-a/r1");
    assert_eq!(endpoint.workload.labels["topology.istio.io/cluster"], "east");
    assert_eq!(endpoint.health, Health::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_is_cut_sixty_times_loses_nothing_and_doubles_nothing() {
    let cluster = TestCluster::start().await;
    cluster.apply(&service("steady").to_string()).await;
    cluster.apply(&slice("steady", &["10.1.9.9"]).to_string()).await;
    cluster.apply(&service("reviews").to_string()).await;
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    for round in 1..=60 {
        let address = format!("10.1.0.{round}");
        match round % 2 {
            0 => cluster.relay.cut(),
            _ => cluster.relay.sever().await,
        }
        cluster.apply(&slice("reviews", &[&address]).to_string()).await;
        cluster.relay.mend();
        let expected = format!("{address} healthy");
        watcher.until(&expected, |watcher| watcher.addresses("reviews") == [expected.as_str()]).await;
    }
    let of_steady = |event: &&Event| match event {
        Event::Service(service) => service.host().as_str() == host("steady"),
        Event::ServiceGone(key) | Event::Endpoints(key, _) => key.host.as_str() == host("steady"),
        Event::Findings(_) | Event::Synced | Event::Lost(_) => false,
    };
    assert_eq!(watcher.told.iter().filter(of_steady).count(), 2, "told once, and never again");
    let of_reviews = |event: &&Event| matches!(event, Event::Endpoints(key, _) if key.host.as_str() == host("reviews"));
    assert_eq!(watcher.told.iter().filter(of_reviews).count(), 1 + 60, "none at first, and each change once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_the_past_is_read_anew_without_flicker() {
    let cluster = TestCluster::start().await;
    for name in ["stays", "goes"] {
        cluster.apply(&service(name).to_string()).await;
        cluster.apply(&slice(name, &["10.1.0.1"]).to_string()).await;
    }
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    let before = watcher.told.len();
    let Some(server) = cluster.own() else { return };
    cluster.relay.sever().await;
    watcher.until("the loss", |watcher| matches!(watcher.told.last(), Some(Event::Lost(_)))).await;
    cluster.delete("/api/v1/namespaces/default/services/goes").await;
    cluster.apply(&service("comes").to_string()).await;
    server.compact();
    cluster.relay.mend();
    watcher.until("what came", |watcher| watcher.services.contains_key(&host("comes"))).await;
    watcher.until("what went", |watcher| !watcher.services.contains_key(&host("goes"))).await;
    watcher.until("in step again", |watcher| watcher.told[before..].contains(&Event::Synced)).await;
    let touched = watcher.told[before..].iter().any(|event| match event {
        Event::Service(service) => service.host().as_str() == host("stays"),
        Event::ServiceGone(key) | Event::Endpoints(key, _) => key.host.as_str() == host("stays"),
        Event::Findings(_) | Event::Synced | Event::Lost(_) => false,
    });
    assert!(!touched, "what did not change was told again: {:?}", &watcher.told[before..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bookmark_spares_reading_anew() {
    let cluster = TestCluster::start().await;
    cluster.apply(&service("reviews").to_string()).await;
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    let Some(server) = cluster.own() else { return };
    server.compact();
    server.bookmark();
    // What follows the bookmark on each watch shows that it was taken.
    cluster.apply(&slice("reviews", &["10.1.0.1"]).to_string()).await;
    watcher.until("an endpoint", |watcher| !watcher.addresses("reviews").is_empty()).await;
    let lists =
        || server.asked().iter().filter(|asked| asked.verb == "list" && asked.resource == "endpointslices").count();
    let before = lists();
    cluster.relay.cut();
    cluster.apply(&slice("reviews", &["10.1.0.2"]).to_string()).await;
    watcher.until("the next", |watcher| watcher.addresses("reviews") == ["10.1.0.2 healthy"]).await;
    assert_eq!(lists(), before, "the list was read again although the watch could go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_leaves_everything_as_it_was() {
    let cluster = TestCluster::start().await;
    cluster.apply(&service("reviews").to_string()).await;
    cluster.apply(&slice("reviews", &["10.1.0.1"]).to_string()).await;
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    cluster.relay.sever().await;
    watcher.until("the loss", |watcher| matches!(watcher.told.last(), Some(Event::Lost(_)))).await;
    assert_eq!(watcher.addresses("reviews"), ["10.1.0.1 healthy"]);
    cluster.relay.mend();
    watcher.until("in step again", |watcher| watcher.told.last() == Some(&Event::Synced)).await;
    assert_eq!(watcher.addresses("reviews"), ["10.1.0.1 healthy"]);
    let of_reviews = |event: &&Event| matches!(event, Event::Endpoints(key, _) if key.host.as_str() == host("reviews"));
    assert_eq!(watcher.told.iter().filter(of_reviews).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_services_with_ten_thousand_endpoints_are_read() {
    let cluster = TestCluster::start().await;
    let mut objects = Vec::new();
    for number in 0..1000 {
        let name = format!("s{number}");
        let address = |endpoint: usize| format!("10.{}.{}.{endpoint}", 1 + number / 250, number % 250);
        let addresses: Vec<String> = (1..=10).map(address).collect();
        let mut slice = slice(&name, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
        for endpoint in 0..10 {
            let pod = format!("{name}-{endpoint}");
            slice["endpoints"][endpoint]["targetRef"] = json!({ "kind": "Pod", "name": pod, "namespace": "default" });
            objects.push((
                "pods",
                json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "name": pod, "namespace": "default", "labels": { "app": name } },
                    "spec": { "nodeName": "n1", "containers": [{ "name": "app", "image": "app" }] },
                }),
            ));
        }
        objects.push(("services", service(&name)));
        objects.push(("endpointslices.discovery.k8s.io", slice));
    }
    cluster.load(objects).await;
    let start = Instant::now();
    let mut watcher = Watcher::of(cluster.open("east").await);
    watcher.until_synced().await;
    eprintln!("1,000 services with 10,000 endpoints were read in {:?}", start.elapsed());
    let ours = watcher.services.keys().filter(|name| name.starts_with('s')).count();
    assert_eq!(ours, 1000);
    let ours = watcher.endpoints.iter().filter(|(name, _)| name.starts_with('s'));
    assert_eq!(ours.map(|(_, endpoints)| endpoints.len()).sum::<usize>(), 10_000);
    assert!(watcher.told.iter().filter(|event| matches!(event, Event::Service(_))).count() <= 1001);
}
