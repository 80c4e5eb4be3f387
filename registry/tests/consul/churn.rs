//! Many services: what changed is found by few queries, and nothing else is read again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::followed::{Followed, endpoints};
use crate::relay::Relay;
use crate::server::{PER_TRANSACTION, Server};

const SERVICES: usize = 1_000;
const INSTANCES: usize = 10;
const CHANGES: usize = 50;

/// An instance on a node of its own number.
fn instance(service: usize, number: usize, version: &str) -> Value {
    json!({
        "Node": format!("node-{number}"), "Address": format!("10.1.0.{}", number + 1),
        "Service": {
            "ID": format!("s{service}-{number}"), "Service": format!("s{service}"), "Port": 9080,
            "Address": format!("10.{}.{}.{number}", 2 + service / 250, service % 250), "Meta": { "version": version },
        },
    })
}

fn all() -> impl Iterator<Item = Value> {
    (0..SERVICES).flat_map(|service| (0..INSTANCES).map(move |number| instance(service, number, "v1")))
}

/// A Consul at its default of connections.
fn server() -> Server {
    Server::with(json!({ "limits": { "http_max_conns_per_client": 200 } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_among_a_thousand_services_costs_a_query_for_one() {
    let server = server();
    server.register_all(all());
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&relay.url());
    followed.synced().await;
    let read: usize = followed.catalog().entries().map(|entry| entry.endpoints.len()).sum();
    assert_eq!(read, SERVICES * INSTANCES);
    let (_, first) = relay.asked();
    // A question that had no answer in time is asked again.
    assert!((SERVICES..SERVICES + SERVICES / 10).contains(&first), "each is read once, not {first} of {SERVICES}");

    let changed: BTreeSet<String> = (0..CHANGES).map(|number| format!("s{}", number * 17)).collect();
    server.register_all((0..CHANGES).map(|number| instance(number * 17, 3, "v2")));
    followed.until("all changes", |catalog| changed.iter().all(|service| has_version(catalog, service, "v2"))).await;
    let (_, then) = relay.asked();
    // Once more, or twice where it was already being read when a later answer of its node told of it.
    assert!(then - first <= 2 * CHANGES, "{} queries for {CHANGES} changes", then - first);
    // The names, the nodes and the checks; and each node as it was first, and then at most once a transaction.
    let others = relay.questions() - then;
    let most = 5 * (1 + CHANGES) + INSTANCES * (1 + CHANGES.div_ceil(PER_TRANSACTION));
    assert!(others <= most, "{others} queries beside those for instances");
    assert!(relay.most_open() <= 60, "{} connections at once", relay.most_open());
    assert_eq!(endpoints(followed.catalog(), "s5").len(), INSTANCES);
}

fn has_version(catalog: &registry::Catalog, service: &str, version: &str) -> bool {
    crate::followed::entry(catalog, service).is_some_and(|entry| {
        entry.endpoints.iter().any(|endpoint| endpoint.workload.labels.get("version").is_some_and(|v| v == version))
    })
}

/// What an operator does to instances is seen, however it is found: 60 services on so many nodes, with 30 connections.
async fn changes_are_seen(nodes: usize) {
    let server = server();
    let at = |service: usize, status: &str, version: &str| {
        let mut instance = instance(service, service % nodes, version);
        let (node, id) = (instance["Node"].clone(), instance["Service"]["ID"].clone());
        let check = format!("of-{service}");
        instance["Check"] =
            json!({ "Node": node, "CheckID": check, "Name": "http", "Status": status, "ServiceID": id });
        instance
    };
    server.register_all((0..60).map(|service| at(service, "passing", "v1")));
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&format!("{}?max-connections=30", relay.url()));
    followed.synced().await;
    assert_eq!(followed.catalog().entries().count(), 60);

    server.put("/v1/catalog/register", at(7, "critical", "v1"));
    followed.until("the critical check", |catalog| endpoints(catalog, "s7")[0].ends_with(" unhealthy")).await;
    server.put("/v1/catalog/register", at(7, "warning", "v1"));
    followed.until("the warning", |catalog| endpoints(catalog, "s7")[0].ends_with(" healthy")).await;
    server.put("/v1/catalog/register", at(8, "passing", "v2"));
    followed.until("the changed meta", |catalog| has_version(catalog, "s8", "v2")).await;

    let mut second = at(9, "passing", "v1");
    second["Service"]["ID"] = json!("second");
    second["Service"]["Address"] = json!("10.9.9.9");
    second["Check"] = json!(null);
    server.put("/v1/catalog/register", second.clone());
    followed.until("a second instance", |catalog| endpoints(catalog, "s9").len() == 2).await;
    server.put("/v1/catalog/deregister", json!({ "Node": second["Node"], "ServiceID": "second" }));
    followed.until("its end", |catalog| endpoints(catalog, "s9").len() == 1).await;

    let mut new = at(60, "passing", "v1");
    new["Node"] = json!("new-node");
    new["Check"]["Node"] = json!("new-node");
    server.put("/v1/catalog/register", new.clone());
    followed.until("a new service on a new node", |catalog| endpoints(catalog, "s60").len() == 1).await;
    let node = json!({ "Node": "new-node", "Address": "10.1.2.3", "NodeMeta": { "rack": "r1" } });
    server.put("/v1/catalog/register", node);
    followed
        .until("the changed node", |catalog| {
            let entry = crate::followed::entry(catalog, "s60");
            entry.is_some_and(|entry| entry.endpoints[0].workload.labels.contains_key("rack"))
        })
        .await;
    server.put("/v1/catalog/deregister", json!({ "Node": "new-node" }));
    followed.until("the end of the node", |catalog| crate::followed::entry(catalog, "s60").is_none()).await;
    assert!(relay.most_open() <= 30, "{} connections at once", relay.most_open());
    assert!(followed.catalog().registries[0].findings.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_seen_where_services_are_too_many_to_wait_for() {
    changes_are_seen(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_seen_where_services_and_nodes_are_too_many_to_wait_for() {
    changes_are_seen(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_become_too_many_go_on_being_followed() {
    let server = server();
    let put = |services: std::ops::Range<usize>, version: &str| {
        server.register_all(services.map(|service| instance(service, service % 4, version)));
    };
    put(0..5, "v1");
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&format!("{}?max-connections=30", relay.url()));
    followed.synced().await;
    put(0..5, "v2");
    followed.until("the change", |catalog| (0..5).all(|one| has_version(catalog, &format!("s{one}"), "v2"))).await;
    put(5..50, "v1");
    followed.until("all services", |catalog| catalog.entries().count() == 50).await;
    put(0..50, "v3");
    followed.until("the change", |catalog| (0..50).all(|one| has_version(catalog, &format!("s{one}"), "v3"))).await;
    for service in 3..50 {
        let node = service % 4;
        let gone = json!({ "Node": format!("node-{node}"), "ServiceID": format!("s{service}-{node}") });
        server.put("/v1/catalog/deregister", gone);
    }
    followed.until("few services", |catalog| catalog.entries().count() == 3).await;
    put(0..3, "v4");
    followed.until("the change", |catalog| (0..3).all(|one| has_version(catalog, &format!("s{one}"), "v4"))).await;
}
