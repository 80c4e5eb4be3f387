//! What becomes of reports, with a clock that is moved by hand.

mod known_later;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::weft::v1 as wire;
use registry::{Catalog, Event, Location, Merger, Provenance, Resolution, Service, ServiceKey, Visibility};
use runtime::ManualClock;
use tokio::sync::watch;

use crate::graph::EdgeView;
use crate::{FailingEdge, Graph, GraphQuery, Keeper, Mixer, Options, Reporter, SeriesQuery, TapQuery};
use store::{Memory, Store};

/// The beginning of a slot.
const START: Duration = Duration::from_secs(1_700_000_000);

pub(crate) struct Kit {
    clock: ManualClock,
    pub mixer: Mixer,
    catalog: watch::Sender<Arc<Catalog>>,
}

/// A proxy that tells what it counted in all, on one stream after the other.
pub(crate) struct Proxy {
    reporter: Reporter,
    ids: HashMap<u32, u64>,
}

impl Kit {
    pub fn new(options: Options) -> Self {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + START);
        let (keep, catalog) = watch::channel(Arc::default());
        Self { mixer: Mixer::new(catalog, clock.clock(), options), clock, catalog: keep }
    }

    fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    pub fn proxy(&self, workload: &str) -> Proxy {
        let reporter = Reporter {
            node: format!("sidecar~127.0.0.1~{workload}.default~default.svc.cluster.local"),
            workload: workload_of(workload),
            principal: format!("spiffe://cluster.local/ns/default/sa/{workload}"),
            started_at: self.mixer.now(),
            gateway: false,
            metrics: None,
            metrics_path: String::new(),
            member: None,
            version: String::new(),
            os: String::new(),
        };
        Proxy { reporter, ids: HashMap::new() }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A catalog of these services, without endpoints.
    fn tell_of(&self, services: &[&str]) {
        let mut merger = Merger::new(["test"]);
        for name in services {
            let host = api::Hostname::resolve(name, "default", "cluster.local").unwrap();
            merger.apply(0, Event::Service(service(ServiceKey::new(host, "default"))));
        }
        self.catalog.send_replace(Arc::new(merger.catalog().clone()));
    }

    fn graph(&self, window_seconds: u64) -> Graph {
        self.mixer.graph(&GraphQuery { window_seconds, ..GraphQuery::default() })
    }

    pub fn tell(&self, proxy: &mut Proxy, opened: Vec<wire::Series>, counts: Vec<wire::Counts>) {
        let report = wire::ReportRequest { opened, counts, ..Default::default() };
        self.mixer.take(&proxy.reporter, report, &mut proxy.ids);
    }
}

fn service(key: ServiceKey) -> Service {
    Service {
        guesses_port: false,
        key,
        aliases: Vec::new(),
        ports: Vec::new(),
        addresses: Vec::new(),
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: Vec::new(),
        labels: Default::default(),
        created: 0,
        provenance: Provenance { registry: "test".into(), object: String::new() },
    }
}

fn workload_of(name: &str) -> wire::Workload {
    wire::Workload {
        name: name.to_owned(),
        namespace: "default".into(),
        canonical_service: name.split('-').next().unwrap().into(),
        canonical_revision: name.split('-').nth(1).unwrap_or("latest").into(),
        cluster: String::new(),
    }
}

pub(crate) fn series(id: u32, side: wire::Side, peer: Option<&str>, service: &str, code: u32) -> wire::Series {
    wire::Series {
        id,
        side: side.into(),
        peer: peer.map(workload_of),
        peer_principal: String::new(),
        service: Some(wire::Service {
            host: format!("{service}.default.svc.cluster.local"),
            name: service.into(),
            namespace: "default".into(),
        }),
        protocol: wire::Protocol::Http.into(),
        response_code: code,
        grpc_status: None,
        response_flags: String::new(),
        mutual_tls: peer.is_some(),
        unreached: false,
    }
}

fn counts(id: u32, total: u64) -> wire::Counts {
    let bucket = api::latency::bucket(20_000) as u32;
    wire::Counts { id, total, buckets: vec![bucket], in_buckets: vec![total], ..wire::Counts::default() }
}

