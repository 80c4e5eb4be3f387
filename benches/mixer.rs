//! What telemetry costs the control plane: 1,000 proxies that report 5,000 edges between 500 services for an hour. The
//! time of a report, as the share of one core that 1,000 proxies need; the time of the graph; the memory of it all.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::weft::v1 as wire;
use mixer::{GraphQuery, Mixer, Options, Reporter, SeriesQuery};
use registry::Catalog;
use runtime::ManualClock;
use tokio::sync::watch;

const SERVICES: u32 = 500;
const PROXIES: u32 = 1000;
/// Edges of a service; its two proxies each report all of them, and the server's side of as many.
const CALLS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(5);
const REPORTS: u32 = 720;

fn main() {
    let clock = ManualClock::at(SystemTime::now());
    let (_catalog, catalog) = watch::channel(Arc::new(Catalog::default()));
    let before = resident();
    let mixer = Mixer::new(catalog, clock.clock(), Options::default());
    let mut proxies: Vec<(Reporter, HashMap<u32, u64>)> =
        (0..PROXIES).map(|number| (reporter(number, mixer.now()), HashMap::new())).collect();
    let mut spent = Duration::ZERO;
    for round in 0..=REPORTS {
        clock.advance(PAUSE);
        let reports: Vec<_> = (0..PROXIES).map(|number| report(number, round)).collect();
        let start = Instant::now();
        for ((reporter, ids), report) in proxies.iter_mut().zip(reports) {
            mixer.take(reporter, report, ids);
        }
        // The first report opens the series.
        spent += if round == 0 { Duration::ZERO } else { start.elapsed() };
    }
    let share = spent.as_secs_f64() / (REPORTS as f64 * PAUSE.as_secs_f64());
    let each = spent / (REPORTS * PROXIES);
    println!("{PROXIES} proxies, {} series each: {each:.1?} a report, {:.2} % of a core", 2 * CALLS, share * 100.0);
    let query = GraphQuery { window_seconds: 60, ..GraphQuery::default() };
    let graph = mixer.graph(&query);
    let took = median(|| drop(black_box(mixer.graph(&query))));
    println!("graph of {} nodes and {} edges, a minute: {took:.1?}", graph.nodes.len(), graph.edges.len());
    let of_hour = GraphQuery { window_seconds: 3600, ..GraphQuery::default() };
    println!("the same of an hour: {:.1?}", median(|| drop(black_box(mixer.graph(&of_hour)))));
    let series = SeriesQuery { window_seconds: 3600, ..SeriesQuery::default() };
    println!("series of the whole mesh, an hour: {:.1?}", median(|| drop(black_box(mixer.series(&series)))));
    println!("memory of an hour: {} MiB", resident().saturating_sub(before) >> 20);
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[3]
}

/// Of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn workload(service: u32, copy: u32) -> wire::Workload {
    wire::Workload {
        name: format!("service-{service}-{copy}"),
        namespace: "default".into(),
        canonical_service: format!("service-{service}"),
        canonical_revision: format!("v{copy}"),
        cluster: "weft".into(),
    }
}

fn reporter(number: u32, started_at: u64) -> Reporter {
    let (service, copy) = (number % SERVICES, number / SERVICES);
    Reporter {
        node: format!("sidecar~10.0.{}.{}~service-{service}-{copy}.default~default", number / 250, number % 250),
        workload: workload(service, copy),
        principal: format!("spiffe://cluster.local/ns/default/sa/service-{service}"),
        started_at,
        gateway: false,
        metrics: None,
        metrics_path: String::new(),
    }
}

/// What a proxy tells: calls to the next services, and of the ones before.
fn report(number: u32, round: u32) -> wire::ReportRequest {
    let (service, copy) = (number % SERVICES, number / SERVICES);
    let calls = (0..CALLS).map(|call| (call, wire::Side::Source, (service + call + 1) % SERVICES));
    let called =
        (0..CALLS).map(|call| (CALLS + call, wire::Side::Destination, (service + SERVICES - call - 1) % SERVICES));
    let all: Vec<_> = calls.chain(called).collect();
    let series = |&(id, side, peer): &(u32, wire::Side, u32)| {
        let to = if side == wire::Side::Source { peer } else { service };
        wire::Series {
            id,
            side: side.into(),
            peer: Some(workload(peer, copy)),
            peer_principal: format!("spiffe://cluster.local/ns/default/sa/service-{peer}"),
            service: Some(wire::Service {
                host: format!("service-{to}.default.svc.cluster.local"),
                name: format!("service-{to}"),
                namespace: "default".into(),
            }),
            protocol: wire::Protocol::Http.into(),
            response_code: 200,
            mutual_tls: true,
            ..wire::Series::default()
        }
    };
    let total = u64::from(round + 1) * 50;
    let buckets: Vec<u32> = (30..40).collect();
    let counts = |(id, ..): &(u32, wire::Side, u32)| wire::Counts {
        id: *id,
        total,
        received_bytes: total * 100,
        sent_bytes: total * 1000,
        in_buckets: buckets.iter().map(|_| total / 10).collect(),
        buckets: buckets.clone(),
        ..wire::Counts::default()
    };
    wire::ReportRequest {
        opened: if round == 0 { all.iter().map(series).collect() } else { Vec::new() },
        counts: all.iter().map(counts).collect(),
        ..wire::ReportRequest::default()
    }
}
