//! What the proxy costs, beside Envoy with the same file and a byte relay that does nothing: CPU per request or per
//! GiB, throughput, latency, memory. One core has the proxy, the other the load and the upstream; peers take turns
//! within each round, so that a noisy moment hits all of them. Figures are ratios of one run; see docs/performance.md.
//!
//! `cargo bench --bench proxy -- [--rounds N] [--seconds S] [SCENARIO ...]`

mod bootstrap;
mod certificates;
mod histogram;
mod latency;
mod load;
mod measure;
mod memory;
mod peers;
mod plot;
mod relay;
mod report;
mod scenario;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use peers::{Bench, Peer};
use scenario::{SCENARIOS, Scenario};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// How often, how long, and what.
struct Plan {
    rounds: usize,
    time: Duration,
    only: Vec<String>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("upstream") => upstream::run(&arguments[1..]),
        Some("relay") => relay::run(&arguments[1..]),
        Some("load") => load::run(&arguments[1..]),
        _ => bench(plan(arguments)?),
    }
}

fn plan(arguments: Vec<String>) -> Fallible<Plan> {
    let mut plan = Plan { rounds: 5, time: Duration::from_secs(2), only: Vec::new() };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => plan.rounds = value()?.parse()?,
            "--seconds" => plan.time = Duration::from_secs_f64(value()?.parse()?),
            name => plan.only.push(name.to_owned()),
        }
    }
    let known = |name: &String| {
        SCENARIOS.iter().any(|known| known.name == name) || ["latency", "memory"].contains(&name.as_str())
    };
    if let Some(unknown) = plan.only.iter().find(|name| !known(name)) {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).chain(["latency", "memory"]).collect();
        return Err(format!("{unknown} is no scenario; there are {}", names.join(", ")).into());
    }
    Ok(plan)
}

fn bench(plan: Plan) -> Fallible<()> {
    let bench = Bench::new()?;
    let results = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
    std::fs::create_dir_all(&results)?;
    let mut rows = Vec::new();
    report::heading();
    for scenario in SCENARIOS.iter().filter(|scenario| plan.wants(scenario.name)) {
        let row = measured(&bench, scenario, &plan)?;
        report::line(&row);
        rows.push(row);
    }
    if plan.wants("latency") {
        let curves = latency::sweep(&bench, &plan)?;
        std::fs::write(results.join("latency.svg"), plot::svg(&curves))?;
        std::fs::write(results.join("latency.json"), serde_json::to_vec_pretty(&curves)?)?;
    }
    if plan.wants("memory") {
        let memory = memory::measure(&bench)?;
        report::memory(&memory);
        std::fs::write(results.join("memory.json"), serde_json::to_vec_pretty(&memory)?)?;
    }
    std::fs::write(results.join("runs.json"), serde_json::to_vec_pretty(&rows)?)?;
    println!("\nraw runs and the plot are in {}", results.display());
    Ok(())
}

/// All rounds of one scenario.
fn measured(bench: &Bench, scenario: &'static Scenario, plan: &Plan) -> Fallible<report::Row> {
    let upstream = bench.upstream(scenario)?;
    let mut running = Vec::new();
    for peer in Peer::of(scenario) {
        running.push((peer, bench.start(peer, scenario)?));
    }
    let mut row = report::Row::new(scenario);
    for _ in 0..plan.rounds {
        for (peer, proxy) in &running {
            measure::quiet();
            row.add(*peer, bench.load(scenario, proxy, plan.time, None)?);
        }
    }
    drop((running, upstream));
    Ok(row)
}