fn edge<'a>(graph: &'a Graph, id: &str) -> &'a EdgeView {
    graph.edges.iter().find(|edge| edge.id == id).unwrap_or_else(|| panic!("no {id} in {graph:?}"))
}

const REVIEWS: &str = "workload:default/productpage-v1>default/reviews>http";

#[test]
fn rates_errors_latency_and_versions_come_from_what_callers_tell() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    let opened = vec![
        series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200),
        series(1, wire::Side::Source, Some("reviews-v2"), "reviews", 503),
    ];
    kit.pass(5);
    kit.tell(&mut page, opened, vec![counts(0, 30), counts(1, 10)]);
    kit.pass(5);
    kit.tell(&mut page, Vec::new(), vec![counts(0, 60), counts(1, 20)]);
    let graph = kit.graph(60);
    let reviews = edge(&graph, REVIEWS);
    assert_eq!(reviews.requests_per_second, 8.0);
    assert_eq!(reviews.error_ratio, Some(0.25));
    assert_eq!(reviews.mtls_ratio, Some(1.0));
    assert_eq!(reviews.codes.iter().map(|(code, rate)| (*code, *rate)).collect::<Vec<_>>(), [(200, 6.0), (503, 2.0)]);
    assert_eq!(reviews.versions.iter().map(|of| &*of.version).collect::<Vec<_>>(), ["v1", "v2"]);
    let p95 = reviews.latency_ms.p95.unwrap();
    assert!((17.0..24.0).contains(&p95), "{p95} ms");
    let node = graph.nodes.iter().find(|node| node.id == "default/reviews").unwrap();
    assert_eq!((node.requests_per_second, node.health), (8.0, "failing"));
}

#[test]
fn many_proxies_report_more_seldom_and_none_stays_counted() {
    let kit = Kit::new(Options { at_full_pace: 2, ..Options::default() });
    let pause = || kit.mixer.interval().as_secs();
    let mut reporting = vec![kit.mixer.reports(), kit.mixer.reports()];
    assert_eq!(pause(), 5);
    reporting.push(kit.mixer.reports());
    assert_eq!(pause(), 10);
    reporting.extend((0..100).map(|_| kit.mixer.reports()));
    assert_eq!(pause(), 30, "it has a bound");
    drop(reporting);
    assert_eq!(pause(), 5);
}

#[test]
fn the_versions_of_a_service_can_be_nodes_of_their_own() {
    let kit = Kit::new(Options::default());
    kit.tell_of(&["reviews", "ratings"]);
    let (mut page, mut second, mut third) =
        (kit.proxy("productpage-v1"), kit.proxy("reviews-v2"), kit.proxy("reviews-v3"));
    kit.pass(10);
    let aborted = wire::Series { unreached: true, ..series(2, wire::Side::Source, None, "reviews", 503) };
    let opened = vec![
        series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200),
        series(1, wire::Side::Source, Some("reviews-v2"), "reviews", 500),
        aborted,
    ];
    kit.tell(&mut page, opened, vec![counts(0, 60), counts(1, 30), counts(2, 10)]);
    let ratings = || vec![series(0, wire::Side::Source, Some("ratings-v1"), "ratings", 200)];
    kit.tell(&mut second, ratings(), vec![counts(0, 30)]);
    kit.tell(&mut third, ratings(), vec![counts(0, 10)]);
    let graph = kit.mixer.graph(&GraphQuery { window_seconds: 60, by_version: true, ..GraphQuery::default() });
    let seen = |edge: &EdgeView| (edge.id.clone(), edge.requests_per_second, edge.error_ratio);
    for edge in graph.edges.iter().filter(|edge| edge.destination.contains("reviews@")) {
        let [version] = &edge.versions[..] else { panic!("{:?}", edge.versions) };
        assert_eq!(version.requests_per_second, edge.requests_per_second);
        assert_eq!(version.error_ratio, edge.error_ratio);
    }
    let page = "workload:default/productpage-v1";
    assert_eq!(
        graph.edges.iter().map(seen).collect::<Vec<_>>(),
        [
            ("default/reviews@v2>default/ratings>http".into(), 3.0, Some(0.0)),
            ("default/reviews@v3>default/ratings>http".into(), 1.0, Some(0.0)),
            (format!("{page}>default/reviews>http"), 1.0, Some(1.0)),
            (format!("{page}>default/reviews@v1>http"), 6.0, Some(0.0)),
            (format!("{page}>default/reviews@v2>http"), 3.0, Some(1.0)),
        ]
    );
    let nodes: Vec<_> = graph.nodes.iter().map(|node| (&*node.id, node.kind, node.requests_per_second)).collect();
    assert_eq!(
        nodes,
        [
            ("default/ratings", "service", 4.0),
            ("default/reviews", "service", 10.0),
            ("default/reviews@v1", "version", 6.0),
            ("default/reviews@v2", "version", 3.0),
            ("default/reviews@v3", "version", 1.0),
            (page, "workload", 10.0),
        ]
    );
    assert_eq!(graph.nodes[2].part_of.as_deref(), Some("default/reviews"));
    assert_eq!((graph.nodes[2].health, graph.nodes[3].health), ("healthy", "failing"));
}

