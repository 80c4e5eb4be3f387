//! The console: the files that `web/console` was built into, carried in the binary and compressed beforehand.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use crate::problem::Problem;

/// One file of the console.
struct Asset {
    name: &'static str,
    /// Changes with the content.
    tag: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

/// Sorted by name; empty if the console was not built before the binary.
const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/console.rs"));

const INDEX: &str = "index.html";
/// Below here a name has a hash of the content in it.
const IMMUTABLE: &str = "assets/";
/// Nothing but our own files and our own API; no page may frame the console.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// What every path that nothing else takes is answered with: a file of the console, its page for paths that the page
/// itself knows what to do with, or a problem for programs.
pub async fn fallback(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if !matches!(method, Method::GET | Method::HEAD) || path.starts_with("api/") || path.starts_with("v1/") {
        return nowhere();
    }
    if let Some(asset) = find(path) {
        return answer(asset, &headers);
    }
    if !path.is_empty() && (path.starts_with(IMMUTABLE) || !wants_page(&headers)) {
        return nowhere();
    }
    match find(INDEX) {
        Some(page) => answer(page, &headers),
        None => guarded(Html(include_str!("console/unbuilt.html")).into_response()),
    }
}

fn nowhere() -> Response {
    Problem::not_found("there is no such path; `GET /api/v1/openapi.json` tells which there are").into_response()
}

fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.binary_search_by(|asset| asset.name.cmp(name)).ok().and_then(|at| ASSETS.get(at))
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let (body, coding) = coded(asset, headers);
    // RFC 9110 8.8.3.3: forms that differ in their coding differ in their tags.
    let tag = format!("\"{}{}\"", asset.tag, coding.map_or(String::new(), |name| format!("-{name}")));
    let fresh = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = fresh.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    let mut response = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let caching = match asset.name.starts_with(IMMUTABLE) {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(asset.name)));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    if let Some(coding) = coding {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    guarded(response)
}

/// The smallest form that the client takes.
fn coded(asset: &Asset, headers: &HeaderMap) -> (&'static [u8], Option<&'static str>) {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes = |name: &str| {
        accepted.split(',').filter_map(|part| part.split_once(';').or(Some((part, "")))).any(|(coding, quality)| {
            let refused = matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            coding.trim().eq_ignore_ascii_case(name) && !refused
        })
    };
    if let Some(body) = asset.brotli.filter(|_| takes("br")) {
        return (body, Some("br"));
    }
    if let Some(body) = asset.gzip.filter(|_| takes("gzip")) {
        return (body, Some("gzip"));
    }
    (asset.plain, None)
}

fn guarded(mut response: Response) -> Response {
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
