//! How soon a change in Consul reaches a proxy: 1,000 services of 10 instances in a real Consul, the registry, the
//! catalog and the discovery service as the control plane wires them, and a client that follows the endpoints of all
//! services. A change counts from the moment it is sent to Consul until the client holds it.
//!
//! `cargo bench --bench consul`, or with fewer or more changes: `-- 500`.

#![allow(clippy::unwrap_used)]

#[path = "../../registry/tests/consul/server.rs"]
#[allow(dead_code)]
mod server;
mod subscriber;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::TrustDomain;
use pilot::{Discovery, Inputs, MeshConfig};
use registry::{Catalog, Consul, ConsulEnvironment, ConsulOptions, Policy, Registry};
use serde_json::{Value, json};
use server::Server;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;

const SERVICES: usize = 1_000;
const INSTANCES: usize = 10;
/// Between one change and the next.
const PACE: Duration = Duration::from_millis(20);
/// What is aimed for at the 99th percentile.
const GOAL: Duration = Duration::from_millis(500);

fn main() {
    let changes = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000);
    let server = Server::start();
    server.register_all((0..SERVICES * INSTANCES).map(|number| instance(number / INSTANCES, number % INSTANCES, None)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(Arc::new(server), changes));
}

/// Instance `number` of a service; a changed one is at an address that no other has.
fn instance(service: usize, number: usize, changed: Option<usize>) -> Value {
    let address = match changed {
        None => format!("10.{}.{}.{number}", 2 + service / 250, service % 250),
        Some(change) => marker(change),
    };
    json!({
        "Node": format!("node-{number}"), "Address": format!("10.1.0.{}", number + 1),
        "Service": { "ID": format!("s{service}-{number}"), "Service": format!("s{service}"), "Port": 9080, "Address": address },
    })
}

fn marker(change: usize) -> String {
    format!("172.{}.{}.{}", 16 + change / 62_500, change / 250 % 250, change % 250)
}

async fn measure(server: Arc<Server>, changes: usize) {
    let options =
        ConsulOptions::parse(&format!("{}?max-connections=1500", server.url()), &ConsulEnvironment::default());
    let consul = Consul::open("consul", "cluster.local", options.unwrap()).unwrap();
    let registries: Vec<Arc<dyn Registry>> = vec![Arc::new(consul)];
    let (publish, catalog) = watch::channel(Arc::new(Catalog::default()));
    let start = Instant::now();
    tokio::spawn(registry::run(registries, Policy::default(), publish));
    let (inputs, followed) = watch::channel(Inputs {
        catalog: Arc::default(),
        config: Arc::default(),
        mesh: Arc::new(MeshConfig::new(TrustDomain::new("cluster.local").unwrap())),
        credentials: Arc::default(),
        ready: false,
    });
    let options = pilot::Options { allow_unauthenticated: true, ..pilot::Options::default() };
    let discovery = Discovery::new(followed, options, Arc::new(()));
    tokio::spawn(follow(catalog, inputs));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(discovery.server())
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
    );

    let names: Vec<String> =
        (0..SERVICES).map(|service| format!("outbound|9080||s{service}.default.svc.cluster.local")).collect();
    let mut subscriber = subscriber::Subscriber::connect(address, names).await;
    subscriber.until_all(SERVICES).await;
    println!("{SERVICES} services of {INSTANCES} instances read and delivered in {:?}", start.elapsed());

    let mut sent = Vec::with_capacity(changes);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let changer = tokio::task::spawn_blocking(move || {
        for change in 0..changes {
            let at = Instant::now();
            let service = change * 7 % SERVICES;
            server.put("/v1/catalog/register", instance(service, change / SERVICES % INSTANCES, Some(change)));
            tell.send(at).unwrap();
            std::thread::park_timeout(PACE.saturating_sub(at.elapsed()));
        }
    });
    let seen = subscriber.until_seen((0..changes).map(marker).collect()).await;
    changer.await.unwrap();
    while let Ok(at) = told.try_recv() {
        sent.push(at);
    }
    let mut taken: Vec<Duration> =
        sent.iter().enumerate().map(|(change, at)| seen[&marker(change)].duration_since(*at)).collect();
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize];
    println!("{changes} changes, one each {PACE:?}: p50 {:?}, p99 {:?}, slowest {:?}", at(0.5), at(0.99), at(1.0));
    println!("goal: p99 below {GOAL:?}: {}", if at(0.99) < GOAL { "met" } else { "missed" });
}

async fn follow(mut catalog: watch::Receiver<Arc<Catalog>>, inputs: watch::Sender<Inputs>) {
    while catalog.changed().await.is_ok() {
        let now = catalog.borrow_and_update().clone();
        inputs.send_modify(|inputs| {
            inputs.ready |= !now.registries.is_empty() && now.synced();
            inputs.catalog = now;
        });
    }
}
