//! Configuration objects: list, read, follow, change. One set of paths for all kinds.

mod apply;
mod denied;
mod effect;
mod freshness;
mod impact;
mod patch;
mod view;
mod write;

use std::hash::{DefaultHasher, Hasher as _};

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use galley::{Author, Kind, Object};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::events;
use crate::extract::{Asked, At};
use crate::feed::News;
use crate::list::{self, List, LiveQuery};
use crate::problem::Problem;
use crate::state::State;
pub use apply::is_dry;
use impact::Impact;
pub use view::{KindName, ObjectView};

/// The largest text that `_apply` takes.
const MAX_APPLY: usize = 10 << 20;

pub fn routes() -> OpenApiRouter<State> {
    let apply = routes!(apply::apply).layer(axum::extract::DefaultBodyLimit::max(MAX_APPLY));
    OpenApiRouter::new()
        .routes(apply)
        .routes(routes!(list, write::create))
        .routes(routes!(read, write::put, write::patch, write::delete))
        .routes(routes!(impact_of))
}

/// Which object is meant.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Named {
    #[param(value_type = KindName)]
    kind: String,
    namespace: String,
    name: String,
}

/// How fresh an object is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Fresh {
    /// A flag: as this control plane has it; `X-Consul-LastContact` says for how many milliseconds nothing was heard of
    /// the store.
    stale: Option<String>,
    /// A flag: as the store has it at this moment; what another control plane wrote is seen for sure.
    consistent: Option<String>,
}

/// The objects of a kind.
#[utoipa::path(get, path = "/{kind}", params(("kind" = KindName, Path), LiveQuery),
    responses((status = 200, description = "A page of objects, or a stream of their changes", content(
        (List<ObjectView> = "application/json"), (String = "text/event-stream")))))]
async fn list(
    Shared(state): Shared<State>,
    At(kind): At<String>,
    Asked(query): Asked<LiveQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = named(&kind)?;
    match query.watch {
        None | Some(0) => {}
        Some(1) => return watch(&state, kind, &query, &headers),
        Some(other) => return Err(Problem::malformed(format!("watch is 1 or absent, not {other}"))),
    }
    let fresh = freshness::wanted(&state, query.stale.as_deref(), query.consistent.as_deref()).await?;
    let query = LiveQuery { watch: None, stale: None, consistent: None, ..query };
    let concerns = |news: &News| news.kind == Some(kind);
    let all = || state.galley.list(Some(kind), None).iter().map(ObjectView::of).collect::<Vec<_>>();
    Ok(fresh.tell(&state, list::live(&state, &query, concerns, all).await?))
}

/// The changes of one kind, each with the whole object.
fn watch(state: &State, kind: Kind, query: &LiveQuery, headers: &HeaderMap) -> Result<Response, Problem> {
    let chooses_more = query.q.is_some()
        || query.labels.is_some()
        || query.filter.is_some()
        || query.sort.is_some()
        || query.fields.is_some();
    if chooses_more
        || query.limit.is_some()
        || query.cursor.is_some()
        || query.index.is_some()
        || query.service.is_some()
        || query.stale.is_some()
        || query.consistent.is_some()
    {
        return Err(Problem::malformed("a stream takes `namespace` and `since` only"));
    }
    let namespaces: Option<Vec<String>> =
        query.namespace.as_ref().map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    let shown = move |news: &News| {
        let object = news.object.as_ref().filter(|_| news.kind == Some(kind))?;
        let namespace = object["namespace"].as_str().unwrap_or_default();
        let wanted = namespaces.as_ref().is_none_or(|names| names.iter().any(|name| name == namespace));
        wanted.then(|| events::event(news.event, news.revision, object))
    };
    Ok(events::watch(&state.kept.feed, query.since, headers, shown)?.into_response())
}

/// One object, as it was written.
#[utoipa::path(get, path = "/{kind}/{namespace}/{name}", params(Named, Fresh),
    responses((status = 200, description = "The object", body = ObjectView, headers(("etag" = String)))))]
async fn read(
    Shared(state): Shared<State>,
    At(named): At<Named>,
    Asked(query): Asked<Fresh>,
) -> Result<Response, Problem> {
    let fresh = freshness::wanted(&state, query.stale.as_deref(), query.consistent.as_deref()).await?;
    let object = find(&state, &named)?;
    let response = ([(header::ETAG, etag(&object))], Json(ObjectView::of(&object))).into_response();
    Ok(fresh.tell(&state, response))
}

/// Whom an object concerns: what would change for the connected proxies if it were not there.
#[utoipa::path(get, path = "/{kind}/{namespace}/{name}/_impact", params(Named),
    responses((status = 200, description = "Which proxies, and how many resources of theirs", body = Impact)))]
async fn impact_of(Shared(state): Shared<State>, At(named): At<Named>) -> Result<Json<Impact>, Problem> {
    let object = find(&state, &named)?;
    let told = impact::of(&state, state.galley.preview_without(&object.key)).await;
    told.map(Json)
        .ok_or_else(|| Problem::unavailable("the control plane starts, and does not know the proxies yet; ask again"))
}

/// Who changes, why, and at which revision the object must be.
pub fn author(caller: &Caller, headers: &HeaderMap, message: Option<&str>, expecting: Option<u64>) -> Author {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let name = text(crate::auth::AUTHOR).unwrap_or(&caller.0).to_owned();
    let message = message.or_else(|| text("x-weft-message")).unwrap_or_default().to_owned();
    Author { name, message, expecting }
}

/// A merge patch says that it is one.
fn patch_types(kind: &str) -> Result<(), Problem> {
    match kind {
        "application/merge-patch+json" | "application/json" => Ok(()),
        other => Err(Problem::media_type(format!("PATCH takes application/merge-patch+json, not {other:?}"))),
    }
}

/// The revision, or what stands for it where the mesh's store does not hold the object: its content.
fn etag(object: &Object) -> HeaderValue {
    let tag = match object.revision {
        0 => {
            let mut hasher = DefaultHasher::new();
            hasher.write(object.manifest.to_string().as_bytes());
            format!("\"f{:016x}\"", hasher.finish())
        }
        revision => format!("\"{revision}\""),
    };
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn find(state: &State, wanted: &Named) -> Result<Object, Problem> {
    let kind = named(&wanted.kind)?;
    state.galley.get(kind, &wanted.namespace, &wanted.name).ok_or_else(|| missing(kind, wanted))
}

fn missing(kind: Kind, named: &Named) -> Problem {
    Problem::not_found(format!("there is no {kind} {:?} in namespace {:?}", named.name, named.namespace))
}

fn named(kind: &str) -> Result<Kind, Problem> {
    let known = || Kind::ALL.map(Kind::plural).join(", ");
    Kind::named(kind).ok_or_else(|| Problem::not_found(format!("there is no kind {kind:?}; there are {}", known())))
}

#[cfg(test)]
mod tests;
