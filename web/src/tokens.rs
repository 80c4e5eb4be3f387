//! Join tokens. A secret is shown once, in the answer to its creation.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use bytes::Bytes;
use citadel::{NewToken, TokenError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::state::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    namespace: String,
    service_account: String,
    ttl_seconds: Option<u64>,
    uses: Option<u32>,
}

pub async fn create(Shared(state): Shared<State>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let order: Order = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let mut token = NewToken::new(order.namespace, order.service_account);
    token.ttl = order.ttl_seconds.map_or(token.ttl, Duration::from_secs);
    token.uses = order.uses.unwrap_or(token.uses);
    let made = state.join_tokens.create(token).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": made.id, "token": made.text, "expires": made.expires }))))
}

pub async fn list(Shared(state): Shared<State>) -> Result<Json<Value>, Problem> {
    let tokens = state.join_tokens.list().await.map_err(problem)?;
    Ok(Json(json!({ "items": tokens })))
}

pub async fn revoke(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    state.join_tokens.revoke(&id).await.map_err(problem)?;
    Ok(Json(json!({ "revoked": id })))
}

fn problem(error: TokenError) -> Problem {
    match error {
        TokenError::Unknown => Problem::not_found("there is no join token of that id"),
        TokenError::Store(_) | TokenError::Randomness(_) => Problem::internal(error),
        refused => Problem::malformed(refused),
    }
}
