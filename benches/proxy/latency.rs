//! Latency against load: both proxies at the same rates, up to what Envoy can carry.

use serde::Serialize;

use crate::peers::{Bench, Peer};
use crate::scenario::SCENARIOS;
use crate::{Fallible, Plan, measure};

/// Requests a second, and microseconds.
#[derive(Serialize)]
pub struct Point {
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
}

#[derive(Serialize)]
pub struct Curve {
    pub peer: Peer,
    pub points: Vec<Point>,
}

/// Shares of Envoy's own limit.
const SHARES: [f64; 7] = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9];

pub fn sweep(bench: &Bench, plan: &Plan) -> Fallible<Vec<Curve>> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == "h1").ok_or("no such scenario")?;
    let upstream = bench.upstream(scenario)?;
    let mut curves = Vec::new();
    let mut running = Vec::new();
    for peer in Peer::of(scenario) {
        running.push(bench.start(peer, scenario)?);
        curves.push(Curve { peer, points: Vec::new() });
    }
    let limit = bench.load(scenario, &running[0], plan.time, None)?;
    let limit = limit.requests as f64 / limit.seconds;
    println!("\n| requests/s | p50, p99 Envoy (us) | weft | relay |\n|---|---|---|---|");
    for share in SHARES {
        let rate = limit * share;
        let mut cells = Vec::new();
        for (curve, proxy) in curves.iter_mut().zip(&running) {
            let mut runs = Vec::new();
            for _ in 0..plan.rounds {
                measure::quiet();
                runs.push(bench.load(scenario, proxy, plan.time, Some(rate))?);
            }
            let median = |figure: fn(&crate::load::Figures) -> f64| {
                let mut all: Vec<f64> = runs.iter().map(figure).collect();
                all.sort_by(f64::total_cmp);
                all[all.len() / 2]
            };
            let point = Point { rate, p50: median(|run| run.p50), p99: median(|run| run.p99) };
            cells.push(format!("{:.0}, {:.0}", point.p50, point.p99));
            curve.points.push(point);
        }
        println!("| {rate:.0} | {} |", cells.join(" | "));
    }
    drop((running, upstream));
    Ok(curves)
}