#[test]
fn a_version_that_denies_its_callers_is_not_healthy_and_the_others_are() {
    let kit = Kit::new(Options::default());
    let (mut page, mut second) = (kit.proxy("productpage-v1"), kit.proxy("reviews-v2"));
    kit.pass(10);
    let opened = vec![
        series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200),
        series(1, wire::Side::Source, Some("reviews-v2"), "reviews", 403),
    ];
    kit.tell(&mut page, opened, vec![counts(0, 60), counts(1, 40)]);
    let opened = vec![series(0, wire::Side::Destination, Some("productpage-v1"), "reviews", 403)];
    kit.tell(&mut second, opened, vec![wire::Counts { denied: 40, ..counts(0, 40) }]);
    let graph = kit.mixer.graph(&GraphQuery { window_seconds: 60, by_version: true, ..GraphQuery::default() });
    let seen: Vec<_> = graph.nodes.iter().map(|node| (&*node.id, node.denied_per_second, node.health)).collect();
    let of = |id: &str| *seen.iter().find(|(known, ..)| *known == id).unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!(of("default/reviews@v1"), ("default/reviews@v1", 0.0, "healthy"));
    assert_eq!(of("default/reviews@v2"), ("default/reviews@v2", 4.0, "failing"));
}

#[test]
fn a_call_that_both_sides_tell_of_counts_once_and_one_without_a_proxy_counts_too() {
    let kit = Kit::new(Options::default());
    let (mut page, mut reviews) = (kit.proxy("productpage-v1"), kit.proxy("reviews-v1"));
    kit.pass(10);
    kit.tell(&mut page, vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)], vec![counts(0, 100)]);
    let opened = vec![
        series(0, wire::Side::Destination, Some("productpage-v1"), "reviews", 200),
        series(1, wire::Side::Destination, None, "reviews", 200),
    ];
    kit.tell(&mut reviews, opened, vec![counts(0, 100), counts(1, 50)]);
    let graph = kit.graph(60);
    assert_eq!(edge(&graph, REVIEWS).requests_per_second, 10.0);
    assert_eq!(edge(&graph, "unknown>default/reviews>http").requests_per_second, 5.0);
    assert_eq!(graph.edges.len(), 2);
}

#[test]
fn edges_with_failed_requests_are_told_apart_until_they_are_old() {
    let kit = Kit::new(Options::default());
    let (mut page, mut reviews) = (kit.proxy("productpage-v1"), kit.proxy("reviews-v1"));
    kit.pass(10);
    let opened = vec![
        series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200),
        series(1, wire::Side::Source, Some("reviews-v1"), "reviews", 503),
        series(2, wire::Side::Source, Some("details-v1"), "details", 200),
    ];
    kit.tell(&mut page, opened, vec![counts(0, 75), counts(1, 25), counts(2, 50)]);
    let opened = vec![
        series(0, wire::Side::Destination, None, "reviews", 200),
        series(1, wire::Side::Destination, None, "reviews", 500),
    ];
    kit.tell(&mut reviews, opened, vec![counts(0, 10), counts(1, 10)]);
    let told = |edge: &FailingEdge| (edge.source.clone(), edge.requests_per_second, edge.error_ratio);
    let page = "workload:default/productpage-v1".to_owned();
    let failing: Vec<_> = kit.mixer.failing(30).iter().map(told).collect();
    assert_eq!(failing, [("unknown".to_owned(), 2.0, 0.5), (page, 10.0, 0.25)]);
    assert_eq!(kit.mixer.ailing(30), [("default/reviews".to_owned(), "failing")].into());
    kit.pass(60);
    assert_eq!(kit.mixer.failing(30), []);
    assert!(kit.mixer.ailing(30).is_empty());
}

