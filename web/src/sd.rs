//! Where Prometheus finds all proxies: its HTTP service discovery.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Shared;
use mixer::Reporter;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::State;

/// Where a proxy's metrics are unless it says otherwise.
const USUAL_PATH: &str = "/stats/prometheus";

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(targets))
}

/// Prometheus, `http_sd_config`.
#[derive(Serialize, ToSchema)]
struct Targets {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

/// The metrics of every proxy that reports and is within reach, for Prometheus' HTTP service discovery.
#[utoipa::path(get, path = "/sd",
    responses((status = 200, description = "A group of targets for each proxy", body = Vec<Targets>)))]
async fn targets(Shared(state): Shared<State>) -> Json<Vec<Targets>> {
    Json(state.mixer.reporters().into_iter().filter_map(group).collect())
}

fn group(reporter: Reporter) -> Option<Targets> {
    let workload = reporter.workload;
    let path = if reporter.metrics_path.is_empty() { USUAL_PATH.to_owned() } else { reporter.metrics_path };
    let labels = BTreeMap::from([
        ("__metrics_path__", path),
        ("namespace", workload.namespace),
        ("pod", workload.name),
        ("app", workload.canonical_service),
        ("version", workload.canonical_revision),
        ("proxy", reporter.node),
    ]);
    Some(Targets { targets: vec![reporter.metrics?.to_string()], labels })
}
