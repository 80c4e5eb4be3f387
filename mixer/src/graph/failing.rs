//! Edges on which requests fail. They are looked for every few seconds, so the graph is not built for them: an edge
//! without an error costs a look at its counts.

use super::{Window, discount, read_edge, rounded, window};
use crate::edge::History;
use crate::intake::Protocol;
use crate::mixer::{Edge, State};
use crate::names::UNKNOWN;

/// An edge with requests that failed within the window.
#[derive(Clone, Debug, PartialEq)]
pub struct FailingEdge {
    pub source: String,
    pub destination: String,
    pub requests_per_second: f64,
    /// Of all requests, from 0 to 1.
    pub error_ratio: f64,
}

/// The edges with failed requests in the last seconds, by name.
pub fn failing(state: &State, seconds: u64, now: u64, stale_ms: u64) -> Vec<FailingEdge> {
    let window = window(state, now, seconds, now, stale_ms);
    let with_errors =
        state.edges.iter().filter(|(key, edge)| key.protocol != Protocol::Tcp && has_errors(edge, window));
    let mut failing: Vec<FailingEdge> = with_errors
        .filter_map(|(key, edge)| {
            let mut sum = read_edge(key, edge, window)?.sum;
            if &*key.source == UNKNOWN && !discount(&mut sum, plain_to(state, &key.destination, window)) {
                return None;
            }
            Some(FailingEdge {
                source: key.source.to_string(),
                destination: key.destination.to_string(),
                requests_per_second: rounded(sum.requests / window.seconds),
                error_ratio: sum.error_ratio().filter(|ratio| *ratio > 0.0)?,
            })
        })
        .collect();
    failing.sort_unstable_by(|a, b| (&a.source, &a.destination).cmp(&(&b.source, &b.destination)));
    failing
}

fn has_errors(edge: &Edge, window: Window) -> bool {
    let fail = |history: &History| {
        let (mut slots, mut points) = super::sum::within(history, window);
        slots.any(|slot| slot.total(&history.manners).errors > 0.0) || points.any(|point| point.errors > 0.0)
    };
    fail(&edge.by_source) || fail(&edge.by_destination)
}

/// What callers' sides sent to a destination in plain text.
fn plain_to(state: &State, destination: &str, window: Window) -> f64 {
    let to = state.edges.iter().filter(|(key, _)| &*key.destination == destination);
    to.filter_map(|(key, edge)| read_edge(key, edge, window))
        .filter(|edge| edge.by_source)
        .map(|edge| edge.sum.plain())
        .sum()
}