#[test]
fn an_edge_whose_requests_are_denied_is_told_and_its_service_is_not_healthy() {
    let kit = Kit::new(Options::default());
    let (mut page, mut reviews) = (kit.proxy("productpage-v1"), kit.proxy("reviews-v1"));
    kit.pass(10);
    kit.tell(&mut page, vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 403)], vec![counts(0, 100)]);
    let opened = vec![series(0, wire::Side::Destination, Some("productpage-v1"), "reviews", 403)];
    kit.tell(&mut reviews, opened, vec![wire::Counts { denied: 20, ..counts(0, 100) }]);
    let told = |kit: &Kit| {
        let edges = kit.mixer.failing(30);
        let node = kit.graph(60).nodes.into_iter().find(|node| node.id == "default/reviews").unwrap();
        assert_eq!(kit.mixer.ailing(60).get("default/reviews"), Some(&node.health));
        (edges[0].error_ratio, edges[0].denied_ratio, node.denied_per_second, node.health)
    };
    assert_eq!(told(&kit), (0.0, 0.2, 2.0, "degraded"));
    kit.tell(&mut reviews, Vec::new(), vec![wire::Counts { denied: 100, ..counts(0, 100) }]);
    assert_eq!(told(&kit), (0.0, 1.0, 10.0, "failing"));
    // Whom nobody knows is turned away rightly.
    let kit = Kit::new(Options::default());
    let mut reviews = kit.proxy("reviews-v1");
    kit.pass(10);
    let opened = vec![series(0, wire::Side::Destination, None, "reviews", 403)];
    kit.tell(&mut reviews, opened, vec![wire::Counts { denied: 100, ..counts(0, 100) }]);
    assert_eq!(kit.mixer.failing(30)[0].denied_ratio, 1.0);
    assert!(kit.mixer.ailing(30).is_empty());
}

#[test]
fn the_share_of_mutual_tls_is_of_what_came_to_the_other_side() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    kit.pass(10);
    let aborted = wire::Series {
        unreached: true,
        mutual_tls: false,
        response_flags: "FI".into(),
        ..series(1, wire::Side::Source, None, "reviews", 503)
    };
    let opened = vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200), aborted];
    kit.tell(&mut page, opened, vec![counts(0, 30), counts(1, 70)]);
    let graph = kit.graph(60);
    let reviews = edge(&graph, REVIEWS);
    assert_eq!((reviews.requests_per_second, reviews.error_ratio, reviews.mtls_ratio), (10.0, Some(0.7), Some(1.0)));
}

#[test]
fn an_edge_that_nothing_came_over_has_no_share_of_mutual_tls() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    kit.pass(10);
    let refused = wire::Series { unreached: true, ..series(0, wire::Side::Source, None, "reviews", 503) };
    kit.tell(&mut page, vec![refused], vec![counts(0, 30)]);
    assert_eq!(edge(&kit.graph(60), REVIEWS).mtls_ratio, None);
}

#[test]
fn who_is_not_known_vanishes_once_nothing_comes_from_there() {
    let kit = Kit::new(Options::default());
    let mut reviews = kit.proxy("reviews-v1");
    kit.pass(10);
    let opened = vec![
        series(0, wire::Side::Destination, None, "reviews", 200),
        series(1, wire::Side::Destination, Some("productpage-v1"), "reviews", 200),
    ];
    kit.tell(&mut reviews, opened, vec![counts(0, 50), counts(1, 50)]);
    let unknown = |graph: &Graph| graph.nodes.iter().any(|node| node.id == "unknown");
    assert!(unknown(&kit.graph(60)));
    for step in 1..=8 {
        kit.pass(10);
        kit.tell(&mut reviews, Vec::new(), vec![counts(0, 50), counts(1, 50 + step * 50)]);
    }
    let graph = kit.graph(60);
    assert!(!unknown(&graph), "{:?}", graph.nodes);
    assert_eq!(graph.edges.iter().map(|edge| &*edge.id).collect::<Vec<_>>(), [REVIEWS]);
}

