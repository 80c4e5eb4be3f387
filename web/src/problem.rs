//! Errors as RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use galley::{Diagnostic, Rejection};
use serde::Serialize;

/// Why a request was not served.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    /// Stable, for programs: `rejected`, `not-found`.
    pub code: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

/// One thing that is wrong with a document, or one warning.
#[derive(Clone, Debug, Serialize)]
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
        Self { kind, title, status: status.as_u16(), detail: detail.to_string(), code, errors: Vec::new() }
    }

    pub fn malformed(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    pub fn unauthorized(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "An API token is needed", detail)
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

    pub fn internal(detail: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The control plane failed", detail)
    }

    pub fn rejected(rejection: &Rejection) -> Self {
        let detail = "the configuration is not valid; nothing was changed";
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rejected", "The configuration is rejected", detail);
        problem.errors = rejection.diagnostics.iter().map(Finding::from).collect();
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
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
