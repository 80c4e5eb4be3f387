//! Entity tags of what is read: an answer without one of its own gets one made of its content, and whoever has it
//! already is told so (RFC 9110 section 13.1.2).

use std::hash::{DefaultHasher, Hasher as _};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

pub(crate) async fn answer(request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return next.run(request).await;
    }
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if response.status() != StatusCode::OK || response.body().size_hint().exact().is_none() {
        return response;
    }
    let response = match tagged(response).await {
        Ok(response) => response,
        Err(problem) => return problem.into_response(),
    };
    match known {
        Some(known) if matches(&known, response.headers()) => not_modified(response),
        _ => response,
    }
}

async fn tagged(response: Response) -> Result<Response, Problem> {
    if response.headers().contains_key(header::ETAG) {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(Problem::internal)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"c{:016x}\"", hasher.finish())) {
        parts.headers.insert(header::ETAG, tag);
    }
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn matches(known: &HeaderValue, headers: &HeaderMap) -> bool {
    let (Ok(known), Some(Ok(tag))) = (known.to_str(), headers.get(header::ETAG).map(HeaderValue::to_str)) else {
        return false;
    };
    names(known, tag)
}

/// Whether a list of tags names this one. Weakness does not matter when something is read.
pub(crate) fn names(list: &str, tag: &str) -> bool {
    let same = |listed: &str| listed == "*" || listed.trim_start_matches("W/") == tag.trim_start_matches("W/");
    list.split(',').map(str::trim).any(same)
}

fn not_modified(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}
