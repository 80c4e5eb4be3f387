//! An hour of reports, told to the mixer alone.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::weft::v1 as wire;
use mixer::{GraphQuery, Mixer, Options, Reporter, SeriesQuery};
use registry::Catalog;
use runtime::ManualClock;
use tokio::sync::watch;

use crate::fleet::Size;
use crate::measure;

/// One for each slot of the hour: what it keeps is the same with two.
const STEP: Duration = Duration::from_secs(10);
const REPORTS: u64 = 360;

pub fn run(size: Size) {
    let clock = ManualClock::at(SystemTime::now());
    let (_catalog, catalog) = watch::channel(Arc::new(Catalog::default()));
    let before = resident();
    let mixer = Mixer::new(catalog, clock.clock(), Options::default());
    let mut proxies: Vec<(Reporter, HashMap<u32, u64>)> =
        (0..size.proxies()).map(|number| (reporter(size, number, mixer.now()), HashMap::new())).collect();
    let mut spent = Duration::ZERO;
    for round in 0..=REPORTS {
        clock.advance(STEP);
        for (number, (reporter, ids)) in (0..).zip(&mut proxies) {
            let opened = if round == 0 { size.series(number) } else { Vec::new() };
            let report = wire::ReportRequest { opened, counts: size.counts(round + 1), ..Default::default() };
            let start = Instant::now();
            mixer.take(reporter, report, ids);
            // The first report opens the series.
            spent += if round == 0 { Duration::ZERO } else { start.elapsed() };
        }
    }
    let each = spent / (REPORTS as u32 * size.proxies());
    println!("taking a report of {} series: {each:.1?}", 2 * size.calls);
    let (minute, hour) = (query(60), query(3600));
    println!("graph of a minute: {:.1?}", median(|| drop(black_box(mixer.graph(&minute)))));
    println!("graph of an hour: {:.1?}", median(|| drop(black_box(mixer.graph(&hour)))));
    let series = SeriesQuery { window_seconds: 3600, ..SeriesQuery::default() };
    println!("series of the whole mesh, an hour: {:.1?}", median(|| drop(black_box(mixer.series(&series)))));
    let kept = resident().saturating_sub(before);
    println!(
        "memory of an hour: {} MiB, {:.1} KiB an edge",
        kept >> 20,
        kept as f64 / 1024.0 / f64::from(size.edges())
    );
}

fn query(window_seconds: u64) -> GraphQuery {
    GraphQuery { window_seconds, ..GraphQuery::default() }
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
    measure::memory(std::process::id()).0 << 10
}

fn reporter(size: Size, number: u32, started_at: u64) -> Reporter {
    let service = number % size.services;
    Reporter {
        node: format!("sidecar~10.0.0.1~service-{service}-{number}.{}~cluster.local", size.namespace(service)),
        workload: size.workload(service, number / size.services),
        principal: size.principal(service),
        started_at,
        gateway: false,
        metrics: None,
        metrics_path: String::new(),
        member: None,
        version: String::new(),
        os: String::new(),
    }
}
