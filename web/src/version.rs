//! Which program answers.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(version))
}

#[derive(Serialize, ToSchema)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// The program and its version.
#[utoipa::path(get, path = "/version", responses((status = 200, description = "What answers", body = Version)))]
async fn version() -> Json<Version> {
    Json(Version { name: "weft", version: env!("CARGO_PKG_VERSION") })
}
