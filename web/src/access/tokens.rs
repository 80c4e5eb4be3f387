//! API tokens and what they allow. A secret is shown once, in the answer to its creation.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::{Extension, Json};
use citadel::{Access, ApiToken, ApiTokenError, NewApiToken, Role, Scopes, Verb};
use galley::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Known, Noted, refusal};
use crate::extract::{Asked, At, Body};
use crate::list::{self, List, ListQuery};
use crate::problem::Problem;
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[schema(as = ApiTokenOrder)]
#[serde(deny_unknown_fields)]
struct Order {
    /// Who or what it is for.
    name: String,
    /// `viewer`, `operator`, `security` or `admin`
    #[schema(value_type = String)]
    role: Role,
    #[serde(default)]
    #[schema(value_type = ScopesView)]
    scopes: Scopes,
    /// At most 366 days.
    ttl_seconds: u64,
}

/// What a token is narrowed to; an empty list narrows nothing.
#[derive(Serialize, ToSchema)]
#[schema(as = Scopes)]
struct ScopesView {
    verbs: Vec<&'static str>,
    kinds: Vec<String>,
    namespaces: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApiTokenView)]
struct TokenView {
    id: String,
    name: String,
    role: &'static str,
    scopes: ScopesView,
    /// Who made it.
    author: String,
    /// Unix seconds.
    created: u64,
    /// Unix seconds.
    expires: Option<u64>,
    /// Unix seconds, to the minute.
    last_used: Option<u64>,
    /// The secret; it is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl TokenView {
    fn of(token: ApiToken) -> Self {
        let Scopes { verbs, kinds, namespaces } = token.access.scopes;
        Self {
            id: token.id,
            name: token.name,
            role: token.access.role.as_str(),
            scopes: ScopesView { verbs: verbs.into_iter().map(Verb::as_str).collect(), kinds, namespaces },
            author: token.author,
            created: token.created,
            expires: token.expires,
            last_used: token.last_used,
            token: None,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApiTokenRevoked)]
struct Revoked {
    revoked: String,
}

impl Order {
    /// Scopes by the names that requests are held against.
    fn scopes(&self) -> Result<Scopes, Problem> {
        let unknown = |word: &str| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            Problem::malformed(format!("scopes.kinds: there is no kind {word:?}; there are {known}"))
        };
        let kind = |word: &String| Kind::named(word).map(|kind| kind.as_str().to_owned()).ok_or_else(|| unknown(word));
        let kinds = self.scopes.kinds.iter().map(kind).collect::<Result<_, _>>()?;
        let is_label = |name: &&String| api::is_dns_label(name);
        if let Some(wrong) = self.scopes.namespaces.iter().find(|name| !is_label(name)) {
            return Err(Problem::malformed(format!("scopes.namespaces: {wrong:?} is no name of a namespace")));
        }
        Ok(Scopes { kinds, ..self.scopes.clone() })
    }
}

/// The tokens of the API there are, without their secrets.
#[utoipa::path(get, path = "/access/tokens", params(ListQuery),
    responses((status = 200, description = "A page of tokens", body = List<TokenView>)))]
async fn list(Shared(state): Shared<State>, Asked(query): Asked<ListQuery>) -> Result<Json<List<Value>>, Problem> {
    let tokens = state.api_tokens.list().await.map_err(problem)?;
    list::page(&state, &query, tokens.into_iter().map(TokenView::of))
}

/// Makes a token that allows no more than the caller may.
#[utoipa::path(post, path = "/access/tokens", request_body = Order,
    responses((status = 201, description = "The token, its secret shown this once", body = TokenView)))]
async fn create(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    Body(order): Body<Order>,
) -> Result<(StatusCode, Extension<Noted>, Json<TokenView>), Problem> {
    let access = Access { role: order.role, scopes: order.scopes()? };
    if !access.is_within(known.access()) {
        return Err(Problem::forbidden("the token would allow more than the one that it is made with"));
    }
    let new = NewApiToken {
        name: order.name,
        access,
        ttl: Duration::from_secs(order.ttl_seconds),
        author: known.token.name.clone(),
    };
    let made = state.api_tokens.mint(new).await.map_err(problem)?;
    let noted = noted(&made.token, "made");
    let shown = TokenView { token: Some(made.text), ..TokenView::of(made.token) };
    Ok((StatusCode::CREATED, noted, Json(shown)))
}

/// Revokes a token, at once; sessions that were begun with it end.
#[utoipa::path(delete, path = "/access/tokens/{id}", params(("id" = String, Path)),
    responses((status = 200, description = "It is worth nothing any more", body = Revoked)))]
async fn revoke(
    Shared(state): Shared<State>,
    At(id): At<String>,
) -> Result<(Extension<Noted>, Json<Revoked>), Problem> {
    let revoked = state.api_tokens.revoke(&id).await.map_err(problem)?;
    Ok((noted(&revoked, "revoked"), Json(Revoked { revoked: id })))
}

fn noted(token: &ApiToken, what: &str) -> Extension<Noted> {
    let detail = format!("{what}: {}, role {}", token.name, token.access.role.as_str());
    Extension(Noted { object: format!("api token {}", token.id), detail, ..Noted::default() })
}

fn problem(error: ApiTokenError) -> Problem {
    match error {
        ApiTokenError::Unknown => Problem::not_found("there is no API token of that id"),
        other => refusal(other),
    }
}
