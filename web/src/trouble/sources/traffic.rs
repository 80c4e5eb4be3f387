//! Edges of the graph on which requests fail or are denied now. They are looked for every few seconds; who reads the
//! problems in between gets what was found then.

use std::collections::BTreeMap;
use std::sync::Arc;

use mixer::FailingEdge;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalogue::{self as codes, Code, Severity};
use crate::graph;
use crate::state::State;
use crate::trouble::Trouble;

/// What was found last. Its watchers are told only of what is new or over.
#[derive(Default)]
pub(crate) struct Failing {
    found: watch::Sender<Arc<Vec<Trouble>>>,
    ailing: Mutex<Arc<BTreeMap<String, &'static str>>>,
}

impl Failing {
    pub fn now(&self) -> Arc<Vec<Trouble>> {
        self.found.borrow().clone()
    }

    /// Services that are not healthy by what becomes of requests to them, by the id of their node in the graph.
    pub fn ailing(&self) -> Arc<BTreeMap<String, &'static str>> {
        self.ailing.lock().clone()
    }

    pub fn changes(&self) -> watch::Receiver<Arc<Vec<Trouble>>> {
        self.found.subscribe()
    }

    /// Looks for them; whether there are any.
    pub fn look(&self, state: &State) -> bool {
        let found = failing(state);
        let ailing = state.mixer.ailing(graph::WINDOW_SECONDS);
        let any = !found.is_empty() || !ailing.is_empty();
        *self.ailing.lock() = Arc::new(ailing);
        self.found.send_if_modified(|known| {
            let changed = !known.iter().map(Trouble::key).eq(found.iter().map(Trouble::key));
            if changed {
                *known = Arc::new(found);
            }
            changed
        });
        any
    }
}

/// So much of the past counts as now.
const WINDOW_SECONDS: u64 = 30;
/// Less is too little to speak of a share that fails.
const LEAST_PER_SECOND: f64 = 0.1;
/// The share from which on an edge is a problem.
const TOO_MANY: f64 = 0.05;
const MOST: f64 = 0.5;

fn failing(state: &State) -> Vec<Trouble> {
    state.mixer.failing(WINDOW_SECONDS).iter().flat_map(of).collect()
}

/// The words tell the share in two steps only, so that a problem that lasts stays the same one.
fn of(edge: &FailingEdge) -> Vec<Trouble> {
    let fails = told(edge, &codes::REQUESTS_FAIL, edge.error_ratio, "fail");
    let denied = told(edge, &codes::REQUESTS_DENIED, edge.denied_ratio, "are denied by policy").map(|mut trouble| {
        // To turn a stranger away is what policies are for; a member of the mesh that gets nowhere does not work.
        if edge.denied_ratio >= MOST && edge.source != "unknown" {
            trouble.severity = Severity::Error.as_str();
        }
        trouble
    });
    fails.into_iter().chain(denied).collect()
}

fn told(edge: &FailingEdge, code: &'static Code, share: f64, what: &str) -> Option<Trouble> {
    if share < TOO_MANY || edge.requests_per_second < LEAST_PER_SECOND {
        return None;
    }
    let share = if share >= MOST { "at least half" } else { "more than one in twenty" };
    let (source, destination) = (&edge.source, &edge.destination);
    let message = format!("{share} of the requests from {source} to {destination} {what}");
    let mut trouble = Trouble::new(code, "traffic", format!("{source} > {destination}"), message);
    if let Some((namespace, _)) = destination.split_once('/').filter(|(namespace, _)| !namespace.contains(':')) {
        trouble.namespace = Some(namespace.to_owned());
        trouble.link = Some(format!("/api/v1/services/{destination}"));
    }
    Some(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(source: &str, error_ratio: f64, denied_ratio: f64) -> FailingEdge {
        let (source, destination) = (source.to_owned(), "default/ratings".to_owned());
        FailingEdge { source, destination, requests_per_second: 4.0, error_ratio, denied_ratio }
    }

    #[test]
    fn requests_that_are_denied_are_a_problem_of_their_own() {
        let told = |edge: FailingEdge| of(&edge).iter().map(|one| (one.code, one.severity)).collect::<Vec<_>>();
        assert_eq!(told(edge("default/reviews", 0.0, 1.0)), [("WFT1603", "error")]);
        assert_eq!(told(edge("default/reviews", 0.0, 0.2)), [("WFT1603", "warning")]);
        assert_eq!(told(edge("unknown", 0.0, 1.0)), [("WFT1603", "warning")]);
        assert_eq!(told(edge("default/reviews", 0.3, 0.01)), [("WFT1601", "error")]);
        let both = of(&edge("default/reviews", 0.3, 0.6));
        assert_eq!(both.len(), 2);
        assert_eq!(
            both[1].message,
            "at least half of the requests from default/reviews to default/ratings are denied by policy"
        );
    }
}
