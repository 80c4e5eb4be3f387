//! What a token for namespaces is shown of the whole mesh: what is in them, and nothing of others.

use std::collections::HashMap;
use std::time::Duration;

use api::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use api::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use api::prost::Message as _;
use api::weft::v1 as wire;
use citadel::Role;
use futures_util::StreamExt as _;
use mixer::Reporter;

use super::door::{ask, status, token};
use super::*;
use crate::feed::Topic;

const OTHERS: &str = "secret-of-others";

fn reporter(mesh: &Mesh, name: &str, namespace: &str) -> Reporter {
    let workload = wire::Workload { name: name.into(), namespace: namespace.into(), ..wire::Workload::default() };
    Reporter {
        node: format!("sidecar~10.0.0.1~{name}.{namespace}~cluster.local"),
        workload,
        principal: format!("spiffe://cluster.local/ns/{namespace}/sa/{name}"),
        started_at: mesh.state.mixer.now() - 10_000,
        gateway: false,
        metrics: None,
        metrics_path: String::new(),
        member: None,
        version: String::new(),
        os: String::new(),
    }
}

fn report(mesh: &Mesh, reporter: &Reporter, report: wire::ReportRequest) {
    mesh.state.mixer.take(reporter, report, &mut HashMap::new());
}

/// A span of the trace 1.
fn spans(name: &str, number: u64) -> wire::ReportRequest {
    let span = Span {
        trace_id: 1_u128.to_be_bytes().to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        name: name.into(),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let spans = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
    wire::ReportRequest { spans: vec![spans], ..wire::ReportRequest::default() }
}

/// The words of a stream from its beginning until one is there; or to its end.
async fn read(mesh: &Mesh, bearer: &str, path: &str, until: &str) -> String {
    let request = Request::builder().uri(path).header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    let response = mesh.answer(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let mut body = response.into_body().into_data_stream();
    let mut told = String::new();
    while !told.contains(until) {
        let frame = tokio::time::timeout(Duration::from_secs(60), body.next()).await;
        let frame = frame.unwrap_or_else(|_| panic!("no {until:?} in {told}"));
        let Some(frame) = frame else { break };
        told += &String::from_utf8_lossy(&frame.unwrap());
    }
    told
}

/// The topic and the data of each event, without bookmarks.
fn events(told: &str) -> Vec<(String, Value)> {
    let field = |event: &str, name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    told.split_terminator("\n\n")
        .filter_map(|event| Some((field(event, "event: ")?, serde_json::from_str(&field(event, "data: ")?).unwrap())))
        .filter(|(topic, _)| topic != "bookmark")
        .collect()
}

#[tokio::test]
async fn events_are_those_of_the_namespaces_of_the_token() {
    let mesh = Mesh::start().await;
    let shop = token(&mesh, Role::Viewer, &["shop"]).await;
    let feed = &mesh.state.kept.feed;
    let start = feed.revision();
    for (namespace, name) in [("default", OTHERS), ("shop", "cart")] {
        for topic in [Topic::Objects, Topic::Services, Topic::Endpoints] {
            feed.publish(topic, "modified", json!({ "namespace": namespace, "name": name }));
        }
        feed.publish(Topic::Proxies, "added", json!({ "id": format!("{name}.{namespace}") }));
        let problems = json!({ "problems": { "error": 77 }, "namespaces": [namespace] });
        feed.publish(Topic::Problems, "modified", problems);
    }
    let registry = json!({ "name": "consul", "state": "synced", "services": 77, "findings": [OTHERS] });
    feed.publish(Topic::Registries, "modified", json!({ "items": [registry] }));
    feed.publish(Topic::Telemetry, "graph", json!({ "at": 1 }));
    let path = format!("/api/v1/events?since={start}");
    let told = read(&mesh, &shop, &path, "event: telemetry").await;
    let cart = json!({ "namespace": "shop", "name": "cart" });
    let expected = [
        ("objects", cart.clone()),
        ("services", cart.clone()),
        ("endpoints", cart),
        ("proxies", json!({ "id": "cart.shop" })),
        ("problems", json!({ "namespaces": ["shop"] })),
        ("registries", json!({ "items": [{ "name": "consul", "since": null, "state": "synced" }] })),
        ("telemetry", json!({ "at": 1 })),
    ];
    assert_eq!(events(&told), expected.map(|(topic, data)| (topic.to_owned(), data)));
    let all = read(&mesh, &mesh.token, &path, "event: telemetry").await;
    assert_eq!(all.matches(OTHERS).count(), 5, "{all}");
}

#[tokio::test]
async fn registries_are_counted_by_what_the_token_may_see() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    let (shop, home) = (token(&mesh, Role::Viewer, &["shop"]).await, token(&mesh, Role::Viewer, &["default"]).await);
    for (bearer, expected) in [(&shop, json!([0, 0])), (&home, json!([1, 1])), (&mesh.token, json!([1, 1]))] {
        let (_, told) = ask(&mesh, bearer, "GET", "/registries", "").await;
        let [agents] = &told["items"].as_array().unwrap()[..] else { panic!("{told}") };
        assert_eq!(json!([agents["services"], agents["endpoints"]]), expected, "{told}");
    }
}

#[tokio::test]
async fn of_a_trace_the_token_shows_the_spans_of_its_namespaces() {
    let mesh = Mesh::start().await;
    report(&mesh, &reporter(&mesh, "cart", "shop"), spans("our-span", 1));
    report(&mesh, &reporter(&mesh, "bank", "default"), spans(OTHERS, 2));
    let (shop, none) = (token(&mesh, Role::Viewer, &["shop"]).await, token(&mesh, Role::Viewer, &["else"]).await);
    let trace = format!("/traces/{:032x}", 1);
    for (path, here) in [("/traces", "our-span"), (&*trace, "our-span")] {
        let (_, told) = ask(&mesh, &shop, "GET", path, "").await;
        assert!(told.to_string().contains(here) && !told.to_string().contains(OTHERS), "{told}");
    }
    assert_eq!(ask(&mesh, &none, "GET", "/traces", "").await.1["items"], json!([]));
    assert_eq!(status(&mesh, &none, "GET", &trace, "").await, 404);
    assert_eq!(ask(&mesh, &mesh.token, "GET", &trace, "").await.1["spans"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_tap_shows_what_proxies_of_the_namespaces_of_the_token_carry() {
    let mesh = Mesh::start().await;
    let (ours, theirs) = (reporter(&mesh, "cart", "shop"), reporter(&mesh, "bank", "default"));
    report(&mesh, &ours, wire::ReportRequest::default());
    report(&mesh, &theirs, wire::ReportRequest::default());
    let shop = token(&mesh, Role::Operator, &["shop"]).await;
    assert_eq!(status(&mesh, &shop, "GET", "/tap?proxy=bank.default", "").await, 404);
    let tapped = |path: &str| {
        // Whatever a proxy was asked for, it may tell of any tap.
        let tapped = wire::Tapped { path: path.into(), taps: (0..8).collect(), ..wire::Tapped::default() };
        wire::ReportRequest { tapped: vec![tapped], ..wire::ReportRequest::default() }
    };
    let reads = read(&mesh, &shop, "/api/v1/tap", "/ours");
    let tells = async {
        loop {
            report(&mesh, &theirs, tapped(OTHERS));
            report(&mesh, &ours, tapped("/ours"));
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::select! {
        told = reads => told,
        () = tells => unreachable!("it goes on for ever"),
    };
    assert!(told.contains("/ours") && !told.contains(OTHERS), "{told}");
}

#[tokio::test]
async fn requests_that_fail_are_an_event_and_a_problem() {
    let mesh = Mesh::start().await;
    let follower = tokio::spawn(crate::follow::follow(mesh.state.clone()));
    let failing = wire::Series {
        side: wire::Side::Source.into(),
        service: Some(wire::Service {
            host: "bank.shop.svc.cluster.local".into(),
            name: "bank".into(),
            namespace: "shop".into(),
        }),
        protocol: wire::Protocol::Http.into(),
        response_code: 503,
        ..wire::Series::default()
    };
    let (shop, others) = (token(&mesh, Role::Viewer, &["shop"]).await, token(&mesh, Role::Viewer, &["else"]).await);
    let start = mesh.state.kept.feed.revision();
    let path = format!("/api/v1/events?topics=problems&since={start}");
    let cart = reporter(&mesh, "cart", "shop");
    let tells = async {
        let mut often = tokio::time::interval(Duration::from_millis(100));
        for total in (500..).step_by(500) {
            often.tick().await;
            let counts = vec![wire::Counts { total, ..wire::Counts::default() }];
            let opened = vec![failing.clone()];
            report(&mesh, &cart, wire::ReportRequest { opened, counts, ..wire::ReportRequest::default() });
        }
    };
    let told = tokio::select! {
        told = read(&mesh, &shop, &path, "problems\n") => told,
        () = tells => unreachable!("it goes on for ever"),
    };
    assert!(told.contains("shop"), "{told}");
    let (_, problems) = ask(&mesh, &shop, "GET", "/problems", "").await;
    assert_eq!(problems["items"][0]["code"], "WFT1601", "{problems}");
    assert_eq!(ask(&mesh, &others, "GET", "/problems", "").await.1["items"], json!([]));
    follower.abort();
}