#[test]
fn when_the_callers_proxy_falls_silent_the_other_side_is_listened_to() {
    let kit = Kit::new(Options::default());
    let (mut page, mut reviews) = (kit.proxy("productpage-v1"), kit.proxy("reviews-v1"));
    let called = wire::Counts { denied: 10, ..counts(0, 100) };
    kit.pass(10);
    kit.tell(&mut page, vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)], vec![counts(0, 100)]);
    let opened = vec![series(0, wire::Side::Destination, Some("productpage-v1"), "reviews", 200)];
    kit.tell(&mut reviews, opened, vec![called.clone()]);
    assert_eq!(edge(&kit.graph(60), REVIEWS).denied_per_second, 1.0);
    for step in 1..=12 {
        kit.pass(10);
        kit.tell(&mut reviews, Vec::new(), vec![wire::Counts { denied: 10, ..counts(0, 100 + step * 100) }]);
    }
    let graph = kit.graph(60);
    let edge = edge(&graph, REVIEWS);
    assert_eq!((edge.requests_per_second, edge.denied_per_second, edge.mtls_ratio), (10.0, 0.0, Some(1.0)));
}

#[test]
fn a_plaintext_call_of_a_proxy_is_not_told_again_as_one_of_nobody() {
    let kit = Kit::new(Options::default());
    let (mut page, mut reviews) = (kit.proxy("productpage-v1"), kit.proxy("reviews-v1"));
    kit.pass(10);
    let plain = wire::Series { mutual_tls: false, ..series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200) };
    kit.tell(&mut page, vec![plain], vec![counts(0, 100)]);
    kit.tell(&mut reviews, vec![series(0, wire::Side::Destination, None, "reviews", 200)], vec![counts(0, 101)]);
    let graph = kit.graph(60);
    assert_eq!(graph.edges.iter().map(|edge| &*edge.id).collect::<Vec<_>>(), [REVIEWS]);
    assert_eq!(graph.edges[0].mtls_ratio, Some(0.0));
}

#[test]
fn a_stream_that_was_cut_for_a_minute_loses_nothing_and_makes_no_peak() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    let opened = || vec![series(7, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
    kit.pass(10);
    kit.tell(&mut page, opened(), vec![counts(7, 100)]);
    kit.pass(60);
    let stale = kit.graph(60);
    assert_eq!((stale.reporting.known, stale.reporting.fresh), (1, 0));
    // A new stream names its series anew, and tells of all that was counted meanwhile.
    page.ids.clear();
    kit.tell(&mut page, opened(), vec![counts(7, 700)]);
    let graph = kit.graph(60);
    assert_eq!((graph.reporting.known, graph.reporting.fresh), (1, 1));
    assert_eq!(edge(&graph, REVIEWS).requests_per_second, 10.0);
    let whole = edge(&kit.graph(3600), REVIEWS).requests_per_second;
    assert_eq!(whole, 10.0, "700 requests in 70 seconds");
}

#[test]
fn reports_that_waited_for_a_stalled_control_plane_are_of_the_time_that_they_waited() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    let opened = vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
    kit.pass(5);
    kit.tell(&mut page, opened, vec![counts(0, 50)]);
    let mut told = 50;
    let mut tell = |kit: &Kit| {
        told += 50;
        kit.tell(&mut page, Vec::new(), vec![counts(0, told)]);
    };
    (0..3).for_each(|_| {
        kit.pass(5);
        tell(&kit);
    });
    // It stands still for 65 s, and then reads at once what was written meanwhile.
    kit.pass(65);
    (0..13).for_each(|_| tell(&kit));
    (0..3).for_each(|_| {
        kit.pass(5);
        tell(&kit);
    });
    let query = SeriesQuery { window_seconds: 600, ..SeriesQuery::default() };
    let series = kit.mixer.series(&query);
    let rates: Vec<f64> = series.series.requests.iter().flatten().copied().filter(|rate| *rate > 0.0).collect();
    assert!(rates.len() >= 9 && rates.iter().all(|rate| (4.9..10.1).contains(rate)), "{rates:?}");
    assert!(rates[1..rates.len() - 1].iter().all(|rate| (9.9..10.1).contains(rate)), "{rates:?}");
}

