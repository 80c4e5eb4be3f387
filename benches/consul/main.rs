//! How soon a change in Consul reaches a proxy: 1,000 services of 10 instances in a real Consul with its default limit
//! of connections, the registry as it is without settings, the catalog and the discovery service as the control plane
//! wires them, and a client that follows the endpoints of all services. Instances come and go, move, and turn critical;
//! each change counts from the moment it is sent to Consul until the client holds it.
//!
//! `cargo bench --bench consul`, or with another number of changes and of nodes: `-- 500 1000`.

#![allow(clippy::unwrap_used)]

mod counter;
#[path = "../../registry/tests/consul/server.rs"]
#[allow(dead_code)]
mod server;
mod subscriber;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::TrustDomain;
use counter::Counter;
use pilot::{Discovery, Inputs, MeshConfig};
use registry::{Catalog, Consul, ConsulEnvironment, ConsulOptions, Policy, Registry};
use serde_json::{Value, json};
use server::Server;
use subscriber::{Subscriber, Wanted};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;

const SERVICES: usize = 1_000;
const INSTANCES: usize = 10;
/// Machines that they are on, where nothing else is asked for.
const NODES: usize = 100;
/// How long nothing changes, while queries are counted.
const IDLE: Duration = Duration::from_secs(10);
/// Between one change and the next.
const PACE: Duration = Duration::from_millis(20);
/// What is aimed for at the 99th percentile.
const GOAL: Duration = Duration::from_millis(500);

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let (changes, nodes) = (numbers.next().unwrap_or(1_000), numbers.next().unwrap_or(NODES));
    let server = Server::with(json!({ "limits": { "http_max_conns_per_client": 200 } }));
    server.register_all((0..SERVICES * INSTANCES).map(|number| instance(number, nodes, "passing", address(number))));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(Arc::new(server), changes, nodes));
}

/// Instance `number` of all, with its check.
fn instance(number: usize, nodes: usize, status: &str, address: String) -> Value {
    let (service, node) = (number / INSTANCES, number % nodes);
    let (id, name) = (format!("i{number}"), format!("node-{node}"));
    json!({
        "Node": name, "Address": format!("10.1.{}.{}", node / 250, node % 250 + 1), "SkipNodeUpdate": true,
        "Service": { "ID": id, "Service": format!("s{service}"), "Port": 9080, "Address": address },
        "Check": { "Node": name, "CheckID": id, "Name": "http", "Status": status, "ServiceID": id },
    })
}

fn address(number: usize) -> String {
    format!("10.{}.{}.{}", 2 + number / 62_500, number / 250 % 250, number % 250)
}

/// An address that no instance had before.
fn fresh(change: usize) -> String {
    format!("172.{}.{}.{}", 16 + change / 62_500, change / 250 % 250, change % 250)
}

/// A change by its number: what is sent to Consul, and what the client is to see. Four kinds take turns, each of them on
/// an instance that nothing else changes.
fn change(number: usize, nodes: usize) -> (&'static str, Value, Wanted) {
    let (register, deregister) = ("/v1/catalog/register", "/v1/catalog/deregister");
    let service = number * 7 % SERVICES;
    let at = service * INSTANCES + number / SERVICES % INSTANCES;
    let wanted = |address: String, there| Wanted { cluster: cluster(service), address, there };
    match number % 4 {
        0 => (register, instance(at, nodes, "passing", fresh(number)), wanted(fresh(number), true)),
        1 => (register, instance(at, nodes, "critical", address(at)), wanted(address(at), false)),
        2 => {
            let gone = json!({ "Node": format!("node-{}", at % nodes), "ServiceID": format!("i{at}") });
            (deregister, gone, wanted(address(at), false))
        }
        _ => {
            let mut new = instance(at, nodes, "passing", fresh(number));
            let id = format!("new-{number}");
            (new["Service"]["ID"], new["Check"]["CheckID"], new["Check"]["ServiceID"]) =
                (json!(id), json!(id), json!(id));
            (register, new, wanted(fresh(number), true))
        }
    }
}

fn cluster(service: usize) -> String {
    format!("outbound|9080||s{service}.default.svc.cluster.local")
}

async fn measure(server: Arc<Server>, changes: usize, nodes: usize) {
    let counter = Counter::before(server.at()).await;
    let options = ConsulOptions::parse(&counter.url(), &ConsulEnvironment::default());
    let consul = Consul::open("consul", "cluster.local", options.unwrap()).unwrap();
    let registries: Vec<Arc<dyn Registry>> = vec![Arc::new(consul)];
    let (publish, catalog) = watch::channel(Arc::new(Catalog::default()));
    let start = Instant::now();
    tokio::spawn(registry::run(registries, Policy::default(), publish));
    let mut subscriber = Subscriber::connect(discovery(catalog).await, (0..SERVICES).map(cluster).collect()).await;
    subscriber.until_all(SERVICES).await;
    println!(
        "{SERVICES} services of {INSTANCES} instances on {nodes} nodes read and delivered in {:?}",
        start.elapsed()
    );
    // What is set up after the first reading ends.
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("to read and to begin to follow: {}", counter.told());
    tokio::time::sleep(IDLE).await;
    println!("in {IDLE:?} without a change: {}", counter.told());

    let wanted = (0..changes).map(|number| change(number, nodes).2).collect();
    let changed = server.clone();
    let changer = tokio::task::spawn_blocking(move || {
        let sent = (0..changes).map(|number| {
            let at = Instant::now();
            let (path, body, _) = change(number, nodes);
            changed.put(path, body);
            std::thread::park_timeout(PACE.saturating_sub(at.elapsed()));
            at
        });
        sent.collect::<Vec<Instant>>()
    });
    let seen = subscriber.until_seen(wanted).await;
    let sent = changer.await.unwrap();
    let mut taken: Vec<Duration> = sent.iter().zip(seen).map(|(at, seen)| seen.duration_since(*at)).collect();
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize];
    println!("{changes} changes, one each {PACE:?}: p50 {:?}, p99 {:?}, slowest {:?}", at(0.5), at(0.99), at(1.0));
    println!("for these changes: {}", counter.told());
    println!("goal: p99 below {GOAL:?}: {}", if at(0.99) < GOAL { "met" } else { "missed" });
}

/// The discovery service of that catalog, and where it listens.
async fn discovery(catalog: watch::Receiver<Arc<Catalog>>) -> std::net::SocketAddr {
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
    address
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
