//! Who is turned away before their certificates end.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use citadel::{Denial, DenialError, DeniedKind, NewDenial};
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
    OpenApiRouter::new().routes(routes!(list, deny)).routes(routes!(allow))
}

/// By what somebody is denied.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum DeniedBy {
    /// One certificate, by its serial number in hexadecimal; and where no member has it, those that its holder got before
    /// and after it.
    Serial,
    /// Everybody who has a SPIFFE ID.
    Identity,
    /// A member of the mesh, by its id in `/members`, with all its certificates.
    Agent,
}

/// Whom to deny.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DenialOrder {
    kind: DeniedBy,
    /// The serial number, the SPIFFE ID, or the id of the member.
    #[schema(example = "spiffe://cluster.local/ns/default/sa/reviews")]
    value: String,
    /// Told to whoever is denied.
    #[serde(default)]
    reason: String,
    /// Without it, until it is taken back. A serial number is denied no longer than anything can come of its certificate.
    lasts_seconds: Option<u64>,
}

/// Somebody who is denied.
#[derive(Serialize, ToSchema)]
struct DenialView {
    id: String,
    kind: DeniedBy,
    value: String,
    reason: String,
    /// Unix seconds.
    created: u64,
    /// Unix seconds; none where it has no end.
    until: Option<u64>,
}

/// Who is denied, the latest first.
#[utoipa::path(get, path = "/ca/denials", operation_id = "list_denials", params(ListQuery),
    responses((status = 200, description = "A page of denials", body = List<DenialView>)))]
async fn list(Shared(state): Shared<State>, Asked(query): Asked<ListQuery>) -> Result<Json<List<Value>>, Problem> {
    let all = state.denials.all().await.map_err(problem)?;
    list::page(&state, &query, all.into_iter().map(DenialView::of))
}

/// Denies a certificate, an identity or an agent: no certificate, no configuration and no connection any more, and those
/// that it has are closed, everywhere and within seconds.
#[utoipa::path(post, path = "/ca/denials", request_body = DenialOrder,
    responses((status = 201, description = "It is denied", body = DenialView)))]
async fn deny(
    Shared(state): Shared<State>,
    Body(order): Body<DenialOrder>,
) -> Result<(StatusCode, Json<DenialView>), Problem> {
    let kind = match order.kind {
        DeniedBy::Serial => DeniedKind::Serial,
        DeniedBy::Identity => DeniedKind::Identity,
        DeniedBy::Agent => DeniedKind::Agent,
    };
    let lasts = order.lasts_seconds.map(Duration::from_secs);
    let denial = NewDenial { kind, value: order.value, reason: order.reason, lasts };
    let made = state.denials.deny(denial).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(DenialView::of(made))))
}

/// Lets somebody back in.
#[utoipa::path(delete, path = "/ca/denials/{id}", params(("id" = String, Path)),
    responses((status = 200, description = "It is denied no more", body = DenialView)))]
async fn allow(Shared(state): Shared<State>, At(id): At<String>) -> Result<Json<DenialView>, Problem> {
    Ok(Json(DenialView::of(state.denials.allow(&id).await.map_err(problem)?)))
}

impl DenialView {
    fn of(denial: Denial) -> Self {
        let kind = match denial.kind {
            DeniedKind::Serial => DeniedBy::Serial,
            DeniedKind::Identity => DeniedBy::Identity,
            DeniedKind::Agent => DeniedBy::Agent,
        };
        let Denial { id, value, reason, created, until, .. } = denial;
        Self { id, kind, value, reason, created, until }
    }
}

fn problem(error: DenialError) -> Problem {
    match error {
        DenialError::Unknown(_) | DenialError::UnknownSerial(_) => Problem::not_found(error),
        DenialError::Own(_) | DenialError::Full => Problem::conflict(error),
        DenialError::Store(_) => Problem::internal(error),
        malformed => Problem::malformed(malformed),
    }
}
