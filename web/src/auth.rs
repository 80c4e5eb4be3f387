//! Lets in who is known, to what they may do, and writes down what was changed and what was refused.

mod change;
mod failures;
mod log;
mod needs;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use citadel::{Access, ApiToken, ApiTokenError, ApiTokens, Session, SessionError, Verb, Wish};

use crate::audit::Audit;
use crate::listen::Peer;
use crate::problem::Problem;
use crate::state::State;
pub(crate) use change::told as diff_of;
use failures::Failures;
pub use log::Noted;

/// The name of the token that a request came with: who asks.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

/// Who asks, and what they may do.
#[derive(Clone, Debug)]
pub struct Known {
    pub token: ApiToken,
    /// For who came with a browser's cookie.
    pub session: Option<Session>,
}

/// What stands at the door. Cloning shares.
#[derive(Clone)]
pub struct Door {
    pub sessions: citadel::Sessions,
    pub audit: Audit,
    failures: Arc<Failures>,
    /// Whether the API is reached with TLS, so that cookies are for that only.
    pub is_tls: bool,
}

pub const COOKIE: &str = "weft_session";
pub const CSRF: &str = "x-weft-csrf";
/// Says for whom a change is made.
pub const AUTHOR: &str = "weft-author";

impl Door {
    pub fn new(sessions: citadel::Sessions, audit: Audit, is_tls: bool) -> Self {
        Self { sessions, audit, failures: Arc::default(), is_tls }
    }

    /// The refusal of a wrong secret: after many from one place, it has to wait.
    pub(crate) fn refuse(&self, from: Option<SocketAddr>, refusal: Problem) -> Problem {
        match self.failures.count(from) {
            Ok(()) => refusal,
            Err(wait) => Problem::too_many_failures(wait),
        }
    }
}

impl Known {
    pub fn access(&self) -> &Access {
        &self.token.access
    }

    /// Whether this may be done to an object; the problem says what is missing.
    pub fn check(&self, verb: Verb, key: &galley::ObjectKey) -> Result<(), Problem> {
        let wish = Wish { verb, kind: Some(key.kind.as_str()), namespace: Some(&key.namespace) };
        self.access().check(&wish).map_err(Problem::forbidden)
    }

    /// The namespaces that the token is for; none is all.
    pub fn namespaces(&self) -> &[String] {
        &self.access().scopes.namespaces
    }

    /// Whether what is in a namespace is shown.
    pub fn sees(&self, namespace: &str) -> bool {
        self.namespaces().is_empty() || self.namespaces().iter().any(|own| own == namespace)
    }

    pub fn may(&self, verb: Verb, key: &galley::ObjectKey) -> bool {
        self.check(verb, key).is_ok()
    }
}

pub async fn require(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let from = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0.0);
    let path = request.uri().path();
    let path = path.strip_prefix("/api/v1").unwrap_or(path).to_owned();
    // Who begins a session is not known yet.
    if path == "/_session" && request.method() == Method::POST {
        return next.run(request).await;
    }
    let known = match identify(&state, request.headers(), request.method()).await {
        Ok(known) => known,
        Err(problem) => {
            log::stranger(&state, &request, from);
            let problem = if problem.status == 401 { state.door.refuse(from, problem) } else { problem };
            return problem.into_response();
        }
    };
    let asked = log::Asked::of(&request, &path, from);
    if let Some(problem) = asked.means_nothing(request.uri().query()) {
        return problem.into_response();
    }
    let allowed = needs::check(&state, &known, &path, request).await;
    let (targets, forwarded) = match allowed {
        Ok(allowed) => allowed,
        Err(problem) => {
            state.door.audit.write(asked.record(&known, &problem.status.to_string())).await;
            return problem.into_response();
        }
    };
    request = forwarded;
    if asked.changes
        && let Some(failure) = state.door.audit.failure()
    {
        state.door.audit.write(asked.record(&known, "503")).await;
        if state.door.audit.failure().is_some() {
            return Problem::internal(format!(
                "nothing can be changed while the audit log cannot be written: {failure}"
            ))
            .into_response();
        }
    }
    // For whom somebody acts is taken from administrators of the whole mesh only: others are who they are.
    if known.access().check(&citadel::Wish { verb: Verb::ManageAccess, kind: None, namespace: None }).is_err() {
        request.headers_mut().remove(AUTHOR);
    }
    request.extensions_mut().insert(Caller(known.token.name.clone()));
    request.extensions_mut().insert(known.clone());
    let before = log::revision(&state, &targets);
    let were = asked.writes().then(|| change::Before::of(&state, &targets));
    let response = next.run(request).await;
    let diff = were.filter(|_| response.status().is_success()).map(|were| were.diff(&state)).unwrap_or_default();
    let told = log::Told { status: response.status(), noted: response.extensions().get().cloned(), diff };
    log::answered(&state, &known, &asked, &targets, before, told).await;
    stream::while_known(&state, known, response)
}

async fn identify(state: &State, headers: &HeaderMap, method: &Method) -> Result<Known, Problem> {
    if let Some(text) = bearer(headers) {
        let token = state.api_tokens.verify(text).await.map_err(refusal)?;
        return Ok(Known { token, session: None });
    }
    let Some(cookie) = cookie(headers) else {
        return Err(Problem::unauthorized(
            "send the mesh's API token as `authorization: Bearer weft_pat_…`; it is in the data directory, in the file \
             `token`",
        ));
    };
    let session = state.door.sessions.find(cookie).await.map_err(|error| match error {
        SessionError::Over => Problem::unauthorized(error),
        other => Problem::internal(other),
    })?;
    let sent = headers.get(CSRF).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !matches!(*method, Method::GET | Method::HEAD) && !session.is_own_page(sent) {
        return Err(Problem::forbidden(format!("a change with the session's cookie needs the header {CSRF}")));
    }
    Ok(Known { token: session.token.clone(), session: Some(session) })
}

pub fn refusal(error: ApiTokenError) -> Problem {
    match error {
        ApiTokenError::Store(_) | ApiTokenError::Randomness(_) => Problem::internal(error),
        ApiTokenError::Refused(words) => Problem::malformed(words),
        refused => Problem::unauthorized(refused),
    }
}

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Whose ID a wrong token has, if it is one of ours.
async fn known_id(tokens: &ApiTokens, headers: &HeaderMap) -> Option<String> {
    let id = ApiTokens::id_in(bearer(headers)?)?.to_owned();
    tokens.is_known(&id).await.then_some(id)
}
