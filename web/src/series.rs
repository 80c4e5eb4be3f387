//! Time series of the traffic, as proxies report it.

use axum::extract::State as Shared;
use axum::{Extension, Json};
use mixer::{SeriesQuery, SeriesView};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::Asked;
use crate::graph::{known_node, seconds};
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
    /// `15m`, `1h`, `24h`: over how much time; fifteen minutes if not said, a minute to a day.
    window: Option<String>,
}

const WINDOW_SECONDS: u64 = 900;

/// Requests, errors, latencies and bytes over time: an hour in steps of ten seconds, more in steps of five minutes.
#[utoipa::path(get, path = "/series", params(Edges),
    responses((status = 200, description = "The series, summed over the edges", body = SeriesView)))]
async fn series(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(asked): Asked<Edges>,
) -> Result<Json<SeriesView>, Problem> {
    if asked.service.is_some() && asked.destination.is_some() {
        return Err(Problem::malformed("service and destination are the same; give one of them"));
    }
    let window_seconds = asked.window.as_deref().map_or(Ok(WINDOW_SECONDS), |text| seconds(text, 60..=86_400))?;
    for (parameter, id) in [("source", &asked.source), ("destination", &asked.destination), ("service", &asked.service)]
    {
        known_node(&state, parameter, id.as_deref())?;
    }
    let destination = asked.destination.or(asked.service);
    if ![&asked.source, &destination].into_iter().flatten().any(|id| known.sees(mixer::namespace(id))) {
        let own = known.namespaces().join(", ");
        let rule = "give the source or the destination, NAMESPACE/NAME, of one of them";
        if !own.is_empty() {
            return Err(Problem::forbidden(format!("the token is for the namespaces {own}; {rule}")));
        }
    }
    Ok(Json(state.mixer.series(&SeriesQuery { source: asked.source, destination, window_seconds })))
}
