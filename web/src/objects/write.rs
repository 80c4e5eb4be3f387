//! Changes of one object: put, patch, create, delete. Who changes says which revision was seen, so that of two who
//! change the same at the same time exactly one wins.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use galley::{Applied, Author, Kind, Object, ObjectKey, Provenance, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::apply::{across, change, is_dry};
use super::effect::{self, DryRun};
use super::patch::merge;
use super::view::ObjectView;
use super::{Named, find, named, patch_types};
use crate::auth::Caller;
use crate::etag;
use crate::extract::{Asked, At, Text, media_type};
use crate::problem::{Finding, Problem};
use crate::state::State;

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// `server`: say what would happen, and change nothing.
    #[serde(rename = "dryRun")]
    dry_run: Option<String>,
    /// `true`: whatever the revision is now, and whether it is there or not.
    force: Option<bool>,
    /// The revision that was seen, as `If-Match` would say it; 0: it must not be there (Consul's check-and-set).
    cas: Option<u64>,
    /// Why; it is kept in the history.
    message: Option<String>,
}

/// What the entity tags of a request demand.
#[derive(Debug, PartialEq)]
enum Demand {
    /// `If-Match`
    Known(String),
    /// `If-None-Match: *`
    Absent,
    /// `?force=true`, or a dry run that says nothing
    Anything,
}

/// An object as a change left it.
#[derive(Serialize, ToSchema)]
pub struct Written {
    #[serde(flatten)]
    object: ObjectView,
    /// `created`, `configured` or `unchanged`
    change: &'static str,
    warnings: Vec<Finding>,
}

#[derive(Serialize, ToSchema)]
pub struct Deleted {
    deleted: String,
    /// The revision of the deletion.
    revision: u64,
}

/// Creates or replaces an object. `If-Match` names the revision that was seen; `If-None-Match: *` creates.
#[utoipa::path(put, path = "/{kind}/{namespace}/{name}", params(Named, WriteQuery,
        ("if-match" = Option<String>, Header), ("if-none-match" = Option<String>, Header)),
    request_body(content((Value = "application/json"), (String = "application/yaml")),
        description = "The whole document: apiVersion, kind, metadata, spec"),
    responses((status = 200, description = "The object as it is now, or what would become of it",
            body = inline(super::effect::WrittenOrDryRun)),
        (status = 201, description = "The object is new", body = Written)))]
pub async fn put(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    At(at): At<Named>,
    Asked(query): Asked<WriteQuery>,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Response, Problem> {
    let key = at.key()?;
    let dry_run = is_dry(query.dry_run.as_deref())?;
    let demand = demand(&headers, &query, dry_run)?;
    if dry_run {
        return dry(&state, &key, &text, Told::Sent).await;
    }
    let expecting = expecting(&state, &key, &demand)?;
    let author = author(&caller, &headers, &query, expecting);
    write(&state, &key, &text, author, Told::Sent).await
}

/// Changes some fields of an object by a merge patch (RFC 7396): `null` removes, lists are replaced whole.
#[utoipa::path(patch, path = "/{kind}/{namespace}/{name}", params(Named, WriteQuery,
        ("if-match" = Option<String>, Header)),
    request_body(content((Value = "application/merge-patch+json")), description = "What is to change"),
    responses((status = 200, description = "The object as it is now, or what would become of it",
        body = inline(super::effect::WrittenOrDryRun))))]
pub async fn patch(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    At(at): At<Named>,
    Asked(query): Asked<WriteQuery>,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Response, Problem> {
    patch_types(&media_type(&headers))?;
    let dry_run = is_dry(query.dry_run.as_deref())?;
    let demand = demand(&headers, &query, dry_run)?;
    let changes: Value = serde_json::from_str(&text).map_err(Problem::malformed)?;
    let object = find(&state, &at)?;
    let mut manifest = object.manifest.clone();
    merge(&mut manifest, &changes);
    let text = serde_json::to_string_pretty(&manifest).map_err(Problem::internal)?;
    if dry_run {
        return dry(&state, &object.key, &text, Told::Merged).await;
    }
    check(&object, &demand)?;
    // What was merged is of this very revision, whatever was demanded.
    let author = author(&caller, &headers, &query, Some(object.revision));
    write(&state, &object.key, &text, author, Told::Merged).await
}

/// Creates an object; one of that name must not be there yet, unless `force` replaces it.
#[utoipa::path(post, path = "/{kind}", params(("kind" = super::view::KindName, Path), WriteQuery,
        ("idempotency-key" = Option<String>, Header, description = "The same key again gets the same answer")),
    request_body(content((Value = "application/json"), (String = "application/yaml")),
        description = "The whole document: apiVersion, kind, metadata, spec"),
    responses((status = 200, description = "What would become of it", body = DryRun),
        (status = 201, description = "The object is new", body = Written)))]
