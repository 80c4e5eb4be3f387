//! `POST /_apply`: all documents of a text or none.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use galley::analysis::Found;
use galley::{Applied, Applying, ObjectKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::effect;
use crate::auth::Caller;
use crate::extract::{Asked, Text};
use crate::problem::{Finding, Problem};
use crate::state::State;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyQuery {
    /// What the text is called in messages: a file's name.
    origin: Option<String>,
    /// `server`: say what would happen, and change nothing.
    #[serde(rename = "dryRun")]
    dry_run: Option<String>,
    /// Why; it is kept in the history.
    message: Option<String>,
}

/// What became of each document.
#[derive(Serialize, ToSchema)]
pub struct Outcomes {
    items: Vec<Outcome>,
    /// Always false.
    dry_run: bool,
}

/// What `apply` did to one object.
#[derive(Serialize, ToSchema)]
pub struct Outcome {
    kind: &'static str,
    namespace: String,
    name: String,
    /// `created`, `configured` or `unchanged`
    change: &'static str,
    revision: u64,
    warnings: Vec<Finding>,
}

/// Applies all documents of a text, or none of them.
#[utoipa::path(post, path = "/_apply", params(ApplyQuery),
    request_body(content = String, content_type = "application/yaml", description = "YAML or JSON documents"),
    responses((status = 200, description = "What was done to each object, or what would be",
        body = inline(super::effect::OutcomesOrDryRun))))]
pub async fn apply(
    Shared(state): Shared<State>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<ApplyQuery>,
    headers: HeaderMap,
    Text(text): Text,
) -> Result<Response, Problem> {
    let origin = query.origin.as_deref().unwrap_or("<request>");
    if is_dry(query.dry_run.as_deref())? {
        return Ok(Json(effect::of_text(&state, &text, origin).await?).into_response());
    }
    let author = super::author(&caller, &headers, query.message.as_deref(), None);
    let applied = state.galley.apply(&text, origin, author).await;
    let applied = applied.map_err(|rejection| Problem::rejected(&rejection))?;
    let found = across(&state, &text, origin);
    let items = applied.iter().map(|applied| Outcome::of(applied, &found)).collect();
    Ok(Json(Outcomes { items, dry_run: false }).into_response())
}

/// What is doubtful about what was just written, among all that is in force.
pub fn across(state: &State, text: &str, origin: &str) -> Vec<Found> {
    state.galley.analyse_with(text, origin, &state.known_services()).unwrap_or_default()
}

/// Whether `?dryRun` asks for words instead of deeds.
pub fn is_dry(dry_run: Option<&str>) -> Result<bool, Problem> {
    match dry_run {
        None => Ok(false),
        Some("server") => Ok(true),
        Some(other) => Err(Problem::malformed(format!("dryRun is \"server\" or absent, not {other:?}"))),
    }
}

impl Outcome {
    /// With the warnings about the object alone, and those about it among all others.
    fn of(applied: &Applied, found: &[Found]) -> Self {
        let key = ObjectKey::new(applied.kind, &applied.namespace, &applied.name);
        let across = found.iter().filter(|found| found.object == key).map(|found| &found.diagnostic);
        Self {
            kind: applied.kind.as_str(),
            namespace: applied.namespace.clone(),
            name: applied.name.clone(),
            change: change(applied.change),
            revision: applied.revision,
            warnings: applied.warnings.iter().chain(across).map(Finding::from).collect(),
        }
    }
}

pub fn change(change: Applying) -> &'static str {
    match change {
        Applying::Created => "created",
        Applying::Configured => "configured",
        Applying::Unchanged => "unchanged",
    }
}
