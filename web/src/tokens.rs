//! Join tokens. A secret is shown once, in the answer to its creation.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use bytes::Bytes;
use citadel::{Grant, NewToken, TokenError};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::state::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    namespace: String,
    /// With a group it is the group's.
    service_account: Option<String>,
    ttl_seconds: Option<u64>,
    uses: Option<u32>,
    workload_group: Option<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    addresses: Vec<IpNet>,
}

impl Order {
    /// The service account of the group, as Istio has it: `default` if the group names none.
    fn service_account(&self, state: &State) -> Result<String, Problem> {
        let Some(name) = &self.workload_group else {
            let missing = || Problem::malformed("give service_account, or workload_group");
            return self.service_account.clone().ok_or_else(missing);
        };
        let snapshot = state.galley.snapshots().borrow().clone();
        let group = snapshot.workload_group(&self.namespace, name).ok_or_else(|| {
            Problem::not_found(format!(
                "there is no WorkloadGroup {name} in namespace {}; apply it first",
                self.namespace
            ))
        })?;
        let account = group.spec.service_account();
        match &self.service_account {
            Some(other) if other != account => Err(Problem::malformed(format!(
                "the WorkloadGroup {name} has the service account {account}, not {other}"
            ))),
            _ => Ok(account.to_owned()),
        }
    }
}

pub async fn create(Shared(state): Shared<State>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let order: Order = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let service_account = order.service_account(&state)?;
    let mut token = NewToken::new(order.namespace, service_account);
    token.ttl = order.ttl_seconds.map_or(token.ttl, Duration::from_secs);
    token.uses = order.uses.unwrap_or(token.uses);
    token.grant = Grant {
        workload_group: order.workload_group,
        services: order.services,
        ports: order.ports,
        addresses: order.addresses,
    };
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
