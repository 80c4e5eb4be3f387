//! Memory: of a proxy that does nothing, of each idle connection, of each cluster; and how long many clusters take.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::bootstrap::typed;
use crate::load::{Order, order_tls};
use crate::peers::{Bench, Peer, Running, free_port, started_at};
use crate::scenario::{Inbound, SCENARIOS, Scenario};
use crate::{Fallible, measure};

#[derive(Serialize)]
pub struct Memory {
    pub what: &'static str,
    pub unit: &'static str,
    pub weft: f64,
    pub envoy: f64,
}

const CONNECTIONS: usize = 10_000;
const CLUSTERS: usize = 5_000;

pub fn measure(bench: &Bench) -> Fallible<Vec<Memory>> {
    let plain = SCENARIOS.iter().find(|scenario| scenario.name == "h1").ok_or("no such scenario")?;
    let mutual = Scenario { inbound: Inbound::MutualTls, ..*plain };
    let [weft, envoy] = [Peer::Weft, Peer::Envoy].map(|peer| of(bench, peer, plain, &mutual));
    let (weft, envoy) = (weft?, envoy?);
    let names = [
        ("resident at rest", "MiB"),
        ("anonymous at rest", "MiB"),
        ("an idle plain connection", "KiB"),
        ("an idle mutual TLS connection", "KiB"),
        ("a cluster with two endpoints and its virtual host", "KiB"),
        ("start with 5,000 clusters, CPU", "s"),
        ("idle with 5,000 clusters, share of a core", "%"),
    ];
    let rows = names.iter().zip(weft).zip(envoy);
    Ok(rows.map(|((name, weft), envoy)| Memory { what: name.0, unit: name.1, weft, envoy }).collect())
}

fn of(bench: &Bench, peer: Peer, plain: &Scenario, mutual: &Scenario) -> Fallible<[f64; 7]> {
    let upstream = bench.upstream(plain)?;
    let proxy = bench.start(peer, plain)?;
    let (resident, anonymous) = used(&proxy);
    let per_plain = per_connection(bench, &proxy, plain.inbound)?;
    drop(proxy);
    let per_mutual = per_connection(bench, &bench.start(peer, mutual)?, mutual.inbound)?;
    drop(upstream);
    let [few, many] = [0, CLUSTERS].map(|number| with_clusters(bench, peer, number));
    let (few, many) = (few?, many?);
    let per_cluster = (many.0 - few.0) / CLUSTERS as f64;
    Ok([resident / 1024.0, anonymous / 1024.0, per_plain, per_mutual, per_cluster, many.1, many.2])
}

/// KiB resident and anonymous, once it has settled: memory is given back some time after the last change.
fn used(proxy: &Running) -> (f64, f64) {
    std::thread::sleep(Duration::from_secs(3));
    let all: Vec<_> = proxy.processes().into_iter().map(measure::memory).collect();
    (all.iter().map(|used| used.0 as f64).sum(), all.iter().map(|used| used.1 as f64).sum())
}

/// KiB of memory for each connection that had its answer and is kept. The first thousand warm the allocator up.
fn per_connection(bench: &Bench, proxy: &Running, inbound: Inbound) -> Fallible<f64> {
    let before = with_connections(bench, proxy, inbound, CONNECTIONS / 10)?;
    let after = with_connections(bench, proxy, inbound, CONNECTIONS)?;
    Ok((after - before) / (CONNECTIONS - CONNECTIONS / 10) as f64)
}

fn with_connections(bench: &Bench, proxy: &Running, inbound: Inbound, number: usize) -> Fallible<f64> {
    let order = Order { address: Some(proxy.address), connections: number, idle: true, ..order_tls(bench, inbound) };
    let mut holding = Command::new(std::env::current_exe()?)
        .arg("load")
        .arg(serde_json::to_string(&order)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut told = String::new();
    BufReader::new(holding.stdout.take().ok_or("no output")?).read_line(&mut told)?;
    if told != "ready\n" {
        return Err("the connections could not all be opened".into());
    }
    let (_, anonymous) = used(proxy);
    drop(holding.stdin.take());
    holding.wait()?;
    Ok(anonymous)
}

/// Anonymous KiB, CPU seconds until the last cluster's host is answered for, and per cent of a core when idle.
fn with_clusters(bench: &Bench, peer: Peer, number: usize) -> Fallible<(f64, f64, f64)> {
    let listen = free_port()?;
    let file = bench.directory().join(format!("clusters-{}-{number}.json", peer.name()));
    std::fs::write(&file, clusters(listen, number).to_string())?;
    let proxy = started_at(bench.proxy(peer, &file), listen)?;
    let cpu = |proxy: &Running| proxy.processes().into_iter().map(measure::cpu_nanoseconds).sum::<u64>() as f64 / 1e9;
    let ready = cpu(&proxy);
    let (_, anonymous) = used(&proxy);
    let (before, from) = (cpu(&proxy), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    Ok((anonymous, ready, (cpu(&proxy) - before) / from.elapsed().as_secs_f64() * 100.0))
}

fn clusters(listen: SocketAddr, number: usize) -> Value {
    let name = |index: usize| format!("outbound|80||svc{index}.ns.svc.cluster.local");
    let cluster = |index: usize| {
        let endpoint = |which: usize| {
            let bits = (2 * index + which) as u32;
            let address = format!("10.{}.{}.{}", bits >> 16 & 255, bits >> 8 & 255, bits & 255);
            let labels = json!({ "filter_metadata": { "envoy.transport_socket_match": { "tlsMode": "istio" } } });
            let socket = json!({ "address": address, "port_value": 8080 });
            json!({ "endpoint": { "address": { "socket_address": socket } }, "metadata": labels })
        };
        let raw = typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", json!({}));
        let most = u32::MAX;
        json!({
            "name": name(index), "type": "STATIC", "connect_timeout": "10s",
            "load_assignment": {
                "cluster_name": name(index), "endpoints": [{ "lb_endpoints": [endpoint(0), endpoint(1)] }],
            },
            "circuit_breakers": { "thresholds": [{
                "max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most,
            }] },
            "outlier_detection": { "consecutive_5xx": 5 },
            "transport_socket_matches": [{ "name": "plain", "match": {}, "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer", "typed_config": raw,
            } }],
        })
    };
    let host = |index: usize| {
        json!({
            "name": format!("svc{index}:80"),
            "domains": [format!("svc{index}.ns.svc.cluster.local"), format!("svc{index}.ns.svc"), format!("svc{index}.ns")],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": name(index), "timeout": "0s" } }],
        })
    };
    let router =
        json!({ "name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})) });
    let manager = json!({
        "stat_prefix": "out", "http_filters": [router],
        "route_config": { "name": "routes", "virtual_hosts": (0..number).map(host).collect::<Vec<_>>() },
    });
    let kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    json!({
        "node": { "id": "bench", "cluster": "bench" },
        "static_resources": {
            "clusters": (0..number).map(cluster).collect::<Vec<_>>(),
            "listeners": [{
                "name": "listener",
                "address": { "socket_address": { "address": listen.ip().to_string(), "port_value": listen.port() } },
                "filter_chains": [{ "filters": [{ "name": "http", "typed_config": typed(kind, manager) }] }],
            }],
        },
    })
}
