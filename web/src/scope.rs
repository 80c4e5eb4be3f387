//! What every request carries: an id, and the trace it belongs to. A problem document names both.
//!
//! `traceparent` is W3C Trace Context's; a request without one begins a trace of its own. `x-request-id` is taken from
//! the caller where it is plain, and is told in the answer.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: &str = "traceparent";
const LONGEST_ID: usize = 128;

/// The request that is being answered.
#[derive(Clone, Debug)]
pub struct Scope {
    pub request_id: String,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    pub path: String,
}

tokio::task_local! {
    static CURRENT: Scope;
}

/// The request that this task answers, if it does.
pub fn current() -> Option<Scope> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs the rest of the request inside its scope.
pub(crate) async fn enter(request: Request, next: Next) -> Response {
    let scope = Scope {
        request_id: request_id(request.headers()),
        trace_id: trace_id(request.headers()),
        path: request.uri().path().to_owned(),
    };
    let id = HeaderValue::from_str(&scope.request_id);
    let mut response = CURRENT.scope(scope, next.run(request)).await;
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn request_id(headers: &HeaderMap) -> String {
    let told = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
    told.filter(plain).map_or_else(|| format!("{:016x}", unique()), str::to_owned)
}

fn trace_id(headers: &HeaderMap) -> String {
    let told = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse);
    told.unwrap_or_else(|| format!("{:016x}{:016x}", unique(), unique()))
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, the trace id not all zero.
fn parse(traceparent: &str) -> Option<String> {
    let mut parts = traceparent.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let sizes = (version.len(), trace.len(), span.len()) == (2, 32, 16);
    let told = sizes && version != "ff" && [version, trace, span].into_iter().all(hex);
    (told && trace.bytes().any(|b| b != b'0')).then(|| trace.to_owned())
}

/// A number that no other request of this process has, and that cannot be guessed from the last.
fn unique() -> u64 {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    SEED.hash_one(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_where_it_came_from() {
        let told = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(told.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for wrong in ["", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "zz"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_that_is_no_plain_word_is_replaced() {
        let mut headers = HeaderMap::new();
        assert_ne!(request_id(&headers), request_id(&headers));
        headers.insert(REQUEST_ID, HeaderValue::from_static("a b"));
        assert_ne!(request_id(&headers), "a b");
        headers.insert(REQUEST_ID, HeaderValue::from_static("job-7"));
        assert_eq!(request_id(&headers), "job-7");
    }
}
