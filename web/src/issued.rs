//! The certificates that were issued and have not ended.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State as Shared;
use citadel::LedgerEntry;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Asked;
use crate::kept::now_seconds;
use crate::list::{self, List, ListQuery};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(issued))
}

/// A certificate that was issued.
#[derive(Serialize, ToSchema)]
struct IssuedCertificate {
    /// In hexadecimal.
    serial: String,
    identity: String,
    /// The member of the mesh that it is for, if it is one.
    member: Option<String>,
    /// Where it is no member's: the serial number of the certificate that its holder got when it joined, and renewed
    /// since.
    lineage: Option<String>,
    /// The address from which it was asked for, if it is known.
    #[schema(value_type = Option<String>)]
    from: Option<IpAddr>,
    /// Unix seconds.
    issued: u64,
    /// Unix seconds.
    not_after: u64,
    /// How its holder proved who it is.
    attested_by: String,
    /// The name of the authority that signed it; empty where it was issued by an older version.
    issuer: String,
    /// SHA-256 of the root above it, in hexadecimal.
    root: String,
    /// SHA-256 of the certificate, in hexadecimal; empty where it was issued by an older version.
    fingerprint: String,
}

/// The certificates that were issued and have not ended, the latest first.
#[utoipa::path(get, path = "/ca/certificates", params(ListQuery),
    responses((status = 200, description = "A page of certificates", body = List<IssuedCertificate>)))]
async fn issued(Shared(state): Shared<State>, Asked(query): Asked<ListQuery>) -> Result<Json<List<Value>>, Problem> {
    let now = now_seconds();
    let mut live = state.ledger.entries().await.map_err(Problem::internal)?;
    live.retain(|entry| entry.not_after > now);
    live.sort_by(|one, other| (other.issued, &other.serial).cmp(&(one.issued, &one.serial)));
    list::page(&state, &query, live.into_iter().map(IssuedCertificate::of))
}

impl IssuedCertificate {
    fn of(entry: LedgerEntry) -> Self {
        let LedgerEntry {
            serial,
            identity,
            issued,
            not_after,
            attested_by,
            member,
            root,
            fingerprint,
            issuer,
            lineage,
            from,
            anchor: _,
        } = entry;
        Self { serial, identity, member, lineage, from, issued, not_after, attested_by, issuer, root, fingerprint }
    }
}