pub async fn create(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    At(kind): At<String>,
    Asked(query): Asked<WriteQuery>,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Response, Problem> {
    let kind = named(&kind)?;
    let dry_run = is_dry(query.dry_run.as_deref())?;
    let forced = query.force == Some(true);
    match query.cas {
        Some(seen) if seen != 0 => return Err(Problem::malformed("POST creates; its cas is 0, or left out")),
        Some(_) if forced => return Err(Problem::malformed(BOTH)),
        _ => {}
    }
    let planned = match dry_run {
        true => state.galley.validate(&text, ORIGIN).await,
        false => state.galley.prepare(&text, ORIGIN).await,
    };
    let planned = match planned {
        Ok(planned) => planned,
        Err(rejection) if dry_run => return Ok(Json(DryRun::refused(&rejection)).into_response()),
        Err(rejection) => return Err(Problem::rejected(&rejection)),
    };
    let key = only(&planned)?;
    if key.kind != kind {
        return Err(Problem::malformed(format!("the document is a {}, not a {kind}", key.kind)));
    }
    if dry_run {
        return dry(&state, &key, &text, Told::Sent).await;
    }
    let author = author(&caller, &headers, &query, (!forced).then_some(0));
    let written = write(&state, &key, &text, author, Told::Sent).await;
    written.map_err(|problem| match problem.status {
        412 => Problem::conflict(format!("{key} is there already; change it with PUT or PATCH")),
        _ => problem,
    })
}

/// Deletes an object. `If-Match` names the revision that was seen.
#[utoipa::path(delete, path = "/{kind}/{namespace}/{name}", params(Named, WriteQuery,
        ("if-match" = Option<String>, Header)),
    responses((status = 200, description = "It is there no more, or what would become of that",
        body = inline(super::effect::DeletedOrDryRun))))]
pub async fn delete(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    At(at): At<Named>,
    Asked(query): Asked<WriteQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let object = find(&state, &at)?;
    let dry_run = is_dry(query.dry_run.as_deref())?;
    let demand = demand(&headers, &query, dry_run)?;
    held(&object)?;
    if dry_run {
        return Ok(Json(effect::of_deletion(&state, &object).await?).into_response());
    }
    check(&object, &demand)?;
    let expecting = (demand != Demand::Anything).then_some(object.revision);
    let author = author(&caller, &headers, &query, expecting);
    let deleted = state.galley.delete(object.key.kind, &at.namespace, &at.name, author).await;
    match deleted.map_err(|rejection| Problem::rejected(&rejection))? {
        Some(revision) => Ok(Json(Deleted { deleted: object.key.to_string(), revision }).into_response()),
        None => Err(super::missing(object.key.kind, &at)),
    }
}

/// What a text is called in messages that did not come from a file.
const ORIGIN: &str = "<request>";
const BOTH: &str = "force=true is for whatever the revision is; leave it out, or the revision";

/// Whose text findings have their lines in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That of the request.
    Sent,
    /// One that was made of what is there and of the request, and that nobody sees.
    Merged,
}

impl Told {
    fn place(self, findings: &mut [Finding]) {
        if self == Self::Merged {
            findings.iter_mut().for_each(Finding::forget_line);
        }
    }

    fn refusal(self, rejection: &Rejection) -> Problem {
        let mut problem = Problem::rejected(rejection);
        self.place(&mut problem.errors);
        problem
    }
}

async fn dry(state: &State, key: &ObjectKey, text: &str, source: Told) -> Result<Response, Problem> {
    let mut told = effect::of_text(state, text, ORIGIN).await?;
    told.findings().for_each(|findings| source.place(findings));
    if let Some(other) = told.other_than(key) {
        return Err(other_object(key, other));
    }
    Ok(Json(told).into_response())
}

