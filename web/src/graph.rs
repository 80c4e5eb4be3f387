//! The graph of services, as proxies report the traffic.

mod drawn;

use std::ops::RangeInclusive;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use mixer::{Graph, GraphQuery, NodeView, Reporter, Reporting};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::namespace_of_proxy;
use crate::auth::Known;
use crate::extract::Asked;
use crate::problem::Problem;
use crate::state::State;

pub use drawn::Drawn;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(graph))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Window {
    /// `60s`, `5m`, `1h`: over how much time; a minute if not said, 10 seconds to an hour.
    window: Option<String>,
    /// The end of that time in Unix milliseconds, within the last hour; now if not said.
    at: Option<u64>,
    /// Only what touches these namespaces, with commas between them.
    namespace: Option<String>,
    /// `version` shows the versions of a service that has several as nodes of their own, beside that of the service;
    /// `service` is the default.
    by: Option<Nodes>,
}

#[derive(Clone, Copy, Deserialize, ToSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Nodes {
    Service,
    Version,
}

/// If it is not said.
pub(crate) const WINDOW_SECONDS: u64 = 60;
const SHORTEST: u64 = 10;
const HOUR: u64 = 3600;

/// Who calls whom, how often and how well: services, workloads and the edges between them, by what proxies report.
#[utoipa::path(get, path = "/graph", params(Window),
    responses((status = 200, description = "The graph", body = Graph)))]
async fn graph(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(asked): Asked<Window>,
) -> Result<Response, Problem> {
    let window_seconds = asked.window.as_deref().map_or(Ok(WINDOW_SECONDS), |text| seconds(text, SHORTEST..=HOUR))?;
    if let Some(at) = asked.at {
        kept(at, state.mixer.now())?;
    }
    let namespaces = asked.namespace.unwrap_or_default();
    let mut namespaces: Vec<String> =
        namespaces.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let own = known.namespaces().to_vec();
    if namespaces.is_empty() {
        namespaces.clone_from(&own);
    }
    let by_version = asked.by == Some(Nodes::Version);
    let query = GraphQuery { window_seconds, at: asked.at, namespaces, by_version };
    let mixer = state.mixer.clone();
    let make = move |query: &GraphQuery, own: &[String]| {
        let mut graph = mixer.graph(query);
        if !own.is_empty() {
            narrow(&mut graph, own, &mixer.reporters());
        }
        graph
    };
    state.kept.graphs.answer((query, own), make).await
}

/// Leaves of what is in other namespaces the names only.
fn narrow(graph: &mut Graph, own: &[String], fresh: &[Reporter]) {
    let is_own = |namespace: &str| own.iter().any(|own| own == namespace);
    for node in graph.nodes.iter_mut().filter(|node| !is_own(&node.namespace)) {
        let NodeView { id, kind, part_of, namespace, name, .. } = std::mem::take(node);
        *node = NodeView { id, kind, part_of, namespace, name, health: "unknown", ..NodeView::default() };
    }
    let Reporting { known, fresh: number, stale } = &mut graph.reporting;
    stale.retain(|node| namespace_of_proxy(node).is_some_and(|namespace| is_own(&namespace)));
    *number = fresh.iter().filter(|reporter| is_own(&reporter.workload.namespace)).count();
    *known = *number + stale.len();
}

/// A moment of which something is kept. Clocks differ by some seconds.
fn kept(at: u64, now: u64) -> Result<(), Problem> {
    let (oldest, newest) = (now.saturating_sub(HOUR * 1000), now + 60_000);
    if (oldest..=newest).contains(&at) {
        return Ok(());
    }
    let rule = format!("it is the end of the window in Unix milliseconds, from {oldest} (an hour ago) to {now} (now)");
    Err(Problem::malformed(format!("at is {at}; {rule}")))
}

/// Reads a length of time within bounds: `90s`, `5m`, `1h`, or seconds.
pub fn seconds(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, Problem> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let size = match &text[unit..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = text[..unit].parse::<u64>().ok().zip(size).and_then(|(number, size)| number.checked_mul(size));
    let wrong = || {
        let [least, most] = [bounds.start(), bounds.end()].map(|seconds| words(*seconds));
        Problem::malformed(format!("window is {text:?}; it is a length of time from {least} to {most}: 90s, 5m, 1h"))
    };
    seconds.filter(|seconds| bounds.contains(seconds)).ok_or_else(wrong)
}

/// `90s`, `5m`, `24h`
fn words(seconds: u64) -> String {
    match seconds {
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// Refuses the id of a node that there is not.
pub fn known_node(state: &State, parameter: &str, id: Option<&str>) -> Result<(), Problem> {
    let Some(id) = id.filter(|id| !state.mixer.knows_node(id)) else { return Ok(()) };
    let rule = "no service, workload or external host has that id in the graph; write a service as NAMESPACE/NAME \
                (/api/v1/graph lists the nodes)";
    Err(Problem::not_found(format!("{parameter} is {id:?}: {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_within_bounds_or_refused_with_them() {
        let of = |text: &str| seconds(text, SHORTEST..=HOUR).map_err(|problem| problem.detail);
        assert_eq!([of("90s"), of("5m"), of("1h"), of("10")], [Ok(90), Ok(300), Ok(3600), Ok(10)]);
        for wrong in ["", "0", "9s", "61m", "2h", "-5m", "5 m", "x", "99999999999999999999h"] {
            let told = of(wrong).unwrap_err();
            assert!(told.contains(&format!("{wrong:?}")) && told.contains("from 10s to 1h"), "{told}");
        }
    }

    #[test]
    fn a_moment_of_which_nothing_is_kept_is_refused() {
        let now = 1_700_000_000_000;
        assert!(kept(now, now).is_ok() && kept(now - 3_600_000, now).is_ok());
        assert!(kept(now - 3_700_000, now).is_err() && kept(now + 120_000, now).is_err());
    }
}
