//! Which tokens a request needs, in all ways to say so.

use super::*;

async fn with_rules(config: Value, host: Value) -> Proxy {
    let mut all = json!({"providers": {"a": provider("a", json!({})),
        "b": provider("b", json!({"from_headers": [{"name": "x-b"}]}))}});
    for (name, value) in config.as_object().unwrap() {
        all[name] = value.clone();
    }
    Proxy::start(vec![jwt_authn(all)], host).await
}

async fn requiring(requires: Value) -> Proxy {
    with_rules(json!({"rules": [{"match": {"prefix": "/"}, "requires": requires}]}), one_route(json!({}))).await
}

fn a(claims: Value) -> String {
    bearer(&of("a", claims))
}

fn b(claims: Value) -> String {
    format!("x-b: {}\r\n", of("b", claims))
}

fn of(issuer: &str, mut claims: Value) -> String {
    claims["iss"] = issuer.into();
    token("HS256", &claims)
}

fn expired() -> Value {
    json!({"exp": 1})
}

#[tokio::test]
async fn any_of_several_is_enough_and_the_most_telling_failure_is_told() {
    let proxy = requiring(json!({"requires_any": {"requirements": [{RULE: "a"}, {RULE: "b"}]}})).await;
    let stranger = bearer(&of("c", json!({})));
    for (headers, expected) in [
        (a(json!({})), (200, "ok".to_owned())),
        (b(json!({})), (200, "ok".to_owned())),
        (format!("{}{}", a(expired()), b(json!({}))), (200, "ok".to_owned())),
        (String::new(), refused("Jwt is missing")),
        (a(expired()), refused("Jwt is expired")),
        (stranger, refused("Jwt issuer is not configured")),
    ] {
        assert_eq!(outcome(&proxy.get("/", &headers).await), expected, "{headers}");
    }
}

#[tokio::test]
async fn all_of_several_must_be_there() {
    let proxy = requiring(json!({"requires_all": {"requirements": [{RULE: "a"}, {RULE: "b"}]}})).await;
    assert_eq!(outcome(&proxy.get("/", &a(json!({}))).await), refused("Jwt is missing"));
    let both = format!("{}{}", a(json!({})), b(json!({})));
    assert_eq!(outcome(&proxy.get("/", &both).await).0, 200);
    let one_bad = format!("{}{}", a(json!({})), b(expired()));
    assert_eq!(outcome(&proxy.get("/", &one_bad).await), refused("Jwt is expired"));
}

/// CVE-2021-21378.
#[tokio::test]
async fn a_token_may_be_missing_but_not_bad() {
    let beside = json!({"requires_any": {"requirements": [{RULE: "a"}, {"allow_missing": {}}]}});
    for requires in [json!({"allow_missing": {}}), beside] {
        let proxy = requiring(requires).await;
        assert_eq!(outcome(&proxy.get("/", "").await).0, 200);
        assert_eq!(outcome(&proxy.get("/", &a(json!({}))).await).0, 200);
        assert_eq!(outcome(&proxy.get("/", &a(expired())).await), refused("Jwt is expired"));
        let stranger = bearer(&of("c", json!({})));
        assert_eq!(outcome(&proxy.get("/", &stranger).await), refused("Jwt issuer is not configured"));
        let elsewhere = bearer(&of("b", json!({})));
        assert_eq!(outcome(&proxy.get("/", &elsewhere).await), refused("Jwt issuer is not configured"));
        let hidden = format!("/?access_token={}", of("a", expired()));
        assert_eq!(outcome(&proxy.get(&hidden, &a(json!({}))).await), refused("Jwt is expired"));
    }
}

#[tokio::test]
async fn a_token_that_may_be_bad_is_taken_only_if_it_is_good() {
    let proxy = requiring(json!({"allow_missing_or_failed": {}})).await;
    for headers in [String::new(), a(expired()), bearer("x"), a(json!({}))] {
        assert_eq!(outcome(&proxy.get("/", &headers).await).0, 200, "{headers}");
    }
    let seen = proxy.seen();
    assert!(seen[1].contains("authorization") && !seen[3].contains("authorization"), "{seen:?}");
}