async fn write(state: &State, key: &ObjectKey, text: &str, author: Author, source: Told) -> Result<Response, Problem> {
    if let Some(object) = state.galley.get(key.kind, &key.namespace, &key.name) {
        held(&object)?;
    }
    let planned = state.galley.prepare(text, ORIGIN).await.map_err(|rejection| source.refusal(&rejection))?;
    let of_text = only(&planned)?;
    if of_text != *key {
        return Err(other_object(key, &of_text.to_string()));
    }
    let applied = state.galley.apply(text, ORIGIN, author).await;
    let applied = applied.map_err(|rejection| source.refusal(&rejection))?;
    let gone = || Problem::conflict(format!("{key} was deleted at the same moment"));
    let object = state.galley.get(key.kind, &key.namespace, &key.name).ok_or_else(gone)?;
    let found = across(state, text, ORIGIN);
    let across = found.iter().filter(|found| found.object == *key).map(|found| &found.diagnostic);
    let warnings = applied.iter().flat_map(|applied| &applied.warnings).chain(across);
    let mut warnings: Vec<Finding> = warnings.map(Finding::from).collect();
    source.place(&mut warnings);
    let change = applied.first().map_or("unchanged", |applied| change(applied.change));
    let status = if change == "created" { StatusCode::CREATED } else { StatusCode::OK };
    let tag = super::etag(&object);
    let written = Json(Written { object: ObjectView::of(&object), change, warnings });
    let place = format!("/api/v1/{}/{}/{}", key.kind.plural(), key.namespace, key.name);
    let mut response = (status, [(header::ETAG, tag)], written).into_response();
    if let (StatusCode::CREATED, Ok(place)) = (status, HeaderValue::from_str(&place)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// The one object of a text.
fn only(planned: &[Applied]) -> Result<ObjectKey, Problem> {
    match planned {
        [one] => Ok(ObjectKey::new(one.kind, &one.namespace, &one.name)),
        [] => Err(Problem::malformed("the body holds no object of the mesh")),
        more => Err(Problem::malformed(format!("the body holds {} objects; /_apply takes several", more.len()))),
    }
}

fn other_object(key: &ObjectKey, other: &str) -> Problem {
    Problem::malformed(format!("the path is of {key}, the body of {other}; write the same name and namespace in both"))
}

/// An object of a file or of a cluster is changed where it lives.
fn held(object: &Object) -> Result<(), Problem> {
    let key = &object.key;
    match &object.provenance {
        Provenance::File(path) => {
            Err(Problem::held(format!("{key} is held by the file {}; change it there", path.display())))
        }
        Provenance::Cluster(name) => {
            Err(Problem::held(format!("{key} is held by the Kubernetes cluster {name}; change it there")))
        }
        Provenance::Store { .. } => Ok(()),
    }
}

fn demand(headers: &HeaderMap, query: &WriteQuery, dry_run: bool) -> Result<Demand, Problem> {
    let text = |name: header::HeaderName| {
        let value = headers.get(&name).map(|value| value.to_str().map(str::trim));
        value.transpose().map_err(|_| Problem::malformed(format!("{name} is no entity tag")))
    };
    let tags = (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?);
    if query.force == Some(true) && (query.cas.is_some() || tags != (None, None)) {
        return Err(Problem::malformed(BOTH));
    }
    match (tags, query.cas) {
        ((None, None), Some(0)) => return Ok(Demand::Absent),
        ((None, None), Some(revision)) => return Ok(Demand::Known(format!("\"{revision}\""))),
        (_, Some(_)) => return Err(Problem::malformed("give cas or an entity tag, not both")),
        (_, None) => {}
    }
    match tags {
        (Some(_), Some(_)) => Err(Problem::malformed("give If-Match or If-None-Match, not both")),
        (Some(tags), None) => Ok(Demand::Known(tags.to_owned())),
        (None, Some("*")) => Ok(Demand::Absent),
        (None, Some(other)) => Err(Problem::malformed(format!("If-None-Match is *, not {other}"))),
        (None, None) if dry_run || query.force == Some(true) => Ok(Demand::Anything),
        (None, None) => Err(Problem::precondition_required(
            "send If-Match with the entity tag that you read, If-None-Match: * to create, ?cas=REVISION, or ?force=true",
        )),
    }
}

/// Holds a demand against the object as it is.
fn check(object: &Object, demand: &Demand) -> Result<(), Problem> {
    let tag = super::etag(object);
    match demand {
        Demand::Known(tags) if !etag::names(tags, tag.to_str().unwrap_or_default()) => {
            Err(Problem::precondition(format!("{} is at revision {} now; read it again", object.key, object.revision)))
        }
        Demand::Absent => Err(Problem::precondition(format!("{} is there already", object.key))),
        Demand::Known(_) | Demand::Anything => Ok(()),
    }
}

/// The revision that the store must find: 0 for an object that must not be there.
fn expecting(state: &State, key: &ObjectKey, demand: &Demand) -> Result<Option<u64>, Problem> {
    let object = state.galley.get(key.kind, &key.namespace, &key.name);
    match (object, demand) {
        (Some(object), demand) => {
            check(&object, demand)?;
            Ok((*demand != Demand::Anything).then_some(object.revision))
        }
        (None, Demand::Known(_)) => Err(Problem::precondition(format!("{key} is not there"))),
        (None, Demand::Absent) => Ok(Some(0)),
        (None, Demand::Anything) => Ok(None),
    }
}

fn author(caller: &Caller, headers: &HeaderMap, query: &WriteQuery, expecting: Option<u64>) -> Author {
    super::author(caller, headers, query.message.as_deref(), expecting)
}

impl Named {
    fn key(&self) -> Result<ObjectKey, Problem> {
        let kind: Kind = named(&self.kind)?;
        Ok(ObjectKey::new(kind, &self.namespace, &self.name))
    }
}
