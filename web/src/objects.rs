//! Configuration objects: list, read, apply, delete. One set of paths for all kinds.

mod apply;
mod view;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use galley::{Kind, Object};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::events;
use crate::extract::{Asked, At};
use crate::feed::News;
use crate::list::{self, List, LiveQuery};
use crate::problem::Problem;
use crate::state::State;
use view::KindName;
pub use view::ObjectView;

/// The largest text that `_apply` takes.
const MAX_APPLY: usize = 10 << 20;

pub fn routes() -> OpenApiRouter<State> {
    let apply = routes!(apply::apply).layer(axum::extract::DefaultBodyLimit::max(MAX_APPLY));
    OpenApiRouter::new().routes(apply).routes(routes!(list)).routes(routes!(read, delete))
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
    let concerns = |news: &News| news.kind == Some(kind);
    let all = || state.galley.list(Some(kind), None).iter().map(ObjectView::of).collect::<Vec<_>>();
    list::live(&state, &LiveQuery { watch: None, ..query.clone() }, concerns, all).await
}

/// The changes of one kind, each with the whole object.
fn watch(state: &State, kind: Kind, query: &LiveQuery, headers: &HeaderMap) -> Result<Response, Problem> {
    let chooses_more = query.q.is_some() || query.labels.is_some() || query.sort.is_some() || query.fields.is_some();
    if chooses_more
        || query.limit.is_some()
        || query.cursor.is_some()
        || query.index.is_some()
        || query.service.is_some()
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
#[utoipa::path(get, path = "/{kind}/{namespace}/{name}", params(Named),
    responses((status = 200, description = "The object", body = ObjectView, headers(("etag" = String)))))]
async fn read(Shared(state): Shared<State>, At(named): At<Named>) -> Result<Response, Problem> {
    let object = find(&state, &named)?;
    Ok(([(header::ETAG, etag(&object))], Json(ObjectView::of(&object))).into_response())
}

#[derive(Serialize, ToSchema)]
struct Deleted {
    deleted: String,
}

/// Deletes an object.
#[utoipa::path(delete, path = "/{kind}/{namespace}/{name}", params(Named),
    responses((status = 200, description = "It is there no more", body = Deleted)))]
async fn delete(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    At(named): At<Named>,
    headers: HeaderMap,
) -> Result<Json<Deleted>, Problem> {
    let object = find(&state, &named)?;
    let expected = headers.get(header::IF_MATCH);
    if expected.is_some_and(|tag| tag != "*" && tag != etag(&object)) {
        return Err(Problem::precondition(format!("{} is at revision {} now", object.key, object.revision)));
    }
    let deleted = state.galley.delete(object.key.kind, &named.namespace, &named.name, caller.0.as_str()).await;
    match deleted.map_err(|rejection| Problem::rejected(&rejection))? {
        true => Ok(Json(Deleted { deleted: object.key.to_string() })),
        false => Err(missing(object.key.kind, &named)),
    }
}

fn etag(object: &Object) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", object.revision)).unwrap_or(HeaderValue::from_static("\"0\""))
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
