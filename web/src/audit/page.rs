//! The audit log over the API.

use axum::Json;
use axum::extract::State as Shared;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Wanted;
use crate::extract::Asked;
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Question {
    /// 1 to 1000.
    limit: Option<usize>,
    /// Entries before the one of this number, for the next page.
    before: Option<u64>,
    actor: Option<String>,
    verb: Option<String>,
    /// A part of the object's name.
    object: Option<String>,
    /// `done`, or a status: `403`.
    result: Option<String>,
    /// `false`: only what was really done or refused; `true`: only what was tried.
    dry_run: Option<bool>,
}

/// What was changed and what was refused, the newest first.
#[utoipa::path(get, path = "/audit", params(Question),
    responses((status = 200, description = "Entries, and in `next` the `before` of the next page", body = Value)))]
async fn list(Shared(state): Shared<State>, Asked(question): Asked<Question>) -> Result<Json<Value>, Problem> {
    let limit = question.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::malformed(format!("limit is {limit}; it is from 1 to 1000")));
    }
    if question.before == Some(0) {
        return Err(Problem::malformed(
            "before is 0; entries count from 1, and the `next` of an answer is the one to give",
        ));
    }
    if let Some(result) = question.result.as_deref().filter(|result| !is_result(result)) {
        return Err(Problem::malformed(format!("result is {result:?}; it is done, or the status of a refusal: 403")));
    }
    let Question { before, actor, verb, object, result, dry_run, .. } = question;
    let wanted = Wanted { before: before.unwrap_or(0), limit, actor, verb, object, result, dry_run };
    let lines = state.door.audit.lines(wanted).await.map_err(Problem::internal)?;
    let next = lines.last().map(|line| line.seq).filter(|seq| lines.len() == limit && *seq > 1);
    Ok(Json(json!({ "items": lines, "next": next })))
}

fn is_result(result: &str) -> bool {
    result == "done" || result.parse().is_ok_and(|status: u16| (400..600).contains(&status))
}

/// Whether a line of this control plane's audit log was changed.
#[utoipa::path(get, path = "/audit/_verify",
    responses((status = 200, description = "What holds, or the first line that does not", body = Value)))]
async fn verify(Shared(state): Shared<State>) -> Result<Json<Value>, Problem> {
    let verified = state.door.audit.verify().await.map_err(Problem::internal)?;
    Ok(Json(json!(verified)))
}
