//! Which path is served by what.

use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::state::State;
use crate::{auth, console, members, objects, proxies, services, tokens, trouble};

/// The largest text that `_apply` takes.
const MAX_APPLY: usize = 10 << 20;

/// All of the API.
pub fn router(state: State) -> Router {
    let api = Router::new()
        .route("/version", get(version))
        .route("/services", get(services::services))
        .route("/endpoints", get(services::endpoints))
        .route("/registries", get(services::registries))
        .route("/proxies", get(proxies::proxies))
        .route("/problems", get(trouble::problems))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/members", get(members::list))
        .route("/members/{id}", delete(members::evict))
        .route("/_apply", post(objects::apply).layer(DefaultBodyLimit::max(MAX_APPLY)))
        .route("/{kind}", get(objects::list))
        .route("/{kind}/{namespace}/{name}", get(objects::read).delete(objects::delete))
        .layer(middleware::from_fn_with_state(state.clone(), auth::require));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .nest("/api/v1", api)
        .fallback(console::fallback)
        .method_not_allowed_fallback(|| async { Problem::method() })
        .with_state(state)
}

async fn version() -> Json<Value> {
    Json(json!({ "name": "weft", "version": env!("CARGO_PKG_VERSION") }))
}

#[cfg(test)]
mod tests;
