//! Time series of an edge, of a node or of the whole mesh: an hour in steps of ten seconds, a day in steps of five
//! minutes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::{COARSE_SLOTS, History, Point, SLOT_MS, slot_of};
use crate::graph::rounded;
use crate::mixer::{Edge, State};

/// What is asked for: edges from, edges to, or both; all without either.
#[derive(Clone, Debug, Default)]
pub struct SeriesQuery {
    /// Ids of nodes.
    pub source: Option<String>,
    pub destination: Option<String>,
    /// At most a day; more than an hour comes in steps of five minutes.
    pub window_seconds: u64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SeriesView {
    pub step_seconds: u64,
    /// The beginning of the first step, in Unix milliseconds.
    pub start: u64,
    pub series: TrafficSeries,
}

/// Rates a second, and milliseconds; null where nothing was told.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct TrafficSeries {
    pub requests: Vec<Option<f64>>,
    pub errors: Vec<Option<f64>>,
    pub p50: Vec<Option<f64>>,
    pub p95: Vec<Option<f64>>,
    pub p99: Vec<Option<f64>>,
    pub bytes_sent: Vec<Option<f64>>,
    pub bytes_received: Vec<Option<f64>>,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[derive(Clone, Copy, Default)]
struct Step {
    told: bool,
    requests: f64,
    errors: f64,
    sent: f64,
    received: f64,
    quantiles: [f64; 3],
    weight: f64,
}

impl Step {
    fn add(&mut self, point: &Point) {
        self.told = true;
        self.requests += f64::from(point.requests);
        self.errors += f64::from(point.errors);
        self.sent += f64::from(point.received);
        self.received += f64::from(point.sent);
        if point.p50 >= 0.0 && point.requests > 0.0 {
            let weight = f64::from(point.requests);
            self.weight += weight;
            for (sum, quantile) in self.quantiles.iter_mut().zip([point.p50, point.p95, point.p99]) {
                *sum += weight * f64::from(quantile);
            }
        }
    }
}

/// Builds the series. The newest step is the last of which all proxies have told.
pub fn build(state: &State, query: &SeriesQuery, now: u64, pause_ms: u64) -> SeriesView {
    let window = query.window_seconds.clamp(60, DAY);
    let slots = if window <= HOUR { 1 } else { u64::from(COARSE_SLOTS) };
    let step_ms = slots * SLOT_MS;
    let end = u64::from(slot_of(now.saturating_sub(pause_ms))) / slots;
    let first = end.saturating_sub(window * 1000 / step_ms);
    let mut steps = vec![Step::default(); usize::try_from(end - first).unwrap_or_default()];
    let wanted = |id: &str, asked: &Option<String>| asked.as_ref().is_none_or(|asked| asked == id);
    let edges = state
        .edges
        .iter()
        .filter(|(key, _)| wanted(&key.source, &query.source) && wanted(&key.destination, &query.destination));
    for (_, edge) in edges {
        visit(told_of(edge), slots, |point| {
            let step = (u64::from(point.at) / slots).checked_sub(first).and_then(|step| usize::try_from(step).ok());
            if let Some(step) = step.and_then(|step| steps.get_mut(step)) {
                step.add(point);
            }
        });
    }
    let known_from = if state.since == u64::MAX { u64::MAX } else { state.since / step_ms };
    for (place, step) in steps.iter_mut().enumerate() {
        step.told |= first + place as u64 >= known_from;
    }
    SeriesView { step_seconds: step_ms / 1000, start: first * step_ms, series: view(&steps, step_ms as f64 / 1000.0) }
}

/// The caller's side, where it tells anything.
fn told_of(edge: &Edge) -> &History {
    if edge.by_source.is_empty() { &edge.by_destination } else { &edge.by_source }
}

fn visit(history: &History, slots: u64, mut each: impl FnMut(&Point)) {
    if slots == 1 {
        history.fine.iter().for_each(|point| each(&point));
    } else {
        history.coarse.iter().chain(history.newest_coarse()).for_each(|point| each(&point));
    }
    history.live_points().for_each(|point| each(&point));
}

fn view(steps: &[Step], seconds: f64) -> TrafficSeries {
    let rate = |of: fn(&Step) -> f64| steps.iter().map(|step| step.told.then(|| rounded(of(step) / seconds))).collect();
    let quantile = |place: usize| {
        let of = |step: &Step| (step.weight > 0.0).then(|| rounded(step.quantiles[place] / step.weight));
        steps.iter().map(of).collect()
    };
    TrafficSeries {
        requests: rate(|step| step.requests),
        errors: rate(|step| step.errors),
        p50: quantile(0),
        p95: quantile(1),
        p99: quantile(2),
        bytes_sent: rate(|step| step.sent),
        bytes_received: rate(|step| step.received),
    }
}