#[test]
fn a_proxy_that_starts_anew_counts_from_nothing() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    let opened = || vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
    kit.pass(10);
    kit.tell(&mut page, opened(), vec![counts(0, 100)]);
    let mut again = kit.proxy("productpage-v1");
    kit.pass(10);
    kit.tell(&mut again, opened(), vec![counts(0, 60)]);
    assert_eq!(edge(&kit.graph(60), REVIEWS).requests_per_second, 8.0);
}

#[test]
fn edges_that_were_silent_for_longest_make_room() {
    let kit = Kit::new(Options { max_edges: 10, ..Options::default() });
    let mut page = kit.proxy("productpage-v1");
    for id in 0..25 {
        kit.pass(10);
        let opened = vec![series(id, wire::Side::Source, Some("a-v1"), &format!("s{id:02}"), 200)];
        kit.tell(&mut page, opened, vec![counts(id, 100)]);
    }
    let graph = kit.graph(3600);
    assert_eq!(graph.edges.len(), 10);
    let newest = graph.edges.iter().all(|edge| edge.destination.as_str() >= "default/s15");
    assert!(newest, "{:?}", graph.edges.iter().map(|edge| &edge.destination).collect::<Vec<_>>());
}

#[test]
fn a_series_shows_what_happened_when() {
    let kit = Kit::new(Options::default());
    let mut page = kit.proxy("productpage-v1");
    let opened = vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 503)];
    kit.pass(10);
    kit.tell(&mut page, opened, vec![counts(0, 100)]);
    for total in 1..120 {
        kit.pass(10);
        kit.tell(&mut page, Vec::new(), vec![counts(0, 100 + total * 20)]);
    }
    kit.pass(5);
    let query = SeriesQuery { destination: Some("default/reviews".into()), window_seconds: 1800, ..Default::default() };
    let view = kit.mixer.series(&query);
    assert_eq!((view.step_seconds, view.series.requests.len()), (10, 180));
    // Nothing is known of the time before the first report, and of the step that is not over.
    assert_eq!(view.series.requests[0], None);
    assert_eq!(view.series.requests[60..63], [Some(10.0), Some(2.0), Some(2.0)]);
    assert_eq!(view.series.errors[179], Some(2.0));
    assert!((17.0..24.0).contains(&view.series.p95[100].unwrap()));
    let of_day = kit.mixer.series(&SeriesQuery { window_seconds: 7200, ..SeriesQuery::default() });
    let told: Vec<f64> = of_day.series.requests.iter().flatten().copied().collect();
    assert_eq!((of_day.step_seconds, told.len()), (300, 4));
    assert_eq!(told[1..3], [2.0, 2.0]);
}

#[tokio::test]
async fn a_restart_keeps_the_last_hour_and_what_was_counted_meanwhile() {
    let mut kit = Kit::new(Options::default());
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut keeper = Keeper::open(store.clone(), kit.mixer.clone(), "a").await.unwrap();
    let mut page = kit.proxy("productpage-v1");
    let opened = || vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
    kit.tell(&mut page, opened(), Vec::new());
    for step in 1..=60 {
        kit.pass(10);
        kit.tell(&mut page, Vec::new(), vec![counts(0, step * 20)]);
        if step % 6 == 0 {
            keeper.keep().await.unwrap();
        }
    }
    let query = SeriesQuery { window_seconds: 1200, ..SeriesQuery::default() };
    let before = kit.mixer.series(&query);

    // The control plane starts anew, and is away for half a minute, in which another 60 requests pass.
    kit.mixer = Mixer::new(kit.catalog(), kit.clock.clock(), Options::default());
    let _keeper = Keeper::open(store, kit.mixer.clone(), "a").await.unwrap();
    assert_eq!(kit.mixer.series(&query).series.requests, before.series.requests);
    kit.pass(30);
    page.ids.clear();
    kit.tell(&mut page, opened(), vec![counts(0, 1260)]);
    kit.pass(10);
    let after = kit.mixer.series(&query);
    assert_eq!(after.series.requests[115..119], [Some(2.0); 4]);
    let total: f64 = after.series.requests.iter().flatten().sum::<f64>() * 10.0;
    assert_eq!(total, 1260.0);
}
