//! Join tokens. A secret is shown once, in the answer to its creation.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use citadel::{Grant, NewToken, TokenError, TokenStatus};
use ipnet::IpNet;
use registry::{NotOwn, own_host};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Asked, At, Body};
use crate::list::{self, List, ListQuery};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// What a new token is for.
#[derive(Deserialize, ToSchema)]
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
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpNet>,
    /// Whether it is for a gateway, which may have the private keys of its namespace.
    #[serde(default)]
    gateway: bool,
}

#[derive(Serialize, ToSchema)]
struct Made {
    id: String,
    /// The secret; it is not shown again.
    token: String,
    /// Unix seconds.
    expires: u64,
}

#[derive(Serialize, ToSchema)]
struct TokenView {
    id: String,
    namespace: String,
    service_account: String,
    /// Unix seconds.
    created: u64,
    /// Unix seconds.
    expires: u64,
    uses: u32,
    used: u32,
    expired: bool,
    workload_group: Option<String>,
    services: Vec<String>,
    ports: Vec<u16>,
    #[schema(value_type = Vec<String>)]
    addresses: Vec<IpNet>,
    gateway: bool,
}

#[derive(Serialize, ToSchema)]
struct Revoked {
    revoked: String,
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

    /// A name that no workload of the namespace can ever register is of no use in a token.
    fn check_services(&self, domain: &str) -> Result<(), Problem> {
        for (index, service) in self.services.iter().enumerate() {
            if let Err(NotOwn::Never(why)) = own_host(service, &self.namespace, domain) {
                return Err(Problem::malformed(format!("services[{index}]: {why}")));
            }
        }
        Ok(())
    }
}

/// Makes a join token.
#[utoipa::path(post, path = "/tokens", request_body = Order,
    responses((status = 201, description = "The token, shown this once", body = Made)))]
async fn create(Shared(state): Shared<State>, Body(order): Body<Order>) -> Result<(StatusCode, Json<Made>), Problem> {
    let service_account = order.service_account(&state)?;
    order.check_services(&state.domain())?;
    let mut token = NewToken::new(order.namespace, service_account);
    token.ttl = order.ttl_seconds.map_or(token.ttl, Duration::from_secs);
    token.uses = order.uses.unwrap_or(token.uses);
    token.grant = Grant {
        workload_group: order.workload_group,
        services: order.services,
        ports: order.ports,
        addresses: order.addresses,
        gateway: order.gateway,
    };
    let made = state.join_tokens.create(token).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(Made { id: made.id, token: made.text, expires: made.expires })))
}

/// The join tokens there are, without their secrets.
#[utoipa::path(get, path = "/tokens", params(ListQuery),
    responses((status = 200, description = "A page of join tokens", body = List<TokenView>)))]
async fn list(Shared(state): Shared<State>, Asked(query): Asked<ListQuery>) -> Result<Json<List<Value>>, Problem> {
    let tokens = state.join_tokens.list().await.map_err(problem)?;
    list::page(&state, &query, tokens.into_iter().map(TokenView::of))
}

/// Revokes a join token; who joined with it stays.
#[utoipa::path(delete, path = "/tokens/{id}", params(("id" = String, Path)),
    responses((status = 200, description = "It is worth nothing any more", body = Revoked)))]
async fn revoke(Shared(state): Shared<State>, At(id): At<String>) -> Result<Json<Revoked>, Problem> {
    state.join_tokens.revoke(&id).await.map_err(problem)?;
    Ok(Json(Revoked { revoked: id }))
}

impl TokenView {
    fn of(token: TokenStatus) -> Self {
        Self {
            id: token.id,
            namespace: token.namespace,
            service_account: token.service_account,
            created: token.created,
            expires: token.expires,
            uses: token.uses,
            used: token.used,
            expired: token.expired,
            workload_group: token.grant.workload_group,
            services: token.grant.services,
            ports: token.grant.ports,
            addresses: token.grant.addresses,
            gateway: token.grant.gateway,
        }
    }
}

fn problem(error: TokenError) -> Problem {
    match error {
        TokenError::Unknown => Problem::not_found("there is no join token of that id"),
        TokenError::Store(_) | TokenError::Randomness(_) => Problem::internal(error),
        refused => Problem::malformed(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(service: &str) -> Order {
        let order =
            serde_json::json!({ "namespace": "shop", "service_account": "cart", "services": ["cart", service] });
        serde_json::from_value(order).unwrap()
    }

    #[test]
    fn a_token_names_no_service_that_nobody_can_register() {
        for never in ["*", "10.0.0.5", "bank.prod.svc.cluster.local"] {
            let told = order(never).check_services("cluster.local").unwrap_err().detail;
            assert!(told.starts_with(&format!("services[1]: service {never:?}: ")), "{told}");
        }
        for known in ["bank", "api.example.com", "*.example.com"] {
            assert!(order(known).check_services("cluster.local").is_ok(), "{known}");
        }
    }
}
