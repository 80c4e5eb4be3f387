//! A service that speaks HTTP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

struct Authorized {
    proxy: Proxy,
    asked: Asked<String>,
}

impl Authorized {
    /// With a service that gives this answer to all requests.
    async fn start(answer: &str, service: Value, more: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let (seen, answer) = (Arc::clone(&asked), answer.to_owned());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    let Ok(byte) = stream.read_u8().await else { break };
                    request.push(byte);
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let mut config = json!({"server_uri": {"uri": "http://z/x", "cluster": "z", "timeout": "20s"}});
        for (name, value) in service.as_object().unwrap() {
            config[name] = value.clone();
        }
        let chain = vec![ext_authz(json!({"http_service": config}), more)];
        let clusters = [("z", address, json!({}))];
        Self { proxy: Proxy::with_clusters(chain, one_route(json!({})), &clusters).await, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test]
async fn the_service_sees_the_head_and_what_is_listed() {
    let service = json!({"path_prefix": "/check", "authorization_request": {
        "headers_to_add": [{"key": "X-Own", "value": "1"}, {"key": "x-a", "value": "own"}]}});
    let more = json!({"allowed_headers": {"patterns": [{"prefix": "x-"}]},
        "disallowed_headers": {"patterns": [{"exact": "x-secret"}]}});
    let authorized = Authorized::start(&answer(200, "", ""), service, more).await;
    let headers = "authorization: t\r\ncookie: c\r\nx-a: 1\r\nx-b: 1\r\nx-b: 2\r\nx-secret: s\r\n";
    assert_eq!(status(&authorized.proxy.ask(&post("/p?q=1", headers, "hello")).await), 200);
    let asked = authorized.asked().remove(0);
    assert!(asked.starts_with("POST /check/p?q=1 HTTP/1.1\r\nhost: h\r\n"), "{asked}");
    for line in ["content-length: 0", "authorization: t", "x-own: 1", "x-a: own", "x-b: 1,2"] {
        assert!(asked.contains(&format!("{line}\r\n")), "{line} in {asked}");
    }
    assert!(!asked.contains("cookie") && !asked.contains("secret") && !asked.contains("hello"), "{asked}");
}

#[tokio::test]
async fn a_body_is_sent_along_where_it_is_wanted() {
    let more = json!({"with_request_body": {"max_request_bytes": 4, "allow_partial_message": true}});
    let authorized = Authorized::start(&answer(200, "", ""), json!({"path_override": "/all"}), more).await;
    assert_eq!(status(&authorized.proxy.ask(&post("/p", "", "hello")).await), 200);
    let asked = authorized.asked().remove(0);
    assert!(asked.starts_with("POST /all HTTP/1.1\r\n") && asked.ends_with("\r\n\r\nhell"), "{asked}");
    assert!(
        asked.contains("x-envoy-auth-partial-body: true\r\n") && asked.contains("content-length: 4\r\n"),
        "{asked}"
    );
}

#[tokio::test]
async fn an_allowed_request_takes_what_is_listed() {
    let list = |name: &str| json!({"patterns": [{"exact": name}]});
    let service = json!({"authorization_response": {"allowed_upstream_headers": list("x-set"),
        "allowed_upstream_headers_to_append": list("x-join"), "allowed_client_headers_on_success": list("x-client")}});
    let headers = "x-set: new\r\nx-join: new\r\nx-client: told\r\nx-other: no\r\n\
        x-envoy-auth-headers-to-remove: x-gone, x-too\r\n";
    let authorized = Authorized::start(&answer(200, headers, "body"), service, json!({})).await;
    let answer = authorized.proxy.get("/", "x-set: old\r\nx-join: old\r\nx-gone: 1\r\nx-too: 1\r\n").await;
    assert!(answer.contains("x-client: told\r\n") && body(&answer) == "ok", "{answer}");
    let seen = authorized.proxy.seen().remove(0);
    assert!(
        seen.contains("x-set: new\r\n") && seen.contains("x-join: old\r\n") && seen.contains("x-join: new\r\n"),
        "{seen}"
    );
    for name in ["x-gone", "x-too", "x-other", "x-client"] {
        assert!(!seen.contains(name), "{name} in {seen}");
    }
}

#[tokio::test]
async fn a_refusal_goes_to_the_client_with_what_it_may_see() {
    let headers = "x-why: 1\r\nlocation: /login\r\nx-hidden: 1\r\n";
    let all = Authorized::start(&answer(302, headers, "go"), json!({}), json!({})).await;
    let told = all.proxy.get("/", "").await;
    assert_eq!((status(&told), body(&told)), (302, "go"));
    assert!(told.contains("x-why: 1") && told.contains("x-hidden: 1") && told.contains("location: /login"), "{told}");
    let some = json!({"authorization_response": {"allowed_client_headers": {"patterns": [{"exact": "x-why"}]}}});
    let some = Authorized::start(&answer(302, headers, "go"), some, json!({"max_denied_response_body_bytes": 1})).await;
    let told = some.proxy.get("/", "").await;
    assert_eq!((status(&told), body(&told)), (302, "g"));
    assert!(told.contains("x-why: 1") && !told.contains("x-hidden") && told.contains("location: /login"), "{told}");
}

#[tokio::test]
async fn a_server_error_is_a_failure() {
    let refused = Authorized::start(&answer(500, "", "oops"), json!({}), json!({})).await;
    let told = refused.proxy.get("/", "").await;
    assert_eq!((status(&told), body(&told)), (403, ""));
    let passed = Authorized::start(&answer(503, "", ""), json!({}), json!({"failure_mode_allow": true})).await;
    assert_eq!(status(&passed.proxy.get("/", "").await), 200);
    let broken = Authorized::start("nonsense\r\n\r\n", json!({}), json!({})).await;
    assert_eq!(status(&broken.proxy.get("/", "").await), 403);
}

#[tokio::test]
async fn the_service_is_asked_only_where_rules_that_are_tried_left_their_mark() {
    let refuses = [("z", free(), json!({}))];
    let tried = filter(
        "rbac",
        "http.rbac.v3.RBAC",
        json!({"shadow_rules_stat_prefix": "ask_", "shadow_rules": {"action": "DENY", "policies": {"asked-p": {
            "permissions": [{"url_path": {"path": {"prefix": "/pay"}}}], "principals": [{"any": true}]}}}}),
    );
    let marked = json!({"filter": "envoy.filters.http.rbac", "path": [{"key": "ask_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "asked-"}}});
    let service = json!({"http_service": {"server_uri": {"uri": "http://z", "cluster": "z", "timeout": "20s"}}});
    let asked = ext_authz(service, json!({"filter_enabled_metadata": marked}));
    let proxy = Proxy::with_clusters(vec![tried, asked], one_route(json!({})), &refuses).await;
    assert_eq!(status(&proxy.get("/pay/1", "").await), 403, "nobody answers");
    assert_eq!(status(&proxy.get("/read", "").await), 200);
}
