//! What an operator sees of the traffic, with nothing else installed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::mesh::{Mesh, address, get, until};

/// Asks the REST API as the operator.
pub fn api(mesh: &Mesh, path: &str) -> Value {
    api_of(mesh.path(), path)
}

/// The same, of the control plane with this data directory.
pub fn api_of(data: &Path, path: &str) -> Value {
    let control_plane = data.join("control-plane");
    let known: Value = serde_json::from_slice(&std::fs::read(control_plane.join("address.json")).unwrap()).unwrap();
    let token = std::fs::read_to_string(data.join("token")).unwrap();
    let at = address(known["api"].as_str().unwrap());
    let bearer = format!("Bearer {}", token.trim());
    get(at, "localhost", &format!("/api/v1/{path}"), &[("authorization", &bearer)]).unwrap().json()
}

fn edge<'a>(graph: &'a Value, id: &str) -> &'a Value {
    graph["edges"].as_array().unwrap().iter().find(|edge| edge["id"] == id).unwrap_or(&Value::Null)
}

fn rate(of: &Value) -> f64 {
    of["requests_per_second"].as_f64().unwrap_or_default()
}

#[test]
fn the_graph_shows_who_calls_whom_by_what_proxies_report() {
    let mesh = Mesh::start(&[]);
    let calls = [
        "default/productpage>default/reviews>http",
        "default/productpage>default/details>http",
        "default/reviews>default/ratings>http",
    ];
    let mut graph = Value::Null;
    until("all edges of the sample", Duration::from_secs(60), || {
        mesh.get("/productpage", &[]);
        graph = api(&mesh, "graph?window=60s");
        // The caller's name, and the gateway's calls, may be in later reports of other proxies; one may be late.
        let has_gateway = graph["nodes"].as_array().unwrap().iter().any(|node| node["kind"] == "gateway");
        let is_named = edge(&graph, calls[0])["principals"]["source"].is_string();
        let all_report = graph["reporting"]["stale"] == serde_json::json!([]);
        has_gateway && is_named && all_report && calls.iter().all(|id| rate(edge(&graph, id)) > 0.0)
    });
    let reviews = edge(&graph, calls[0]);
    assert_eq!(reviews["mtls_ratio"], 1.0, "{reviews}");
    assert!(reviews["latency_ms"]["p95"].as_f64().unwrap() > 0.0, "{reviews}");
    assert!(reviews["codes"]["200"].as_f64().unwrap() > 0.0, "{reviews}");
    assert_eq!(
        reviews["principals"]["source"], "spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
        "{reviews}"
    );
    assert!(!graph["edges"].to_string().contains("unknown>default/reviews"), "{graph}");
    let nodes = graph["nodes"].as_array().unwrap();
    let node = |id: &str| nodes.iter().find(|node| node["id"] == id).unwrap_or_else(|| panic!("no {id} in {graph}"));
    assert_eq!(node("default/reviews")["endpoints"]["ready"], 3, "{graph}");
    assert_eq!(node("default/ratings")["health"], "healthy", "{graph}");
}

#[test]
fn the_command_line_shows_the_same_graph() {
    let mesh = Mesh::start(&[]);
    until("traffic between productpage and reviews", Duration::from_secs(60), || {
        mesh.get("/productpage", &[]);
        let ends = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
        mesh.ok(&["graph"]).lines().any(|line| ends(line) == ["default/productpage", "default/reviews"])
    });
    let dot = mesh.ok(&["graph", "-o", "dot"]);
    assert!(dot.contains("\"default/productpage\" -> \"default/reviews\""), "{dot}");
    assert!(mesh.ok(&["graph", "-o", "mermaid", "-n", "default"]).starts_with("flowchart LR\n"));
    let soon = Duration::from_secs(60);
    until("reviews among the services", soon, || {
        let top = mesh.ok(&["top", "--once"]);
        let reviews = top.lines().find(|line| line.starts_with("default/reviews "));
        reviews.is_some_and(|line| line.contains("healthy") && line.contains("3/3"))
    });
    until("the share of mutual TLS", soon, || {
        mesh.ok(&["top", "edges", "--once", "--sort", "latency"]).contains("100.0%")
    });
}

