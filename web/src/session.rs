//! Sessions of the console: a cookie that scripts cannot read and other sites cannot send, and a word that every change
//! must carry.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use citadel::{ApiTokenError, Session, SessionError};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::audit::Record;
use crate::auth::{COOKIE, Known, Noted, refusal};
use crate::extract::Body;
use crate::listen::Peer;
use crate::problem::Problem;
use crate::state::State;

/// Seconds that a browser keeps the cookie; the control plane ends a session earlier.
const LIFE: u64 = 12 * 3600;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(begin, read, end)).routes(routes!(setup))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = SessionOrder)]
#[serde(deny_unknown_fields)]
struct Order {
    /// `weft_pat_…`, or `weft_setup_…` of a setup link.
    token: String,
}

/// Begins a session.
#[utoipa::path(post, path = "/_session", request_body = Order, security(()),
    responses((status = 201, description = "The session, with its cookie", body = Value)))]
async fn begin(
    Shared(state): Shared<State>,
    from: Option<Extension<ConnectInfo<Peer>>>,
    headers: HeaderMap,
    Body(order): Body<Order>,
) -> Result<Response, Problem> {
    let from = from.map(|Extension(info)| info.0.0);
    // A form of another site can send every body but this one.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(Problem::media_type("send the token as application/json"));
    }
    let is_setup = order.token.starts_with("weft_setup_");
    let begun = state.door.sessions.begin(order.token.trim()).await;
    let (session, cookie) = begun.map_err(|error| refused(&state, error, from))?;
    let record = Record {
        actor: session.token.name.clone(),
        method: if is_setup { "setup" } else { "token" }.into(),
        token: session.token.id.clone(),
        ip: from.map(|from| from.ip().to_string()),
        verb: "sign-in".into(),
        object: format!("session {}", session.id),
        result: "done".into(),
        ..Record::default()
    };
    state.door.audit.write(record).await;
    let mut response = (StatusCode::CREATED, Json(describe(&session))).into_response();
    set_cookie(&mut response, &cookie, LIFE, state.door.is_tls);
    Ok(response)
}

/// The caller's own session, or what their token is.
#[utoipa::path(get, path = "/_session",
    responses((status = 200, description = "Who asks, and what they may do", body = Value)))]
async fn read(Extension(known): Extension<Known>) -> Json<Value> {
    Json(match &known.session {
        Some(session) => describe(session),
        None => json!({
            "actor": known.token.name,
            "role": known.access().role,
            "scopes": known.access().scopes,
            "expires_at": known.token.expires.map(|seconds| seconds * 1000),
        }),
    })
}

/// Ends the caller's session.
#[utoipa::path(delete, path = "/_session", responses((status = 204, description = "It is over")))]
async fn end(Shared(state): Shared<State>, Extension(known): Extension<Known>) -> Result<Response, Problem> {
    let Some(session) = &known.session else {
        return Err(Problem::malformed("this request came with a token, not with a session's cookie"));
    };
    state.door.sessions.end(session).await.map_err(Problem::internal)?;
    let noted = Noted { object: format!("session {}", session.id), ..Noted::default() };
    let mut response = (Extension(noted), StatusCode::NO_CONTENT).into_response();
    set_cookie(&mut response, "", 0, state.door.is_tls);
    Ok(response)
}

/// A new setup link: good once, for an hour.
#[utoipa::path(post, path = "/_setup", responses((status = 201, description = "The link's path", body = Value)))]
async fn setup(Shared(state): Shared<State>) -> Result<(StatusCode, Json<Value>), Problem> {
    let text = state.door.sessions.setup().await.map_err(Problem::internal)?;
    Ok((StatusCode::CREATED, Json(json!({ "path": format!("/#setup={text}"), "token": text, "life_seconds": 3600 }))))
}

fn describe(session: &Session) -> Value {
    json!({
        "csrf": session.csrf,
        "actor": session.token.name,
        "role": session.token.access.role,
        "scopes": session.token.access.scopes,
        "expires_at": session.expires * 1000,
    })
}

fn refused(state: &State, error: SessionError, from: Option<SocketAddr>) -> Problem {
    match error {
        SessionError::Token(ApiTokenError::Store(_)) | SessionError::Store(_) | SessionError::Randomness(_) => {
            Problem::internal(error)
        }
        SessionError::Token(error) => state.door.refuse(from, refusal(error)),
        error => state.door.refuse(from, Problem::unauthorized(error)),
    }
}

fn set_cookie(response: &mut Response, value: &str, life: u64, is_tls: bool) {
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life}{secure}");
    // Our own letters and digits.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
