//! gzip for whoever takes it, where it is worth it. A stream of events is never touched.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::problem::Problem;

/// Below this the packet is the same.
const WORTH_IT: u64 = 1024;
/// Fast: this is a control plane, not an archive.
const LEVEL: u32 = 1;

pub(crate) async fn gzip(request: Request, next: Next) -> Response {
    let wanted = request.method() != Method::HEAD && takes_gzip(request.headers());
    let response = next.run(request).await;
    let size = response.body().size_hint();
    // Only a body that is there whole is compressed.
    if !wanted || size.exact().is_none_or(|size| size < WORTH_IT) || !is_text(response.headers()) {
        return response;
    }
    compress(response).await
}

async fn compress(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::NOT_MODIFIED || parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let packed = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(LEVEL));
            encoder.write_all(&bytes).and_then(|()| encoder.finish()).map_err(Problem::internal)
        }
        Err(error) => Err(Problem::internal(error)),
    };
    match packed {
        Ok(packed) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
            Response::from_parts(parts, Body::from(packed))
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whether gzip is named, and not with a quality of 0 (RFC 9110 section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(";q=").unwrap_or((coding, "1"));
        name.trim().eq_ignore_ascii_case("gzip") && quality.trim().parse().is_ok_and(|quality: f32| quality > 0.0)
    })
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = crate::extract::media_type(headers);
    crate::extract::is_json(&kind)
        || matches!(kind.as_str(), "text/html" | "text/plain" | "text/css")
        || kind.ends_with("javascript")
        || kind == "image/svg+xml"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_asks_for_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("gzip") && takes("br, GZIP;q=0.5"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes_gzip(&HeaderMap::new()));
    }
}
