//! Configuration objects: list, read, apply, delete.

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use galley::analysis::Found;
use galley::{Applied, Applying, Kind, Object, ObjectKey, Provenance};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::problem::{Finding, Problem};
use crate::state::State;

#[derive(Deserialize)]
pub struct ListQuery {
    namespace: Option<String>,
}

pub async fn list(
    Shared(state): Shared<State>,
    Path(kind): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Problem> {
    let objects = state.galley.list(Some(named(&kind)?), query.namespace.as_deref());
    let revision = objects.iter().map(|object| object.revision).max().unwrap_or(0);
    Ok(Json(json!({ "items": objects.iter().map(item).collect::<Vec<_>>(), "revision": revision })))
}

pub async fn read(
    Shared(state): Shared<State>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let object = find(&state, &kind, &namespace, &name)?;
    let etag = etag(&object);
    Ok(([(header::ETAG, etag)], Json(item(&object))).into_response())
}

pub async fn delete(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let object = find(&state, &kind, &namespace, &name)?;
    let expected = headers.get(header::IF_MATCH);
    if expected.is_some_and(|tag| tag != "*" && tag != etag(&object)) {
        return Err(Problem::precondition(format!("{} is at revision {} now", object.key, object.revision)));
    }
    let deleted = state.galley.delete(object.key.kind, &namespace, &name, caller.0.as_str()).await;
    match deleted.map_err(|rejection| Problem::rejected(&rejection))? {
        true => Ok(Json(json!({ "deleted": object.key.to_string() }))),
        false => Err(missing(object.key.kind, &namespace, &name)),
    }
}

#[derive(Deserialize)]
pub struct ApplyQuery {
    /// What the text is called in messages: a file's name.
    origin: Option<String>,
    #[serde(rename = "dryRun")]
    dry_run: Option<String>,
}

pub async fn apply(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ApplyQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let text = std::str::from_utf8(&body).map_err(|_| Problem::malformed("the body is not UTF-8 text"))?;
    let origin = query.origin.as_deref().unwrap_or("<request>");
    let dry_run = match query.dry_run.as_deref() {
        None => false,
        Some("server") => true,
        Some(other) => return Err(Problem::malformed(format!("dryRun is \"server\" or absent, not {other:?}"))),
    };
    let author = headers.get("weft-author").and_then(|name| name.to_str().ok()).unwrap_or(&caller.0);
    let applied = match dry_run {
        true => state.galley.validate(text, origin).await,
        false => state.galley.apply(text, origin, author).await,
    };
    let applied = applied.map_err(|rejection| Problem::rejected(&rejection))?;
    let known = state.known_hosts();
    let found = match dry_run {
        true => state.galley.analyse_with(text, origin, &known).map_err(|rejection| Problem::rejected(&rejection))?,
        false => state.galley.analyse(&known),
    };
    let items: Vec<Outcome<'_>> = applied.iter().map(|applied| outcome(applied, &found)).collect();
    Ok(Json(json!({ "items": items, "dry_run": dry_run })))
}

/// What `apply` did to one object.
#[derive(Serialize)]
struct Outcome<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    change: &'static str,
    revision: u64,
    warnings: Vec<Finding>,
}

/// With the warnings about the object alone, and those about it among all others.
fn outcome<'a>(applied: &'a Applied, found: &[Found]) -> Outcome<'a> {
    let key = ObjectKey::new(applied.kind, &applied.namespace, &applied.name);
    let across = found.iter().filter(|found| found.object == key).map(|found| &found.diagnostic);
    Outcome {
        kind: applied.kind.as_str(),
        namespace: &applied.namespace,
        name: &applied.name,
        change: match applied.change {
            Applying::Created => "created",
            Applying::Configured => "configured",
            Applying::Unchanged => "unchanged",
        },
        revision: applied.revision,
        warnings: applied.warnings.iter().chain(across).map(Finding::from).collect(),
    }
}

fn item(object: &Object) -> Value {
    let provenance = match &object.provenance {
        Provenance::File(path) => json!({ "file": path }),
        Provenance::Cluster(name) => json!({ "cluster": name }),
        Provenance::Store { author } => json!({ "author": author }),
    };
    json!({
        "kind": object.key.kind.as_str(),
        "namespace": object.key.namespace,
        "name": object.key.name,
        "created": object.created,
        "revision": object.revision,
        "provenance": provenance,
        "object": object.manifest,
    })
}

fn etag(object: &Object) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", object.revision)).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn find(state: &State, kind: &str, namespace: &str, name: &str) -> Result<Object, Problem> {
    let kind = named(kind)?;
    state.galley.get(kind, namespace, name).ok_or_else(|| missing(kind, namespace, name))
}

fn missing(kind: Kind, namespace: &str, name: &str) -> Problem {
    Problem::not_found(format!("there is no {kind} {name:?} in namespace {namespace:?}"))
}

fn named(kind: &str) -> Result<Kind, Problem> {
    let known = || Kind::ALL.map(Kind::plural).join(", ");
    Kind::named(kind).ok_or_else(|| Problem::not_found(format!("there is no kind {kind:?}; there are {}", known())))
}
