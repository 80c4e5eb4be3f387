//! Time series of the traffic, as proxies report it.

use axum::Json;
use axum::extract::State as Shared;
use mixer::{SeriesQuery, SeriesView};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Asked;
use crate::graph::seconds;
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(series))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Edges {
    /// Calls of this node, by its id in the graph.
    source: Option<String>,
    /// Calls to this node.
    destination: Option<String>,
    /// The same as `destination`.
    service: Option<String>,
    /// `15m`, `1h`, `24h`: over how much time; fifteen minutes if not said, at most a day.
    window: Option<String>,
}

const WINDOW_SECONDS: u64 = 900;

/// Requests, errors, latencies and bytes over time: an hour in steps of ten seconds, more in steps of five minutes.
#[utoipa::path(get, path = "/series", params(Edges),
    responses((status = 200, description = "The series, summed over the edges", body = SeriesView)))]
async fn series(Shared(state): Shared<State>, Asked(asked): Asked<Edges>) -> Result<Json<SeriesView>, Problem> {
    if asked.service.is_some() && asked.destination.is_some() {
        return Err(Problem::malformed("service and destination are the same; give one of them"));
    }
    let window_seconds = asked.window.as_deref().map_or(Ok(WINDOW_SECONDS), seconds)?;
    let destination = asked.destination.or(asked.service);
    Ok(Json(state.mixer.series(&SeriesQuery { source: asked.source, destination, window_seconds })))
}
