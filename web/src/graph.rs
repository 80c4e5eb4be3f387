//! The graph of services, as proxies report the traffic.

mod drawn;

use axum::extract::State as Shared;
use axum::response::Response;
use mixer::{Graph, GraphQuery};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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
    /// `60s`, `5m`, `1h`: over how much time; a minute if not said, at most an hour.
    window: Option<String>,
    /// The end of that time in Unix milliseconds; now if not said.
    at: Option<u64>,
    /// Only what touches these namespaces, with commas between them.
    namespace: Option<String>,
}

const WINDOW_SECONDS: u64 = 60;

/// Who calls whom, how often and how well: services, workloads and the edges between them, by what proxies report.
#[utoipa::path(get, path = "/graph", params(Window),
    responses((status = 200, description = "The graph", body = Graph)))]
async fn graph(Shared(state): Shared<State>, Asked(asked): Asked<Window>) -> Result<Response, Problem> {
    let window_seconds = asked.window.as_deref().map_or(Ok(WINDOW_SECONDS), seconds)?;
    let namespaces = asked.namespace.unwrap_or_default();
    let namespaces = namespaces.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let query = GraphQuery { window_seconds, at: asked.at, namespaces };
    let mixer = state.mixer.clone();
    state.kept.graphs.answer(query, move |query| mixer.graph(query)).await
}

/// Reads a length of time: `90s`, `5m`, `1h`, or seconds.
pub fn seconds(text: &str) -> Result<u64, Problem> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let size = match &text[unit..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = text[..unit].parse::<u64>().ok().zip(size).and_then(|(number, size)| number.checked_mul(size));
    let wrong = || Problem::malformed(format!("window is {text:?}; write 60s, 5m or 1h"));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(wrong)
}
