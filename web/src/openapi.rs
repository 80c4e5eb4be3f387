//! The OpenAPI document, made from the handlers themselves, and a page that shows it.
//!
//! What every operation has in common is added here once: the problems it may answer with, its name and its group.

mod examples;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse};
use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use crate::objects::KindName;
use crate::problem::{Finding, Problem};
use crate::router;

/// Where the document is served.
pub(crate) const PATH: &str = "/api/v1/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "weft",
        description = "The REST API of a weft control plane. Every refusal is a problem document (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, Finding, KindName)),
    security(("token" = []), ("session" = [])),
)]
struct Outline;

/// What the router begins with: title, shared schemas, ways to present oneself.
pub(crate) fn outline() -> OpenApi {
    let mut document = <Outline as utoipa::OpenApi>::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let components = document.components.get_or_insert_default();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("weft_session")));
    components.add_security_scheme("token", token);
    components.add_security_scheme("session", session);
    document
}

/// The whole document, as JSON that is the same whenever the code is.
pub fn document() -> String {
    let mut document = router::api().into_openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, method, operation);
        }
    }
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

static DOCUMENT: LazyLock<String> = LazyLock::new(document);

/// `GET /api/v1/openapi.json`
pub(crate) async fn json() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// `GET /api/docs`
pub(crate) async fn page() -> impl IntoResponse {
    let guards = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (guards, Html(include_str!("docs.html")))
}

/// Nothing but our own script and our own document.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/docs.js`
pub(crate) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("docs.js"))
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", item.get.as_mut()),
        ("put", item.put.as_mut()),
        ("post", item.post.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation?)))
}

fn complete(path: &str, method: &str, operation: &mut Operation) {
    operation.operation_id = Some(operation_id(path, method));
    let group = path.split('/').nth(3).unwrap_or_default();
    let group = if group == "{kind}" || group == "_apply" { "configuration" } else { group.trim_start_matches('_') };
    operation.tags = Some(vec![group.to_owned()]);
    exemplify(path, method, operation);
    let responses = &mut operation.responses.responses;
    for (status, words) in problems(path, method) {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(words)));
    }
}

/// Gives an operation its example. A body that holds what an earlier answer told is in the line for the shell only.
fn exemplify(path: &str, method: &str, operation: &mut Operation) {
    let example = examples::of(method, path);
    let sample = json!([{ "lang": "Shell", "label": "curl", "source": example.curl(method) }]);
    let extensions = operation.extensions.get_or_insert_default();
    extensions.merge(Extensions::builder().add("x-codeSamples", sample).build());
    let body = example.body.or_else(|| example.text.map(Value::from));
    let body = body.filter(|body| !body.to_string().contains('$'));
    if let (Some(RefOr::T(request)), Some(body)) = (operation.request_body.as_mut(), body)
        && let Some(RefOr::T(content)) = request.content.values_mut().next()
    {
        content.example = Some(body);
    }
}

/// `get /api/v1/proxies/{id}/_config` as `getProxiesIdConfig`.
fn operation_id(path: &str, method: &str) -> String {
    let words = path.split(['/', '{', '}', '_', '-', '.']).skip(3).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_uppercase() + rest
    })
}

/// What an operation may answer besides what its handler says.
fn problems(path: &str, method: &str) -> BTreeMap<&'static str, &'static str> {
    let mut all = BTreeMap::from([
        ("400", "The request cannot be read"),
        ("401", "No valid token or session was presented"),
        ("403", "The caller may not do this"),
        ("404", "There is no such thing"),
        ("405", "The path does not take this method"),
        ("429", "Too many requests; Retry-After tells when to come back"),
        ("500", "The control plane failed"),
    ]);
    if method != "get" {
        all.extend([
            ("409", "It is there already, or was changed at the same moment"),
            ("412", "It is not at the revision that If-Match names"),
            ("413", "The body is too large"),
            ("415", "The body is of a type that is not taken here"),
            ("422", "The content is not valid; `errors` names each place"),
            ("428", "If-Match or If-None-Match is needed"),
        ]);
    }
    if path.contains("{kind}") || method != "get" {
        all.insert(
            "503",
            "What this needs is out of reach (the store, the audit log, a proxy), or the control plane starts",
        );
    }
    if path.ends_with("/_stats") || path.ends_with("/_log-level") || path.contains("/registries/{name}/") {
        all.extend([
            ("422", "It cannot be asked from here"),
            ("503", "It is not connected to this control plane, or is asked too much"),
            ("504", "It does not answer in time"),
        ]);
    }
    if path.contains("{kind}") || method == "get" {
        all.insert("410", "The cursor or revision is too old; begin anew");
    }
    all
}

fn problem(words: &str) -> Response {
    let content = Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name("Problem"))));
    ResponseBuilder::new().description(words).content("application/problem+json", content).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let document = document();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &document).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == document, "web/openapi.json is old; run UPDATE=1 cargo nextest run -p web committed");
    }

    #[test]
    fn operations_are_called_by_method_and_path() {
        assert_eq!(operation_id("/api/v1/proxies/{id}/_config", "get"), "getProxiesIdConfig");
    }
}
