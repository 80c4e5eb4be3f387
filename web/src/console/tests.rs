//! How files are given to browsers and programs.

use super::*;

const SCRIPT: Asset =
    Asset { name: "assets/main-1a2b.js", tag: "77", plain: b"plain", gzip: Some(b"gzip"), brotli: Some(b"br") };

fn headers(fields: &[(header::HeaderName, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

async fn get(path: &str, fields: &[(header::HeaderName, &'static str)]) -> Response {
    fallback(Method::GET, path.parse().unwrap(), headers(fields)).await
}

#[test]
fn the_smallest_form_that_the_browser_takes_is_given() {
    let form = |accepted| coded(&SCRIPT, &headers(&[(header::ACCEPT_ENCODING, accepted)])).0;
    assert_eq!(form("gzip, deflate, br, zstd"), b"br");
    assert_eq!(form("gzip, br;q=0"), b"gzip");
    assert_eq!(form("identity"), b"plain");
    assert_eq!(coded(&SCRIPT, &HeaderMap::new()), (&b"plain"[..], None));
}

#[test]
fn a_named_file_is_kept_for_good_and_compared_by_its_tag() {
    let whole = answer(&SCRIPT, &headers(&[(header::ACCEPT_ENCODING, "br")]));
    assert_eq!(whole.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(whole.headers()[header::CONTENT_ENCODING], "br");
    assert_eq!(whole.headers()[header::ETAG], "\"77-br\"");
    let again = headers(&[(header::ACCEPT_ENCODING, "br"), (header::IF_NONE_MATCH, "\"12\", \"77-br\"")]);
    assert_eq!(answer(&SCRIPT, &again).status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_page_comes_with_a_policy_that_lets_nothing_foreign_in() {
    let page = get("/", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'self';"));
    assert!(page.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test]
async fn a_path_of_the_console_is_its_page_to_a_browser_and_nowhere_to_a_program() {
    let browser = [(header::ACCEPT, "text/html,application/xhtml+xml")];
    assert_eq!(get("/services/default/reviews", &browser).await.status(), StatusCode::OK);
    assert_eq!(get("/services/default/reviews", &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get("/api/v1/nothing", &browser).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get("/assets/gone-77.js", &browser).await.status(), StatusCode::NOT_FOUND);
}