#[test]
fn a_trace_joins_the_spans_of_all_proxies_that_a_request_passed() {
    let mesh = Mesh::start(&[]);
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{id}-00f067aa0ba902b7-01");
    assert_eq!(mesh.get("/productpage", &[("traceparent", &parent)]).status, 200);
    let mut trace = Value::Null;
    // Each proxy reports its spans by itself, and those of one request in as many reports as it happens.
    until("the span of details below that of its caller", Duration::from_secs(60), || {
        trace = api(&mesh, &format!("traces/{id}"));
        let spans = trace["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let details = spans.iter().find(|span| span["service"] == "default/details");
        spans.iter().any(|span| details.is_some_and(|details| details["parent_id"] == span["span_id"]))
    });
    let spans = trace["spans"].as_array().unwrap();
    let details = spans.iter().find(|span| span["service"] == "default/details").unwrap();
    let caller = spans.iter().find(|span| span["span_id"] == details["parent_id"]).unwrap();
    assert_eq!((&details["kind"], &caller["kind"]), (&"server".into(), &"client".into()), "{trace}");
    assert_eq!(caller["service"], "default/productpage", "{trace}");
    assert!(mesh.ok(&["proxy-status"]).contains("productpage"));
    let listed = api(&mesh, "traces?service=default/details&limit=1000");
    assert!(listed["items"].as_array().unwrap().iter().any(|item| item["trace_id"] == id), "{listed}");
}

#[test]
fn tap_shows_live_requests_without_what_is_secret() {
    let mesh = Mesh::start(&[]);
    let watching = std::thread::scope(|scope| {
        let tap = scope.spawn(|| {
            let words =
                ["tap", "--destination", "default/details", "--match", "path=/details/*", "--count", "1", "-o", "json"];
            mesh.ok(&words)
        });
        until("a request that is shown", Duration::from_secs(60), || {
            mesh.get("/productpage", &[("authorization", "Bearer hidden")]);
            tap.is_finished()
        });
        tap.join().unwrap()
    });
    let request: Value = serde_json::from_str(&watching).unwrap();
    assert_eq!((&request["source"], &request["status"]), (&"default/productpage".into(), &200.into()), "{request}");
    assert!(!watching.contains("hidden"), "{watching}");
    let wrong = mesh.weft(&["tap", "--match", "colour=red"]);
    assert!(!wrong.status.success() && crate::mesh::text(&wrong).contains("there is no field \"colour\""), "{wrong:?}");
}

#[test]
fn a_proxy_is_asked_for_its_log_level_and_its_counters() {
    let mesh = Mesh::start(&[]);
    let (soon, id) = (Duration::from_secs(60), "reviews-v1.default");
    for id in [id, "details-v1.default"] {
        until("it reports", soon, || mesh.weft(&["log-level", id]).status.success());
    }
    let others = mesh.ok(&["log-level", "details-v1.default"]);
    assert!(!mesh.log_of("reviews-v1").contains("DEBUG"));
    assert_eq!(mesh.ok(&["log-level", id, "debug"]).trim(), "debug");
    assert_eq!(mesh.ok(&["log-level", id]).trim(), "debug");
    until("more in its log", soon, || mesh.log_of("reviews-v1").contains("DEBUG"));
    assert_eq!(mesh.ok(&["log-level", "details-v1.default"]), others);
    let wrong = mesh.weft(&["log-level", "nobody.default", "debug"]);
    assert!(!wrong.status.success() && crate::mesh::text(&wrong).contains("nobody.default"), "{wrong:?}");

    let stats = api(&mesh, &format!("proxies/{id}/_stats?prefix=server.&limit=3"));
    let names = stats["items"].as_array().unwrap().iter().map(|stat| stat["name"].as_str().unwrap());
    assert!(names.clone().count() == 3 && names.into_iter().all(|name| name.starts_with("server.")), "{stats}");
    assert_eq!(stats["more"], true);
}

#[test]
fn a_machine_and_its_endpoints_tell_when_they_were_heard_of() {
    let mesh = Mesh::start(&[]);
    let reviews = || api(&mesh, "services/default/reviews/_endpoints");
    let heard = |list: &Value| list["items"].as_array().unwrap().iter().all(|item| item["last_heartbeat"].is_u64());
    until("reports of all", Duration::from_secs(60), || heard(&reviews()));
    assert_eq!(reviews()["items"][0]["health_source"], "agent");
    let mut members = Value::Null;
    until("reports of the members", Duration::from_secs(60), || {
        members = api(&mesh, "members?filter=service_account%20==%20%22bookinfo-reviews%22");
        members["items"][0]["last_seen"].is_u64() && members["items"][0]["os"].is_string()
    });
    let member = &members["items"][0];
    assert!(!member["os"].as_str().unwrap().is_empty(), "{members}");
    assert!(member["version"].as_str().unwrap().starts_with("weft/"), "{members}");
    let proxies = api(&mesh, "proxies");
    let address = |proxy: &Value| proxy["address"].as_str().is_some_and(|at| at.parse::<SocketAddr>().is_ok());
    assert!(proxies["items"].as_array().unwrap().iter().all(address), "{proxies}");
}

#[test]
fn prometheus_finds_every_proxy() {
    let mesh = Mesh::start(&[]);
    until("all proxies", Duration::from_secs(60), || api(&mesh, "sd").as_array().is_some_and(|all| all.len() >= 7));
    for group in api(&mesh, "sd").as_array().unwrap() {
        let at = group["targets"][0].as_str().unwrap().parse().unwrap();
        let metrics = get(at, "localhost", group["labels"]["__metrics_path__"].as_str().unwrap(), &[]).unwrap();
        assert!(metrics.body.contains("istio_build{component=\"proxy\""), "{group}: {}", metrics.body);
    }
}
