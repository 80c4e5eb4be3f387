//! The revisions of configuration, and the way back to one of them.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use citadel::Verb;
use galley::analysis::Found;
use galley::history::{Changed, Revision};
use galley::{Diagnostic, Kind, NoWayBack, ObjectKey};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Caller, Known, Noted, diff_of};
use crate::extract::{Asked, At, Body};
use crate::objects::{KindName, author, is_dry};
use crate::problem::{Finding, Problem};
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    let reads = OpenApiRouter::new().routes(routes!(list)).routes(routes!(read)).routes(routes!(between));
    reads.routes(routes!(of_object)).routes(routes!(roll_back))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Question {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    author: Option<String>,
    /// 1 to 1000.
    limit: Option<usize>,
    /// Revisions before this one, for the next page.
    before: Option<u64>,
}

/// The revisions of configuration, the newest first.
#[utoipa::path(get, path = "/history", params(Question),
    responses((status = 200, description = "Revisions, and in `next` the `before` of the next page", body = Value)))]
async fn list(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(question): Asked<Question>,
) -> Result<Json<Value>, Problem> {
    revisions(&state, &known, question)
}

/// Which of the revisions of an object.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// 1 to 1000.
    limit: Option<usize>,
    /// Revisions before this one, for the next page.
    before: Option<u64>,
}

/// The revisions of one object, the newest first; one that was deleted still has them.
#[utoipa::path(get, path = "/{kind}/{namespace}/{name}/_history", params(("kind" = KindName, Path),
        ("namespace" = String, Path), ("name" = String, Path), Page),
    responses((status = 200, description = "Revisions, and in `next` the `before` of the next page", body = Value)))]
async fn of_object(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At((kind, namespace, name)): At<(String, String, String)>,
    Asked(Page { limit, before }): Asked<Page>,
) -> Result<Json<Value>, Problem> {
    let (kind, namespace, name) = (Some(kind), Some(namespace), Some(name));
    revisions(&state, &known, Question { kind, namespace, name, author: None, limit, before })
}

fn revisions(state: &State, known: &Known, question: Question) -> Result<Json<Value>, Problem> {
    let kind = question.kind.as_deref().map(kind).transpose()?;
    let limit = question.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::malformed(format!("limit is {limit}; it is from 1 to 1000")));
    }
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let wanted = |key: &ObjectKey| {
        kind.is_none_or(|kind| kind == key.kind)
            && is(&question.namespace, &key.namespace)
            && is(&question.name, &key.name)
            && known.may(Verb::Read, key)
    };
    let revisions = state.galley.history(wanted).into_iter().filter(|revision| {
        question.before.is_none_or(|before| revision.revision < before) && is(&question.author, &revision.author)
    });
    let items: Vec<Revision> = revisions.take(limit).collect();
    let next = items.last().filter(|_| items.len() == limit).map(|revision| revision.revision);
    let items: Vec<Value> = items.iter().map(|revision| summary(revision, known)).collect();
    Ok(Json(json!({ "items": items, "next": next })))
}

/// A revision, with what it changed each object from and to.
#[utoipa::path(get, path = "/history/{revision}", params(("revision" = u64, Path)),
    responses((status = 200, description = "The revision", body = Value)))]
async fn read(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At(revision): At<u64>,
) -> Result<Json<Value>, Problem> {
    let found = state.galley.revision(revision).await.map_err(Problem::internal)?;
    let missing =
        || Problem::not_found(format!("revision {revision} is not kept; `weft history` lists those that are"));
    let (revision, changes) = found.ok_or_else(missing)?;
    let changes: Vec<Changed> = changes.into_iter().filter(|changed| known.may(Verb::Read, &changed.key)).collect();
    if changes.is_empty() {
        return Err(Problem::forbidden("the token may read none of the objects that this revision changed"));
    }
    let mut answer = summary(&revision, &known);
    answer["changes"] = changes.iter().map(whole).collect();
    answer["diff"] = json!(diff(&changes));
    Ok(Json(answer))
}

/// From one revision to another: what the later ones did together.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Between {
    from: u64,
    /// Without it: to what is in force.
    to: Option<u64>,
}

/// What lies between two revisions, or between one and what is in force.
#[utoipa::path(get, path = "/history/_diff", params(Between),
    responses((status = 200, description = "Each object that differs", body = Value)))]
async fn between(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Asked(Between { from, to }): Asked<Between>,
) -> Result<Json<Value>, Problem> {
    let may = |key: &ObjectKey| known.may(Verb::Read, key);
    // Each way back leads from what is there now; where both were is what lies between them.
    let back_to = |revision: u64| state.galley.way_back(revision, may);
    let old = back_to(from).await.map_err(problem)?;
    let new = match to {
        Some(to) => back_to(to).await.map_err(problem)?,
        None => Vec::new(),
    };
    let mut changes: Vec<Changed> = Vec::new();
    for changed in &old {
        let after = new.iter().find(|other| other.key == changed.key).map_or(&changed.before, |other| &other.after);
        changes.push(Changed { key: changed.key.clone(), before: changed.after.clone(), after: after.clone() });
    }
    for other in new.iter().filter(|other| !old.iter().any(|changed| changed.key == other.key)) {
        changes.push(Changed { key: other.key.clone(), before: other.before.clone(), after: other.after.clone() });
    }
    changes.retain(|changed| changed.before != changed.after);
    let items: Vec<Value> = changes.iter().map(whole).collect();
    Ok(Json(json!({ "from": from, "to": to, "changes": items, "diff": diff(&changes) })))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rollback)]
