//! Requests with tokens good and bad through a proxy, and the answers that Envoy gives to them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::filter::test_kit::{Proxy, filter, one_route, refusal};
use crate::jwt::test_kit::{raw_token, secret_key, set, token};

mod remote;
mod requirements;

const RULE: &str = "provider_name";

/// A provider of this issuer, with these settings besides.
fn provider(issuer: &str, settings: Value) -> Value {
    let mut provider = json!({"issuer": issuer, "local_jwks": {"inline_string": set(secret_key()).to_string()}});
    for (name, value) in settings.as_object().unwrap() {
        provider[name] = value.clone();
    }
    provider
}

fn jwt_authn(config: Value) -> Value {
    filter("jwt", "http.jwt_authn.v3.JwtAuthentication", config)
}

/// A proxy that lets through what has a token of the issuer `me`.
async fn guarded(settings: Value) -> Proxy {
    let config = json!({"providers": {"p": provider("me", settings)},
        "rules": [{"match": {"prefix": "/open"}}, {"match": {"prefix": "/"}, "requires": {RULE: "p"}}]});
    Proxy::start(vec![jwt_authn(config)], one_route(json!({}))).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn mine(mut claims: Value) -> String {
    claims["iss"] = "me".into();
    token("HS256", &claims)
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Status and body of an answer.
fn outcome(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn refused(text: &str) -> (u16, String) {
    (401, text.to_owned())
}

#[tokio::test]
async fn a_request_without_a_token_is_told_where_one_is_needed() {
    let proxy = guarded(json!({})).await;
    let answer = proxy.get("/p?q=1", "").await;
    assert_eq!(outcome(&answer), refused("Jwt is missing"));
    assert!(answer.contains("www-authenticate: Bearer realm=\"http://h/p?q=1\"\r\n"), "{answer}");
    let answer = proxy.get("/", &bearer("a.b")).await;
    assert!(answer.contains("www-authenticate: Bearer realm=\"http://h/\", error=\"invalid_token\"\r\n"), "{answer}");
    assert_eq!(outcome(&proxy.get("/open", "").await).0, 200);
    assert_eq!(proxy.seen().len(), 1);
}

/// ISTIO-SECURITY-2019-002.
#[tokio::test]
async fn each_fault_of_a_token_has_its_answer() {
    let proxy = guarded(json!({"audiences": ["https://shop/", "b"]})).await;
    let of = |claims: Value| mine(claims);
    let raw = |payload: &str| raw_token(r#"{"alg":"HS256"}"#, payload, "HS256");
    for (token, expected) in [
        (of(json!({"exp": 1, "aud": "b"})), refused("Jwt is expired")),
        (of(json!({"nbf": now() + 1000, "aud": "b"})), refused("Jwt not yet valid")),
        (of(json!({"exp": "1"})), refused("Jwt payload [exp] field is not an integer")),
        (raw(r#"{"iss":"me","exp":1e400}"#), refused("Jwt payload is an invalid JSON")),
        (raw(r#"{"iss":"me","iss":"me"}"#), refused("Jwt payload is an invalid JSON")),
        (token("HS256", &json!({"iss": "you"})), refused("Jwt issuer is not configured")),
        (token("HS256", &json!({})), refused("Jwt issuer is not configured")),
        (token("RS256", &json!({"iss": "me", "aud": "b"})), refused("Jwt verification fails")),
        (of(json!({"aud": "c"})), (403, "Audiences in Jwt are not allowed".to_owned())),
        (of(json!({})), (403, "Audiences in Jwt are not allowed".to_owned())),
        (of(json!({"aud": "http://shop"})), (200, "ok".to_owned())),
        (of(json!({"aud": ["c", "b/"], "exp": now() - 5})), (200, "ok".to_owned())),
        (format!("{}!", of(json!({"aud": "b"}))), refused("Jwt signature is an invalid Base64url encoded")),
        (
            "a".repeat(50_000),
            refused("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ),
    ] {
        assert_eq!(outcome(&proxy.get("/", &bearer(&token)).await), expected, "{token:.60}");
    }
}

#[tokio::test]
async fn no_token_hides_behind_a_good_one() {
    let proxy = guarded(json!({})).await;
    let (good, bad) = (mine(json!({})), mine(json!({"exp": 1})));
    for (path, headers) in [
        (format!("/?access_token={bad}"), bearer(&good)),
        (format!("/?access_token={good}"), bearer(&bad)),
        ("/".to_owned(), format!("{}{}", bearer(&good), bearer(&bad))),
        ("/".to_owned(), format!("{}{}", bearer(&good), bearer(&good))),
    ] {
        assert_eq!(outcome(&proxy.get(&path, &headers).await).0, 401, "{path:.40}");
    }
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn the_bearer_scheme_is_spelled_as_it_is_configured() {
    let proxy = guarded(json!({})).await;
    let good = mine(json!({}));
    for (value, status) in [("Bearer  ", 200), ("bearer ", 401), ("", 401), ("Basic ", 401)] {
        let header = format!("authorization: {value}{good}\r\n");
        assert_eq!(outcome(&proxy.get("/", &header).await).0, status, "{value:?}");
    }
}

#[tokio::test]
async fn a_token_is_found_where_the_provider_says_and_taken_out() {
    let places = json!({"from_headers": [{"name": "X-Token"}], "from_params": ["t"], "from_cookies": ["c"]});
    let proxy = guarded(places).await;
    let good = mine(json!({}));
    assert_eq!(outcome(&proxy.get("/", &bearer(&good)).await).0, 401, "the default place is none any more");
    for (path, headers) in [
        ("/a".to_owned(), format!("x-token: {good}\r\n")),
        (format!("/b?x=%26&t={good}&y"), String::new()),
        ("/c".to_owned(), format!("cookie: a=b; c=\"{good}\"\r\n")),
    ] {
        assert_eq!(outcome(&proxy.get(&path, &headers).await).0, 200);
    }
    let seen = proxy.seen();
    assert!(!seen[0].contains("x-token"), "{}", seen[0]);
    assert!(seen[1].starts_with("GET /b?x=%26&y HTTP/1.1\r\n"), "{}", seen[1]);
    assert!(seen[2].contains(&good), "a cookie stays");
}

#[tokio::test]
async fn what_a_token_says_is_passed_on_and_cannot_be_forged() {
    let proxy =
        guarded(json!({"forward": true, "forward_payload_header": "x-payload", "pad_forward_payload_header": true,
        "claim_to_headers": [{"header_name": "x-sub", "claim_name": "sub"},
            {"header_name": "x-deep", "claim_name": "a.b"},
            {"header_name": "x-dotted", "claim_path": [{"key": "http://c.d"}]}]}))
        .await;
    let forged = "x-payload: forged\r\nx-sub: forged\r\nx-deep: forged\r\nx-dotted: forged\r\n";
    let good = mine(json!({"sub": "jane", "a": {"b": [1, "x"]}, "http://c.d": 1.5}));
    let payload = good.split('.').nth(1).unwrap();
    proxy.get("/", &format!("{forged}{}", bearer(&good))).await;
    proxy.get("/open", forged).await;
    let seen = proxy.seen();
    for line in ["x-sub: jane", "x-deep: WzEsIngiXQ==", "x-dotted: 1.500000", &format!("authorization: Bearer {good}")]
    {
        assert!(seen[0].contains(&format!("{line}\r\n")), "{line} in {}", seen[0]);
    }
    assert!(seen[0].contains(&format!("x-payload: {payload}")), "{}", seen[0]);
    assert!(!seen.concat().contains("forged"), "{seen:?}");
}

#[tokio::test]
async fn claims_are_written_as_envoy_writes_them() {
    let settings = json!({"claim_to_headers": [{"header_name": "x-c", "claim_name": "c"}]});
    let proxy = guarded(settings).await;
    for (claim, expected) in [
        (json!(7), Some("7")),
        (json!(-3), Some("-3.000000")),
        (json!(1e20), Some("100000000000000000000.000000")),
        (json!(true), Some("true")),
        (json!({"d": 1}), Some("eyJkIjoxfQ==")),
        (json!(null), None),
        (json!(""), None),
        (json!("a\r\nx-evil: 1"), None),
    ] {
        let before = proxy.seen().len();
        proxy.get("/", &bearer(&mine(json!({"c": claim})))).await;
        let head = &proxy.seen()[before];
        let value = head.lines().find_map(|line| line.strip_prefix("x-c: "));
        assert_eq!(value, expected, "{claim}");
        assert!(!head.contains("x-evil"), "{head}");
    }
}

#[tokio::test]
async fn lifetimes_and_subjects_are_held_to_what_the_provider_allows() {
    let long = "Jwt verification fails";
    let proxy = guarded(json!({"require_expiration": true})).await;
    assert_eq!(outcome(&proxy.get("/", &bearer(&mine(json!({})))).await), refused(long));
    let proxy = guarded(json!({"max_lifetime": "100s", "subjects": {"prefix": "spiffe://"}})).await;
    let of = |exp: u64, sub: &str| bearer(&mine(json!({"exp": exp, "sub": sub})));
    assert_eq!(outcome(&proxy.get("/", &of(now() + 50, "spiffe://a")).await).0, 200);
    assert_eq!(outcome(&proxy.get("/", &of(now() + 500, "spiffe://a")).await), refused(long));
    assert_eq!(outcome(&proxy.get("/", &of(now() + 50, "joe")).await), refused(long));
}

#[tokio::test]
async fn what_a_claim_says_may_decide_on_the_route() {
    let settings =
        json!({"clear_route_cache": true, "claim_to_headers": [{"header_name": "x-group", "claim_name": "g"}]});
    let config = json!({"providers": {"p": provider("me", settings)},
        "rules": [{"match": {"prefix": "/"}, "requires": {RULE: "p"}}]});
    let host = json!({"name": "n", "domains": ["*"], "routes": [
        {"match": {"prefix": "/", "headers": [{"name": "x-group", "string_match": {"exact": "beta"}}]},
            "direct_response": {"status": 203}},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}}]});
    let proxy = Proxy::start(vec![jwt_authn(config)], host).await;
    assert_eq!(outcome(&proxy.get("/", &bearer(&mine(json!({"g": "beta"})))).await).0, 203);
    assert_eq!(outcome(&proxy.get("/", &bearer(&mine(json!({"g": "all"})))).await).0, 200);
    let forged = format!("x-group: beta\r\n{}", bearer(&mine(json!({}))));
    assert_eq!(outcome(&proxy.get("/", &forged).await).0, 200);
}

#[tokio::test]
async fn a_cached_token_is_no_longer_good_than_it_says() {
    let proxy = guarded(json!({"jwt_cache_config": {"jwt_cache_size": 10}, "clock_skew_seconds": 1})).await;
    let good = bearer(&mine(json!({})));
    for _ in 0..3 {
        assert_eq!(outcome(&proxy.get("/", &good).await).0, 200);
    }
    let mut changed = good.clone();
    changed.insert(changed.len() - 4, 'A');
    assert_eq!(outcome(&proxy.get("/", &changed).await).0, 401);
}
