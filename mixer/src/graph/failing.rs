//! Edges on which requests fail or are denied, and what that makes of the services they lead to. They are looked for
//! every few seconds, so the graph is not built for them: an edge without an error costs a look at its counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::nodes::health_of_traffic;
use super::{Sum, Window, discount, read_edge, rounded, window};
use crate::edge::History;
use crate::intake::{EdgeKey, Protocol};
use crate::mixer::{Edge, State};
use crate::names::UNKNOWN;

/// An edge with requests that failed or were denied within the window.
#[derive(Clone, Debug, PartialEq)]
pub struct FailingEdge {
    pub source: String,
    pub destination: String,
    pub requests_per_second: f64,
    /// Of all requests, from 0 to 1.
    pub error_ratio: f64,
    /// Those that policies turned away, of all requests, from 0 to 1.
    pub denied_ratio: f64,
}

/// The edges with failed or denied requests in the last seconds, by name.
pub fn failing(state: &State, seconds: u64, now: u64, stale_ms: u64) -> Vec<FailingEdge> {
    let window = window(state, now, seconds, now, stale_ms);
    let troubled = troubled(state, window);
    let plain = plain_to(state, &destinations(&troubled), window);
    let mut failing: Vec<FailingEdge> = troubled
        .into_iter()
        .filter_map(|(key, edge)| {
            let sum = sum_of(key, edge, window, &plain)?;
            let [error_ratio, denied_ratio] = [sum.error_ratio(), sum.denied_ratio()].map(Option::unwrap_or_default);
            (error_ratio > 0.0 || denied_ratio > 0.0).then(|| FailingEdge {
                source: key.source.to_string(),
                destination: key.destination.to_string(),
                requests_per_second: rounded(sum.requests / window.seconds),
                error_ratio,
                denied_ratio,
            })
        })
        .collect();
    failing.sort_unstable_by(|a, b| (&a.source, &a.destination).cmp(&(&b.source, &b.destination)));
    failing
}

/// What requests say of the health of services, by the id of their node: those that are not healthy by it, as the graph
/// of that time tells it.
pub fn ailing(state: &State, seconds: u64, now: u64, stale_ms: u64) -> BTreeMap<String, &'static str> {
    let window = window(state, now, seconds, now, stale_ms);
    let suspects = destinations(&troubled(state, window));
    let plain = plain_to(state, &suspects, window);
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for (key, edge) in state.edges.iter().filter(|(key, _)| key.protocol != Protocol::Tcp) {
        if suspects.contains(&*key.destination)
            && let Some(sum) = sum_of(key, edge, window, &plain)
        {
            sums.entry(&key.destination).or_default().merge_from(key, &sum);
        }
    }
    let ill = sums.iter().filter_map(|(id, sum)| {
        let health = health_of_traffic(sum.error_ratio().unwrap_or_default(), sum.denied_ratio().unwrap_or_default())?;
        Some(((*id).to_owned(), health))
    });
    ill.collect()
}

fn troubled(state: &State, window: Window) -> Vec<(&Arc<EdgeKey>, &Edge)> {
    let edges = state.edges.iter().filter(|(key, edge)| key.protocol != Protocol::Tcp && is_troubled(edge, window));
    edges.collect()
}

fn destinations<'s>(edges: &[(&'s Arc<EdgeKey>, &Edge)]) -> HashSet<&'s str> {
    edges.iter().map(|(key, _)| &*key.destination).collect()
}

fn sum_of(key: &Arc<EdgeKey>, edge: &Edge, window: Window, plain: &HashMap<&str, f64>) -> Option<Sum> {
    let mut sum = read_edge(key, edge, window)?.sum;
    let sent = plain.get(&*key.destination).copied().unwrap_or_default();
    (&*key.source != UNKNOWN || discount(&mut sum, sent)).then_some(sum)
}

fn is_troubled(edge: &Edge, window: Window) -> bool {
    let fail = |history: &History| {
        let (mut slots, mut points) = super::sum::within(history, window);
        slots.any(|slot| slot.is_troubled(&history.manners))
            || points.any(|point| point.denied > 0.0 || point.errors > 0.0)
    };
    fail(&edge.by_source) || fail(&edge.by_destination)
}

/// What callers' sides sent in plain text to those of these destinations that nobody known called too.
fn plain_to<'s>(state: &'s State, destinations: &HashSet<&str>, window: Window) -> HashMap<&'s str, f64> {
    let called = |key: &EdgeKey| destinations.contains(&*key.destination);
    let anonymous: HashSet<&str> =
        state.edges.keys().filter(|key| &*key.source == UNKNOWN && called(key)).map(|key| &*key.destination).collect();
    let mut plain = HashMap::new();
    for (key, edge) in state.edges.iter().filter(|(key, _)| anonymous.contains(&*key.destination)) {
        if let Some(edge) = read_edge(key, edge, window).filter(|edge| edge.by_source) {
            *plain.entry(&*key.destination).or_default() += edge.sum.plain();
        }
    }
    plain
}