struct Order {
    revision: u64,
    /// One object alone; without it all that was changed since.
    object: Option<Named>,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RollbackObject)]
struct Named {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RollbackQuery {
    #[serde(rename = "dryRun")]
    dry_run: Option<String>,
}

/// Puts configuration back to what it was right after a revision, as a revision of its own.
#[utoipa::path(post, path = "/_rollback", params(RollbackQuery), request_body = Order,
    responses((status = 200, description = "What was changed", body = Value)))]
async fn roll_back(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<RollbackQuery>,
    headers: HeaderMap,
    Body(order): Body<Order>,
) -> Result<(Extension<Noted>, Json<Value>), Problem> {
    let object = order.object.as_ref().map(Named::key).transpose()?;
    let wanted = |key: &ObjectKey| object.as_ref().is_none_or(|object| object == key);
    let planned = state.galley.way_back(order.revision, wanted).await.map_err(problem)?;
    for changed in &planned {
        known.check(if changed.after.is_some() { Verb::Write } else { Verb::Delete }, &changed.key)?;
    }
    let dry_run = is_dry(query.dry_run.as_deref())?;
    let seen = planned.iter().filter_map(|changed| {
        let key = &changed.key;
        state.galley.get(key.kind, &key.namespace, &key.name).map(|object| object.revision)
    });
    let revision_before = seen.max();
    let (before, after) = (state.galley.analyse(&state.known_services()), text_of(&planned));
    let gone = planned.iter().filter(|changed| changed.after.is_none()).map(|changed| changed.key.clone()).collect();
    let message = match order.message.is_empty() {
        true => format!("rollback to revision {}", order.revision),
        false => order.message.clone(),
    };
    let (revision, changes) = match dry_run {
        true => (0, planned),
        false => {
            let author = author(&caller, &headers, Some(&message), None);
            // What was checked is what is changed, and nothing else.
            let keys: Vec<ObjectKey> = planned.into_iter().map(|changed| changed.key).collect();
            let done = state.galley.roll_back(order.revision, |key| keys.contains(key), author).await;
            done.map_err(problem)?
        }
    };
    let noted = Noted {
        object: changes.iter().map(|changed| changed.key.to_string()).collect::<Vec<_>>().join(", "),
        detail: format!("rollback to revision {}", order.revision),
        revision_before,
        revision_after: (revision > 0).then_some(revision),
        diff: if dry_run { String::new() } else { diff_of(changes.iter().map(parts)) },
    };
    let items: Vec<Value> = changes.iter().map(whole).collect();
    let found = state.galley.analyse_after(&after, &gone, "the revision", &state.known_services()).unwrap_or_default();
    let of_this = |found: &Found| changes.iter().any(|changed| changed.key == found.object) || !before.contains(found);
    let told = found.iter().filter(|found| of_this(found) && known.may(Verb::Read, &found.object));
    let warnings: Vec<Finding> = told.map(|found| Finding::from(&without_place(&found.diagnostic))).collect();
    let answer = json!({
        "revision": revision,
        "changes": items,
        "diff": diff(&changes),
        "dry_run": dry_run,
        "warnings": warnings,
    });
    Ok((Extension(noted), Json(answer)))
}

/// What a rollback writes, as one text.
fn text_of(changes: &[Changed]) -> String {
    changes.iter().filter_map(|changed| changed.after.as_ref()).map(|after| format!("---\n{after}\n")).collect()
}

/// The text is of nobody's file.
fn without_place(found: &Diagnostic) -> Diagnostic {
    Diagnostic { line: 0, column: 0, ..found.clone() }
}

impl Named {
    fn key(&self) -> Result<ObjectKey, Problem> {
        Ok(ObjectKey::new(kind(&self.kind)?, &self.namespace, &self.name))
    }
}

fn kind(word: &str) -> Result<Kind, Problem> {
    let known = || Kind::ALL.map(Kind::plural).join(", ");
    Kind::named(word).ok_or_else(|| Problem::malformed(format!("there is no kind {word:?}; there are {}", known())))
}

/// What of a revision its reader may know.
fn summary(revision: &Revision, known: &Known) -> Value {
    let changes = revision.changes.iter().filter(|(key, _)| known.may(Verb::Read, key));
    let changes: Vec<Value> = changes.map(|(key, change)| named(key, change.as_str())).collect();
    json!({
        "revision": revision.revision,
        "at": revision.at,
        "author": revision.author,
        "message": revision.message,
        "changes": changes,
    })
}

fn named(key: &ObjectKey, change: &str) -> Value {
    json!({ "kind": key.kind.as_str(), "namespace": key.namespace, "name": key.name, "change": change })
}

fn whole(changed: &Changed) -> Value {
    let mut value = named(&changed.key, changed.change().as_str());
    value["before"] = json!(changed.before);
    value["after"] = json!(changed.after);
    value["diff"] = json!(changed.diff());
    value
}

fn parts(changed: &Changed) -> (&ObjectKey, Option<Value>, Option<Value>) {
    (&changed.key, changed.before.clone(), changed.after.clone())
}

fn diff(changes: &[Changed]) -> String {
    changes.iter().map(Changed::diff).collect()
}

fn problem(error: NoWayBack) -> Problem {
    match error {
        NoWayBack::Unknown(words) => Problem::not_found(words),
        NoWayBack::Rejected(rejection) if rejection.is_moved() => Problem::precondition(rejection),
        NoWayBack::Rejected(rejection) => Problem::rejected(&rejection),
        NoWayBack::Store(error) => Problem::internal(error),
    }
}
