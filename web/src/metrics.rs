//! The control plane's own metrics in Prometheus' text form.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::state::State;

pub fn router(state: State) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(state)
}

async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    let mut text = String::new();
    state.discovery.metrics().write_prometheus(&mut text);
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(text, "# TYPE istio_build gauge\nistio_build{{component=\"pilot\",tag=\"{version}\"}} 1");
    let catalog = state.catalog();
    let _ = writeln!(text, "# TYPE weft_registry_services gauge\n# TYPE weft_registry_endpoints gauge");
    for registry in &catalog.registries {
        let _ = writeln!(text, "weft_registry_services{{registry=\"{}\"}} {}", registry.name, registry.services);
        let _ = writeln!(text, "weft_registry_endpoints{{registry=\"{}\"}} {}", registry.name, registry.endpoints);
    }
    let problems = state.galley.problems().len();
    let _ = writeln!(text, "# TYPE weft_galley_problems gauge\nweft_galley_problems {problems}");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
