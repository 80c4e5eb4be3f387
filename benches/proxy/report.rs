//! Tables of ratios.

use serde::Serialize;

use crate::load::Figures;
use crate::memory::Memory;
use crate::peers::Peer;
use crate::scenario::{Scenario, Unit};

/// The runs of one scenario.
#[derive(Serialize)]
pub struct Row {
    pub scenario: &'static str,
    #[serde(skip)]
    about: &'static Scenario,
    pub runs: Vec<(Peer, Figures)>,
}

impl Row {
    pub fn new(about: &'static Scenario) -> Self {
        Self { scenario: about.name, about, runs: Vec::new() }
    }

    pub fn add(&mut self, peer: Peer, figures: Figures) {
        self.runs.push((peer, figures));
    }

    /// Smallest, median and largest of a figure.
    fn spread(&self, peer: Peer, figure: impl Fn(&Figures) -> f64) -> Option<[f64; 3]> {
        let mut all: Vec<f64> = self.runs.iter().filter(|run| run.0 == peer).map(|run| figure(&run.1)).collect();
        all.sort_by(f64::total_cmp);
        Some([*all.first()?, *all.get(all.len() / 2)?, *all.last()?])
    }

    fn cost(&self, peer: Peer) -> Option<[f64; 3]> {
        self.spread(peer, |figures| figures.cost(self.about.unit))
    }
}

pub fn heading() {
    println!("CPU microseconds per request (bulk: CPU seconds per GiB), median [least-most] of the rounds\n");
    println!("| scenario | weft | Envoy | relay | weft / Envoy | goal | weft / relay | p99 weft / Envoy |");
    println!("|---|---|---|---|---|---|---|---|");
}

pub fn line(row: &Row) {
    let cell = |spread: Option<[f64; 3]>| match spread {
        None => "-".to_owned(),
        Some([least, middle, most]) if row.about.unit == Unit::Request => {
            format!("{middle:.1} [{least:.1}-{most:.1}]")
        }
        Some([least, middle, most]) => format!("{middle:.3} [{least:.3}-{most:.3}]"),
    };
    let (weft, envoy, relay) = (row.cost(Peer::Weft), row.cost(Peer::Envoy), row.cost(Peer::Relay));
    let ratio = |a: Option<[f64; 3]>, b: Option<[f64; 3]>| match (a, b) {
        (Some(a), Some(b)) if b[1] > 0.0 => format!("{:.2}", a[1] / b[1]),
        _ => "-".to_owned(),
    };
    let p99 = |peer| row.spread(peer, |figures| figures.p99);
    println!(
        "| {} | {} | {} | {} | **{}** | {:.2} | {} | {} |",
        row.about.title,
        cell(weft),
        cell(envoy),
        cell(relay),
        ratio(weft, envoy),
        row.about.goal,
        ratio(weft, relay),
        ratio(p99(Peer::Weft), p99(Peer::Envoy)),
    );
    let errors: u64 = row.runs.iter().map(|run| run.1.errors).sum();
    if errors > 0 {
        println!("\n{errors} requests of this scenario failed\n");
    }
}

pub fn memory(rows: &[Memory]) {
    println!("\n| memory | weft | Envoy | weft / Envoy |");
    println!("|---|---|---|---|");
    for row in rows {
        let (weft, envoy) = (row.weft, row.envoy);
        println!("| {} ({}) | {weft:.1} | {envoy:.1} | {:.2} |", row.what, row.unit, weft / envoy);
    }
}
