//! Many services: a change costs a query for what changed, and no more.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::followed::{Followed, endpoints};
use crate::relay::Relay;
use crate::server::Server;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_among_a_thousand_services_costs_a_query_for_one() {
    let server = Server::start();
    server.register_all(all());
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&format!("{}?max-connections=2000&wait=300s", relay.url()));
    followed.synced().await;
    let read: usize = followed.catalog().entries().map(|entry| entry.endpoints.len()).sum();
    assert_eq!(read, SERVICES * INSTANCES);
    let (_, first) = relay.asked();
    assert!(first <= 2 * SERVICES, "{first} queries to read {SERVICES} services and to wait for each");

    let changed: BTreeSet<String> = (0..CHANGES).map(|number| format!("s{}", number * 17)).collect();
    server.register_all((0..CHANGES).map(|number| instance(number * 17, 3, "v2")));
    followed.until("all changes", |catalog| changed.iter().all(|service| has_version(catalog, service, "v2"))).await;
    let (_, then) = relay.asked();
    // Those that still had to be asked for the first wait, and the changed ones, each once more, or twice where one
    // answer came between two changes of its node.
    let most = 2 * SERVICES - first + 3 * CHANGES;
    assert!(then - first <= most, "{} queries for {CHANGES} changes, at most {most} are expected", then - first);
    assert_eq!(endpoints(followed.catalog(), "s5").len(), INSTANCES);
}

fn has_version(catalog: &registry::Catalog, service: &str, version: &str) -> bool {
    crate::followed::entry(catalog, service).is_some_and(|entry| {
        entry.endpoints.iter().any(|endpoint| endpoint.workload.labels.get("version").is_some_and(|v| v == version))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_beyond_the_connections_take_turns() {
    let server = Server::with(json!({ "limits": { "http_max_conns_per_client": 40 } }));
    server.register_all((0..100).map(|service| instance(service, 0, "v1")));
    let relay = Relay::to(server.at()).await;
    let mut followed = Followed::new(&format!("{}?max-connections=30", relay.url()));
    followed.synced().await;
    assert_eq!(followed.catalog().entries().count(), 100);
    server.register_all((0..100).map(|service| instance(service, 0, "v2")));
    followed
        .until("all changes", |catalog| (0..100).all(|service| has_version(catalog, &format!("s{service}"), "v2")))
        .await;
    let findings = &followed.catalog().registries[0].findings;
    assert!(findings.iter().any(|found| found.contains("max-connections")), "{findings:?}");
}
