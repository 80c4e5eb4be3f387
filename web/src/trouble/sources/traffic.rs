//! Edges of the graph on which requests fail now. They are looked for every few seconds; who reads the
//! problems in between gets what was found then.

use std::sync::Arc;

use mixer::FailingEdge;
use tokio::sync::watch;

use crate::catalogue as codes;
use crate::state::State;
use crate::trouble::Trouble;

/// What was found last. Its watchers are told only of what is new or over.
#[derive(Default)]
pub(crate) struct Failing(watch::Sender<Arc<Vec<Trouble>>>);

impl Failing {
    pub fn now(&self) -> Arc<Vec<Trouble>> {
        self.0.borrow().clone()
    }

    pub fn changes(&self) -> watch::Receiver<Arc<Vec<Trouble>>> {
        self.0.subscribe()
    }

    /// Looks for them; whether there are any.
    pub fn look(&self, state: &State) -> bool {
        let found = failing(state);
        let any = !found.is_empty();
        self.0.send_if_modified(|known| {
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
    state.mixer.failing(WINDOW_SECONDS).iter().filter_map(of).collect()
}

/// The words tell the share in two steps only, so that a problem that lasts stays the same one.
fn of(edge: &FailingEdge) -> Option<Trouble> {
    let share = edge.error_ratio;
    if share < TOO_MANY || edge.requests_per_second < LEAST_PER_SECOND {
        return None;
    }
    let share = if share >= MOST { "at least half" } else { "more than one in twenty" };
    let (source, destination) = (&edge.source, &edge.destination);
    let message = format!("{share} of the requests from {source} to {destination} fail");
    let mut trouble = Trouble::new(&codes::REQUESTS_FAIL, "traffic", format!("{source} > {destination}"), message);
    if let Some((namespace, _)) = destination.split_once('/').filter(|(namespace, _)| !namespace.contains(':')) {
        trouble.namespace = Some(namespace.to_owned());
        trouble.link = Some(format!("/api/v1/services/{destination}"));
    }
    Some(trouble)
}
