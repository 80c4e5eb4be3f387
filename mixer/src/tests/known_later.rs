//! Workloads whose services become known only after they told of traffic.

use api::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use api::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use api::prost::Message as _;
use registry::{Address, Endpoint, Health, Platform, TlsMode, Workload};

use super::*;

impl Kit {
    /// A catalog of a service and the workload that serves it.
    fn tell_of_workload(&self, name: &str, workload: &str) {
        let key = ServiceKey::new(api::Hostname::resolve(name, "default", "cluster.local").unwrap(), "default");
        let workload = Workload {
            name: workload.into(),
            hostname: String::new(),
            namespace: "default".into(),
            service_account: name.into(),
            labels: Default::default(),
            locality: Default::default(),
            network: String::new(),
            platform: Platform::Vm,
            cluster: String::new(),
        };
        let endpoint = Endpoint {
            address: Address::Ip([10, 0, 0, 1].into()),
            port: 9080,
            service_port: "http".into(),
            health: Health::Healthy,
            weight: 1,
            tls: TlsMode::Istio,
            workload: Arc::new(workload),
            provenance: Provenance { registry: "test".into(), object: String::new() },
            silent_since: None,
        };
        let mut merger = Merger::new(["test"]);
        merger.apply(0, Event::Service(service(key.clone())));
        merger.apply(0, Event::Endpoints(key, vec![endpoint]));
        self.catalog.send_replace(Arc::new(merger.catalog().clone()));
    }
}

#[test]
fn spans_are_of_the_service_of_their_workload_even_if_it_is_known_later() {
    let kit = Kit::new(Options::default());
    let spans = |trace: u128| {
        let span = Span {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: trace.to_be_bytes()[8..].to_vec(),
            ..Span::default()
        };
        let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let of = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![of] }.encode_to_vec()
    };
    let tell = |workload: &str, trace: u128| {
        let mut proxy = kit.proxy(workload);
        let report = wire::ReportRequest { spans: vec![spans(trace)], ..Default::default() };
        kit.mixer.take(&proxy.reporter, report, &mut proxy.ids);
    };
    let of = |trace: u128| kit.mixer.trace(trace, &[]).unwrap().spans[0].service.clone();
    tell("details-v1", 1);
    tell("curl", 2);
    assert_eq!((&*of(1), &*of(2)), ("workload:default/details-v1", "workload:default/curl"));
    kit.tell_of(&["details"]);
    // Nobody has counted anything yet.
    tell("details-v1", 3);
    assert_eq!((&*of(1), &*of(3), &*of(2)), ("default/details", "default/details", "workload:default/curl"));
    kit.tell_of(&["details", "curl"]);
    tell("details-v1", 4);
    assert_eq!(of(2), "default/curl");
}

#[test]
fn traffic_is_of_the_service_of_a_workload_even_if_it_is_known_later() {
    let kit = Kit::new(Options::default());
    kit.tell_of(&["reviews"]);
    let [mut one, mut other] = ["productpage-v1", "productpage-v2"].map(|name| kit.proxy(name));
    for proxy in [&mut one, &mut other] {
        let opened = vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
        kit.tell(proxy, opened, vec![counts(0, 0)]);
    }
    let mut reviews = kit.proxy("reviews-v1");
    let opened = vec![series(0, wire::Side::Destination, Some("productpage-v1"), "reviews", 200)];
    kit.tell(&mut reviews, opened, vec![counts(0, 0)]);
    kit.pass(10);
    kit.tell(&mut reviews, Vec::new(), vec![counts(0, 30)]);
    kit.tell(&mut one, Vec::new(), vec![counts(0, 30)]);
    kit.tell(&mut other, Vec::new(), vec![counts(0, 10)]);
    let before = edge(&kit.graph(60), REVIEWS).clone();
    assert_eq!(before.requests_per_second, 3.0);
    // One of them has not told of anything since.
    kit.tell_of(&["productpage", "reviews"]);
    kit.tell(&mut one, Vec::new(), vec![counts(0, 30)]);
    let graph = kit.graph(60);
    let [all] = &graph.edges[..] else { panic!("{graph:?}") };
    assert_eq!((&*all.id, all.requests_per_second), ("default/productpage>default/reviews>http", 4.0));
    assert_eq!(all.latency_ms, before.latency_ms);
    assert!(all.principals.source.as_ref().is_some_and(|of| of.contains("/sa/productpage-v")), "{all:?}");
    assert!(kit.mixer.knows_node("default/productpage") && !kit.mixer.knows_node("workload:default/productpage-v1"));
    kit.pass(10);
    kit.tell(&mut other, Vec::new(), vec![counts(0, 20)]);
    assert_eq!(kit.graph(60).edges.len(), 1);
}

#[test]
fn a_tap_reaches_the_proxy_of_a_service_that_is_known_since_a_moment() {
    let kit = Kit::new(Options::default());
    let mut proxy = kit.proxy("details-v1");
    kit.tell(&mut proxy, Vec::new(), Vec::new());
    let query = TapQuery { destination: Some("default/details".into()), ..TapQuery::default() };
    let _tap = kit.mixer.tap(query).unwrap();
    assert_eq!(kit.mixer.wished(&proxy.reporter), []);
    kit.tell_of(&["details"]);
    assert_eq!(kit.mixer.wished(&proxy.reporter).len(), 1);
}

#[tokio::test]
async fn what_was_kept_over_a_restart_is_of_the_service_too() {
    let (kit, store) = (Kit::new(Options::default()), Arc::new(Memory::new()));
    let mut keeper = Keeper::open(store.clone(), kit.mixer.clone(), "one").await.unwrap();
    kit.tell_of(&["reviews"]);
    let mut page = kit.proxy("productpage-v1");
    let opened = vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
    kit.tell(&mut page, opened, vec![counts(0, 0)]);
    kit.pass(10);
    kit.tell(&mut page, Vec::new(), vec![counts(0, 30)]);
    keeper.keep().await.unwrap();

    let again = Kit::new(Options::default());
    again.pass(20);
    let _keeper = Keeper::open(store, again.mixer.clone(), "one").await.unwrap();
    assert_eq!(edge(&again.graph(60), REVIEWS).source, "workload:default/productpage-v1");
    again.tell_of_workload("productpage", "productpage-v1");
    assert_eq!(edge(&again.graph(60), "default/productpage>default/reviews>http").source, "default/productpage");
    assert_eq!(again.graph(60).edges.len(), 1);
}
