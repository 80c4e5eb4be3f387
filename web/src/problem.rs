//! Errors as RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use galley::{Diagnostic, Rejection};
use serde::Serialize;
use utoipa::ToSchema;

use crate::scope;

/// Why a request was not served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    /// Stable, for programs: `rejected`, `not-found`.
    pub code: &'static str,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The trace that the request belongs to, as in its `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

/// One thing that is wrong with a document, or one warning.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Finding {
    pub severity: &'static str,
    pub code: &'static str,
    /// A JSON pointer as a fragment: `#/spec/http/0/route`.
    pub pointer: String,
    /// The same place as people write it: `spec.http[0].route`.
    pub path: String,
    pub detail: String,
    pub suggestion: Option<String>,
    pub file: String,
    /// Both count from 1; 0 is unknown.
    pub line: u32,
    pub column: u32,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl ToString) -> Self {
        let kind = format!("urn:weft:problem:{code}");
        let (status, detail) = (status.as_u16(), detail.to_string());
        Self { kind, title, status, detail, code, instance: None, trace_id: None, errors: Vec::new() }
    }

    pub fn malformed(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    pub fn unauthorized(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "An API token is needed", detail)
    }

    pub fn forbidden(detail: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed", detail)
    }

    /// Too many wrong secrets from one place.
    pub fn too_many_failures(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        let detail = format!("too many wrong tokens from this address; the next is looked at in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", "Too many wrong tokens", detail)
    }

    pub fn not_found(detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    pub fn method() -> Self {
        let detail = "this path does not take that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Wrong method", detail)
    }

    pub fn precondition(detail: impl ToString) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "It was changed meanwhile", detail)
    }

    pub fn conflict(detail: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It does not go with what is there", detail)
    }

    /// What lives in a file or in a cluster is changed there.
    pub fn held(detail: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, "held", "It lives elsewhere", detail)
    }

    pub fn gone(detail: impl ToString) -> Self {
        Self::new(StatusCode::GONE, "gone", "It is too old to go on from", detail)
    }

    pub fn too_large(detail: impl ToString) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    pub fn media_type(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is of another type", detail)
    }

    pub fn precondition_required(detail: impl ToString) -> Self {
        Self::new(StatusCode::PRECONDITION_REQUIRED, "precondition-required", "Say which revision is meant", detail)
    }

    pub fn too_many(detail: impl ToString) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail)
    }

    pub fn unprocessable(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "It cannot be done as it is said", detail)
    }

    pub fn unavailable(detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not yet", detail)
    }

    /// Who was asked did not answer in time.
    pub fn late(detail: impl ToString) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "late", "There was no answer in time", detail)
    }

    pub fn internal(detail: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The control plane failed", detail)
    }

    pub fn rejected(rejection: &Rejection) -> Self {
        if rejection.is_moved() {
            return Self::precondition(rejection);
        }
        let detail = "the configuration is not valid; nothing was changed";
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", "The configuration is rejected", detail);
        problem.errors = rejection.diagnostics.iter().map(Finding::from).collect();
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        if let Some(scope) = scope::current() {
            self.instance.get_or_insert(scope.path);
            self.trace_id.get_or_insert(scope.trace_id);
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl Finding {
    /// Leaves the pointer, where lines are of a text that its reader does not have.
    pub fn forget_line(&mut self) {
        (self.line, self.column) = (0, 0);
    }
}

impl From<&Diagnostic> for Finding {
    fn from(found: &Diagnostic) -> Self {
        Self {
            severity: if found.is_error() { "error" } else { "warning" },
            code: found.code,
            pointer: pointer(&found.path),
            path: found.path.clone(),
            detail: found.message.clone(),
            suggestion: found.suggestion.clone(),
            file: found.file.clone(),
            line: found.line,
            column: found.column,
        }
    }
}

/// `spec.http[0].route` as `#/spec/http/0/route`.
fn pointer(path: &str) -> String {
    let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty());
    parts.fold(String::from("#"), |pointer, part| pointer + "/" + &part.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_json_pointer() {
        assert_eq!(pointer("spec.http[0].route[1].weight"), "#/spec/http/0/route/1/weight");
        assert_eq!(pointer(""), "#");
    }
}
