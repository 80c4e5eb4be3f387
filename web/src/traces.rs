//! The traces that the mesh keeps of its own requests.

use axum::extract::State as Shared;
use axum::{Extension, Json};
use mixer::{TraceQuery, TraceSummary, TraceView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::{Asked, At};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(traces)).routes(routes!(trace))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TracesQuery {
    /// Only those that this node of the graph took part in.
    service: Option<String>,
    /// Only those with an error.
    errors: Option<bool>,
    /// Only those that took at least so many milliseconds.
    min_ms: Option<f64>,
    /// At most so many: 1 to 1000, 100 if not said.
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
struct TraceList {
    items: Vec<TraceSummary>,
}

const LIMIT: usize = 100;

/// The newest traces. Those that failed or were slow are kept for longest. A token for namespaces sees of each what the
/// proxies of these namespaces told.
#[utoipa::path(get, path = "/traces", params(TracesQuery),
    responses((status = 200, description = "The traces, newest first", body = TraceList)))]
async fn traces(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(asked): Asked<TracesQuery>,
) -> Result<Json<TraceList>, Problem> {
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::malformed(format!("limit is {limit}; it is from 1 to 1000")));
    }
    let query = TraceQuery {
        service: asked.service,
        errors: asked.errors.unwrap_or_default(),
        min_ms: asked.min_ms,
        limit,
        namespaces: known.namespaces().to_vec(),
    };
    Ok(Json(TraceList { items: state.mixer.traces(&query) }))
}

/// A trace with the spans of all proxies that it passed and the caller may see.
#[utoipa::path(get, path = "/traces/{trace_id}", params(("trace_id" = String, Path, description = "32 hexadecimal digits")),
    responses((status = 200, description = "The trace", body = TraceView)))]
async fn trace(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(id): At<String>,
) -> Result<Json<TraceView>, Problem> {
    let found = u128::from_str_radix(&id, 16).ok().and_then(|id| state.mixer.trace(id, known.namespaces()));
    found.map(Json).ok_or_else(|| Problem::not_found(format!("there is no trace {id:?}, or it is not kept any more")))
}