#[tokio::test]
async fn audiences_of_a_requirement_replace_those_of_the_provider() {
    let proxy = requiring(json!({"provider_and_audiences": {"provider_name": "a", "audiences": ["x"]}})).await;
    assert_eq!(outcome(&proxy.get("/", &a(json!({"aud": "x"}))).await).0, 200);
    assert_eq!(outcome(&proxy.get("/", &a(json!({"aud": "y"}))).await).0, 403);
}

#[tokio::test]
async fn routes_name_a_requirement_or_need_none() {
    let own = |mut config: Value| {
        config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig".into();
        json!({"jwt": config})
    };
    let route = |path: &str, own: Value| json!({"match": {"prefix": path}, "route": {"cluster": "c"}, "typed_per_filter_config": own});
    let host = json!({"name": "n", "domains": ["*"], "routes": [
        route("/off", own(json!({"disabled": true}))),
        route("/b", own(json!({"requirement_name": "needs b"}))),
        route("/wrong", own(json!({"requirement_name": "none"}))),
        route("/", json!({}))]});
    let config = json!({"requirement_map": {"needs b": {RULE: "b"}},
        "rules": [{"match": {"prefix": "/"}, "requires": {RULE: "a"}}]});
    let proxy = with_rules(config, host).await;
    assert_eq!(outcome(&proxy.get("/off", "").await).0, 200);
    assert_eq!(outcome(&proxy.get("/b", &b(json!({}))).await).0, 200);
    assert_eq!(outcome(&proxy.get("/b", &a(json!({}))).await).0, 401);
    assert_eq!(outcome(&proxy.get("/", &a(json!({}))).await).0, 200);
    let text = "Failed JWT authentication: Wrong requirement_name: none. It should be one of [needs b]";
    assert_eq!(outcome(&proxy.get("/wrong", &a(json!({}))).await), (403, text.to_owned()));
}

#[tokio::test]
async fn a_stripped_failure_says_nothing_and_preflights_pass() {
    let config = json!({"strip_failure_response": true, "bypass_cors_preflight": true,
        "rules": [{"match": {"prefix": "/"}, "requires": {RULE: "a"}}]});
    let proxy = with_rules(config, one_route(json!({}))).await;
    let answer = proxy.get("/", "").await;
    assert_eq!(outcome(&answer), refused(""));
    assert!(!answer.contains("www-authenticate"), "{answer}");
    let preflight =
        |more: &str| format!("OPTIONS / HTTP/1.1\r\nhost: h\r\norigin: o\r\n{more}connection: close\r\n\r\n");
    assert_eq!(outcome(&proxy.ask(&preflight("access-control-request-method: PUT\r\n")).await).0, 200);
    assert_eq!(outcome(&proxy.ask(&preflight("")).await).0, 401);
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let p = || json!({"p": provider("me", json!({}))});
    let rule = |requires: Value| json!([{"match": {"prefix": "/"}, "requires": requires}]);
    let remote = |uri: Value| json!({"providers": {"p": {"remote_jwks": {"http_uri": uri}}}});
    for (config, expected) in [
        (json!({"providers": p(), "rules": rule(json!({RULE: "q"}))}), "q: is not among the providers"),
        (json!({"providers": p(), "rules": rule(json!({"extract_only_without_validation": {}}))}), "extract_only"),
        (json!({"providers": p(), "filter_state_rules": {"name": "x"}}), "filter_state_rules is not supported"),
        (json!({"providers": p(), "stat_prefix": "x"}), "stat_prefix is not supported"),
        (json!({"providers": {"p": {"issuer": "x"}}}), "local_jwks: not set"),
        (json!({"providers": p(), "rules": [{"match": {"prefix": "/"}, "requirement_name": "x"}]}), "requirement_map"),
        (remote(json!({"uri": "ftp://x", "cluster": "c", "timeout": "1s"})), "begins with http:// or https://"),
        (remote(json!({"uri": "http://x", "cluster": "c"})), "timeout: not set"),
    ] {
        let told = refusal(vec![jwt_authn(config.clone())]);
        assert!(told.contains(expected), "{config}: {told}");
    }
}
