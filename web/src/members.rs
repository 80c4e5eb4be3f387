//! Workloads that joined with a token.

use axum::Json;
use axum::extract::{Path, State as Shared};
use citadel::{Ended, MemberError};
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::state::State;

pub async fn list(Shared(state): Shared<State>) -> Result<Json<Value>, Problem> {
    let members = state.members.list().await.map_err(problem)?;
    let item = |member: &citadel::Member| {
        json!({
            "id": member.id,
            "namespace": member.namespace,
            "service_account": member.service_account,
            "token": member.token,
            "joined": member.joined,
            "ended": member.ended,
            "workload_group": member.grant.workload_group,
            "services": member.grant.services,
            "ports": member.grant.ports,
            "addresses": member.grant.addresses,
        })
    };
    Ok(Json(json!({ "items": members.iter().map(item).collect::<Vec<_>>() })))
}

/// It is deregistered at once, and gets no certificate any more.
pub async fn evict(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    state.members.end(&id, Ended::Evicted).await.map_err(problem)?;
    state.agents.forget(&id).await;
    Ok(Json(json!({ "evicted": id })))
}

fn problem(error: MemberError) -> Problem {
    match error {
        MemberError::Store(_) => Problem::internal(error),
        unknown => Problem::not_found(unknown),
    }
}
