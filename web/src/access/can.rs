//! `POST /_can`: whether the caller may do something, so that a page can grey out what would be refused, and say why.

use axum::{Extension, Json};
use citadel::{Verb, Wish};
use galley::Kind;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Known;
use crate::extract::Body;
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(can))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = CanQuestion)]
#[serde(deny_unknown_fields)]
struct Question {
    /// `read`, `write`, `delete`, `tap`, …
    #[schema(value_type = String)]
    verb: Verb,
    kind: Option<String>,
    namespace: Option<String>,
}

/// One question, or several at once.
#[derive(Deserialize, ToSchema)]
#[schema(as = CanQuestions)]
#[serde(untagged)]
enum Questions {
    One(Question),
    Many(Vec<Question>),
}

/// Whether the caller may do something, and if not, why.
#[utoipa::path(post, path = "/_can", request_body = Questions,
    responses((status = 200, description = "`{allowed, reason}`, or a list of those", body = Value)))]
async fn can(Extension(known): Extension<Known>, Body(asked): Body<Value>) -> Result<Json<Value>, Problem> {
    let asked: Questions = serde_json::from_value(asked).map_err(|_| {
        let verbs = Verb::ALL.map(Verb::as_str).join(", ");
        Problem::malformed(format!("ask {{\"verb\", \"kind\", \"namespace\"}} or a list of those; verbs are {verbs}"))
    })?;
    match asked {
        Questions::One(question) => answer(&known, &question).map(Json),
        Questions::Many(questions) => {
            let answers = questions.iter().map(|question| answer(&known, question)).collect::<Result<Vec<_>, _>>()?;
            Ok(Json(json!({ "items": answers })))
        }
    }
}

fn answer(known: &Known, question: &Question) -> Result<Value, Problem> {
    let unknown = |word: &String| Problem::malformed(format!("there is no kind {word:?}"));
    let kind = question.kind.as_ref().map(|word| Kind::named(word).ok_or_else(|| unknown(word))).transpose()?;
    let wish = Wish { verb: question.verb, kind: kind.map(Kind::as_str), namespace: question.namespace.as_deref() };
    Ok(match known.access().check(&wish) {
        Ok(()) => json!({ "allowed": true }),
        Err(reason) => json!({ "allowed": false, "reason": reason }),
    })
}
