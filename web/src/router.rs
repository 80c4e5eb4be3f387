//! Which path is served by what, and what every request passes through on its way.

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;

use crate::problem::Problem;
use crate::state::State;
use crate::{
    access, audit, auth, compression, console, endpoints, etag, events, history, idempotency, identities, limiter,
    members, objects, openapi, overview, proxies, registries, scope, services, session, tokens, trouble, version, why,
    workloads,
};

/// The largest body that is taken; `_apply` takes more.
const MAX_BODY: usize = 1 << 20;

/// All of the API.
pub fn router(state: State) -> Router {
    let (api, _) = api().split_for_parts();
    let api = api
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::keep))
        .layer(middleware::from_fn_with_state(state.clone(), auth::require))
        .layer(middleware::from_fn_with_state(state.clone(), limiter::limit));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(openapi::PATH, get(openapi::json))
        .route("/api/docs", get(openapi::page))
        .route("/api/docs.js", get(openapi::script))
        .merge(api)
        .fallback(console::fallback)
        .method_not_allowed_fallback(|| async { Problem::method() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(etag::answer))
        .layer(middleware::from_fn(compression::compress))
        .layer(middleware::from_fn(scope::enter))
        .with_state(state)
}

/// The operations below `/api/v1`, each with its documentation. One line a resource.
pub(crate) fn api() -> OpenApiRouter<State> {
    let all = OpenApiRouter::new()
        .merge(version::routes())
        .merge(overview::routes())
        .merge(services::routes())
        .merge(workloads::routes())
        .merge(identities::routes())
        .merge(crate::denials::routes())
        .merge(crate::issued::routes())
        .merge(why::routes())
        .merge(crate::authz::routes())
        .merge(endpoints::routes())
        .merge(registries::routes())
        .merge(events::routes())
        .merge(proxies::routes())
        .merge(crate::graph::routes())
        .merge(crate::series::routes())
        .merge(crate::traces::routes())
        .merge(crate::tap::routes())
        .merge(crate::sd::routes())
        .merge(crate::control_plane::routes())
        .merge(crate::log_level::routes())
        .merge(trouble::routes())
        .merge(tokens::routes())
        .merge(members::routes())
        .merge(history::routes())
        .merge(audit::page::routes())
        .merge(access::tokens::routes())
        .merge(access::can::routes())
        .merge(session::routes())
        .merge(crate::wri::routes())
        .merge(objects::routes());
    OpenApiRouter::with_openapi(openapi::outline()).nest("/api/v1", all)
}

#[cfg(test)]
pub(crate) mod tests;
