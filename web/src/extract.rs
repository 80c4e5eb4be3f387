//! What handlers take from a request: the query, the parts of the path, a body. What cannot be read is a problem
//! document, and a name in the query that means nothing is refused: a misspelt `dryRun` must not change anything.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::{HeaderMap, header, request};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The query. Its type refuses names it does not know.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|rejection| Problem::malformed(rejection.body_text()))
    }
}

/// The parts of the path that vary.
pub struct At<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|rejection| Problem::malformed(rejection.body_text()))
    }
}

/// A body that is a text.
pub struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|_| Problem::malformed("the body is not UTF-8 text"))
    }
}

/// A body that is JSON. Its type refuses fields it does not know.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = media_type(request.headers());
        if !kind.is_empty() && !is_json(&kind) && kind != "application/x-www-form-urlencoded" {
            return Err(Problem::media_type(format!("the body is {kind}; send application/json")));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        serde_json::from_slice(&bytes).map(Self).map_err(Problem::malformed)
    }
}

/// The media type of a body, in lower case and without parameters; empty if it is not said.
pub fn media_type(headers: &HeaderMap) -> String {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub fn is_json(kind: &str) -> bool {
    kind == "application/json" || kind.ends_with("+json")
}

fn unread(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("the body is larger than is taken here"),
        _ => Problem::malformed(rejection.body_text()),
    }
}
