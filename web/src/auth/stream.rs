//! A stream of events is for who began it, and so ends with that token or session; who comes back is asked anew.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use futures_util::StreamExt as _;

use super::Known;
use crate::state::State;

/// The answer, which if it is a stream ends once who asked would not be let in any more.
pub fn while_known(state: &State, known: Known, response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return response;
    }
    let (sessions, tokens) = (state.door.sessions.clone(), state.api_tokens.clone());
    let over = async move {
        match &known.session {
            Some(session) => sessions.ended(session).await,
            None => tokens.ended(&known.token.id).await,
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(over)))
}
