//! A control plane that a fleet reports to, and what it costs there.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::fleet::{Fleet, PAUSE, Size};
use crate::measure;

/// What was promised.
const ANSWER_MS: f64 = 300.0;
const SHARE: f64 = 5.0;
/// How long the control plane is watched.
const WATCHED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 30 });
const READS: usize = 100;

pub fn run(size: Size) {
    let mesh = ControlPlane::start();
    assert_eq!(mesh.send("POST", "/api/v1/_apply", &[], &size.manifests()).status, 200);
    let before = measure::memory(mesh.pid());
    let idle = share(&mesh, WATCHED / 3);
    let tokens: Vec<String> = (0..size.namespaces).map(|number| token(&mesh, &size.namespace(number))).collect();
    let _fleet = Fleet::start(size, &mesh.xds, &tokens, mesh.data.path());
    until_all_report(&mesh, size);
    std::thread::sleep(PAUSE);
    let busy = share(&mesh, WATCHED);
    println!("reports over gRPC and mutual TLS: {busy:.2} % of a core (promised: {SHARE} %; {idle:.2} % without any)");
    let after = measure::memory(mesh.pid());
    println!("memory: {} MiB resident, {} before the reports", after.0 >> 10, before.0 >> 10);
    answers(&mesh, "graph of a minute", "/api/v1/graph?window=60s", Some(ANSWER_MS));
    answers(&mesh, "graph of an hour", "/api/v1/graph?window=1h", None);
    answers(&mesh, "problems", "/api/v1/problems", None);
    answers(&mesh, "services", "/api/v1/services", None);
}

fn token(mesh: &ControlPlane, namespace: &str) -> String {
    let order = json!({ "namespace": namespace, "service_account": "fleet" }).to_string();
    let made = mesh.send("POST", "/api/v1/tokens", &[], &order);
    made.body["token"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
}

fn until_all_report(mesh: &ControlPlane, size: Size) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let graph = mesh.send("GET", "/api/v1/graph?window=60s", &[], "").body;
        let count = |what: &str| graph[what].as_array().map_or(0, Vec::len) as u64;
        let fresh = graph["reporting"]["fresh"].as_u64().unwrap_or(0);
        if fresh == u64::from(size.proxies()) && count("edges") == u64::from(size.edges()) {
            return;
        }
        assert!(Instant::now() < deadline, "{fresh} proxies report {} edges", count("edges"));
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// CPU of the control plane in percent of a core.
fn share(mesh: &ControlPlane, time: Duration) -> f64 {
    let (before, start) = (measure::cpu_nanoseconds(mesh.pid()), Instant::now());
    std::thread::sleep(time);
    (measure::cpu_nanoseconds(mesh.pid()) - before) as f64 / start.elapsed().as_nanos() as f64 * 100.0
}

/// How long an answer takes, from the connection to its last byte, while reports come.
fn answers(mesh: &ControlPlane, what: &str, path: &str, promise: Option<f64>) {
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..READS {
        let start = Instant::now();
        bytes = read(mesh, path);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let promise = promise.map_or_else(String::new, |promise| format!(" (promised: {promise} ms)"));
    let (p50, p99) = (times[READS / 2], times[READS - 1 - READS / 100]);
    println!("{what}: p50 {p50:.1} ms, p99 {p99:.1} ms{promise}, {} KiB", bytes >> 10);
}

/// The size of an answer.
fn read(mesh: &ControlPlane, path: &str) -> usize {
    let authority = mesh.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(authority).unwrap();
    let bearer = format!("authorization: Bearer {}", mesh.token);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{bearer}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(300)])
    );
    answer.len()
}
