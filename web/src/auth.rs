//! Lets in who presents an API token.

use axum::extract::{Request, State as Shared};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use citadel::ApiTokenError;

use crate::problem::Problem;
use crate::state::State;

/// The name of the token that a request came with: who asks, as far as the API knows.
#[derive(Clone, Debug)]
pub struct Caller(pub String);

pub async fn require(Shared(state): Shared<State>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let text = bearer(&request).ok_or_else(|| {
        Problem::unauthorized("send the mesh's API token as `authorization: Bearer weft_pat_…`; it is in the data directory, in the file `token`")
    })?;
    let token = state.api_tokens.verify(text).await.map_err(|error| match error {
        ApiTokenError::Store(_) | ApiTokenError::Randomness(_) => Problem::internal(error),
        refused => Problem::unauthorized(refused),
    })?;
    request.extensions_mut().insert(Caller(token.name));
    Ok(next.run(request).await)
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
