//! Workloads that joined with a token.

use axum::Json;
use axum::extract::State as Shared;
use citadel::{Ended, MemberError};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Asked, At};
use crate::list::{self, List, ListQuery};
use crate::problem::Problem;
use crate::state::State;

/// Why who was evicted is denied.
const EVICTED: &str = "evicted from the mesh";

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(evict))
}

#[derive(Serialize, ToSchema)]
struct MemberView {
    id: String,
    namespace: String,
    service_account: String,
    /// The id of the join token that it came with.
    token: String,
    /// Unix seconds.
    joined: u64,
    /// How its membership ended, if it did: `left` or `evicted`
    ended: Option<&'static str>,
    workload_group: Option<String>,
    services: Vec<String>,
    ports: Vec<u16>,
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpNet>,
    /// Whether it is a gateway that may have the private keys of its namespace.
    gateway: bool,
    /// When its proxy was last heard of, in Unix seconds; null: not since this control plane started.
    last_seen: Option<u64>,
    /// Its proxy's program: `weft/0.1.0`.
    version: Option<String>,
    /// The operating system of its machine, as that calls itself.
    os: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Evicted {
    evicted: String,
}

/// The workloads that joined.
#[utoipa::path(get, path = "/members", params(ListQuery),
    responses((status = 200, description = "A page of members", body = List<MemberView>)))]
async fn list(Shared(state): Shared<State>, Asked(query): Asked<ListQuery>) -> Result<Json<List<Value>>, Problem> {
    let members = state.members.list().await.map_err(problem)?;
    let mut seen = state.mixer.seen(|reporter| reporter.member.clone());
    let view = |member: citadel::Member| {
        let seen = seen.remove(&member.id);
        MemberView {
            last_seen: seen.as_ref().map(|seen| seen.at),
            version: seen.as_ref().and_then(|seen| said(&seen.version)),
            os: seen.as_ref().and_then(|seen| said(&seen.os)),
            id: member.id,
            namespace: member.namespace,
            service_account: member.service_account,
            token: member.token,
            joined: member.joined,
            ended: member.ended.map(|ended| match ended {
                Ended::Left => "left",
                Ended::Evicted => "evicted",
            }),
            workload_group: member.grant.workload_group,
            services: member.grant.services,
            ports: member.grant.ports,
            addresses: member.grant.addresses,
            gateway: member.grant.gateway,
        }
    };
    list::page(&state, &query, members.into_iter().map(view))
}

/// What was said, if anything was.
fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Ends a membership: the workload is deregistered at once, gets no certificate any more, and is denied until those that
/// it has have ended, so that its connections are cut.
#[utoipa::path(delete, path = "/members/{id}", params(("id" = String, Path)),
    responses((status = 200, description = "It is no member any more", body = Evicted)))]
async fn evict(Shared(state): Shared<State>, At(id): At<String>) -> Result<Json<Evicted>, Problem> {
    state.members.end(&id, Ended::Evicted).await.map_err(problem)?;
    state.agents.forget(&id).await;
    // A list that is full or cannot be written leaves the eviction as it is; it can be asked for again.
    state.denials.cut_off(&id, EVICTED).await.map_err(|error| {
        Problem::unavailable(format!("{id} is no member any more, and its open connections are not cut: {error}"))
    })?;
    Ok(Json(Evicted { evicted: id }))
}

fn problem(error: MemberError) -> Problem {
    match error {
        MemberError::Store(_) => Problem::internal(error),
        unknown => Problem::not_found(unknown),
    }
}
