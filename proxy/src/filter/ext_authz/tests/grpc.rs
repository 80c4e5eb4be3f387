//! A gRPC service.

use api::envoy::config::core::v3 as core;
use api::envoy::service::auth::v3 as wire;
use api::google::rpc;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use wire::authorization_server::{Authorization, AuthorizationServer};
use wire::check_response::HttpResponse;
use wire::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};

use super::*;

#[derive(Clone)]
struct Service {
    answer: Result<CheckResponse, Status>,
    asked: Asked<CheckRequest>,
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        self.answer.clone().map(Response::new)
    }
}

struct Authorized {
    proxy: Proxy,
    asked: Asked<CheckRequest>,
}

impl Authorized {
    async fn start(answer: Result<CheckResponse, Status>, more: Value, host: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let service = AuthorizationServer::new(Service { answer, asked: Arc::clone(&asked) });
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let config = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "z"}, "timeout": "20s"}});
        let chain = vec![ext_authz(config, more)];
        Self { proxy: Proxy::with_clusters(chain, host, &[("z", address, http2())]).await, asked }
    }

    fn asked(&self) -> Vec<CheckRequest> {
        self.asked.lock().unwrap().clone()
    }
}

fn option(name: &str, value: &str, append: Option<bool>) -> core::HeaderValueOption {
    #[expect(deprecated, reason = "services in use still set `append`")]
    core::HeaderValueOption {
        header: Some(core::HeaderValue { key: name.into(), value: value.into(), ..Default::default() }),
        append,
        ..Default::default()
    }
}

fn says(code: i32, http_response: Option<HttpResponse>) -> CheckResponse {
    CheckResponse { status: Some(rpc::Status { code, ..Default::default() }), http_response, dynamic_metadata: None }
}

fn ok(answer: OkHttpResponse) -> CheckResponse {
    says(0, Some(HttpResponse::OkResponse(answer)))
}

fn denial() -> DeniedHttpResponse {
    DeniedHttpResponse {
        status: Some(api::envoy::r#type::v3::HttpStatus { code: 401 }),
        headers: vec![
            option("x-why", "1", None),
            option("x-why", "2", None),
            option("content-type", "text/html", None),
        ],
        body: "<b>no</b>".into(),
    }
}

#[tokio::test]
async fn the_service_is_told_what_envoy_tells_it() {
    let settings = own(json!({"check_settings": {"context_extensions": {"a": "route", "b": "route"}}}));
    let mut host = one_route(json!({"typed_per_filter_config": settings}));
    host["typed_per_filter_config"] =
        own(json!({"check_settings": {"context_extensions": {"a": "host", "c": "host"}}}));
    let body = json!({"with_request_body": {"max_request_bytes": 5, "allow_partial_message": true}});
    let authorized = Authorized::start(Ok(says(0, None)), body, host).await;
    let answer = authorized.proxy.ask(&post("/p?q=1", "x-a: 1\r\nx-a: 2\r\nx-bin: \u{e9}\r\n", "hello world")).await;
    assert_eq!(status(&answer), 200);
    let asked = authorized.asked().remove(0).attributes.unwrap();
    let request = asked.request.unwrap();
    assert!(request.time.is_some());
    let http = request.http.unwrap();
    assert_eq!((http.method.as_str(), http.path.as_str(), http.host.as_str()), ("POST", "/p?q=1", "h"));
    assert_eq!((http.scheme.as_str(), http.protocol.as_str(), http.size), ("http", "HTTP/1.1", 11));
    assert_eq!(http.body, "hello");
    for (name, value) in [
        (":method", "POST"),
        (":path", "/p?q=1"),
        (":authority", "h"),
        (":scheme", "http"),
        ("x-a", "1,2"),
        ("content-length", "11"),
        ("x-bin", "\u{e9}"),
        ("x-envoy-auth-partial-body", "true"),
    ] {
        assert_eq!(http.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    let extensions: Vec<_> = asked.context_extensions.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(extensions, [("a", "route"), ("b", "route"), ("c", "host")]);
    let port = |peer: Option<wire::attribute_context::Peer>| {
        let Some(core::address::Address::SocketAddress(socket)) = peer.unwrap().address.unwrap().address else {
            panic!("a socket")
        };
        socket.port_specifier
    };
    let own = core::socket_address::PortSpecifier::PortValue(authorized.proxy.address.port().into());
    assert_eq!(port(asked.destination), Some(own));
    assert!(port(asked.source).is_some());
}

/// CVE-2023-27488.
#[tokio::test]
async fn what_is_no_text_is_told_as_such_and_never_lets_a_request_through() {
    let denied = says(7, None);
    let authorized = Authorized::start(Ok(denied), json!({}), one_route(json!({}))).await;
    let mut request = b"GET / HTTP/1.1\r\nhost: h\r\nx-bin: a".to_vec();
    request.extend_from_slice(&[0xff, 0xfe]);
    request.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    let answer = authorized.proxy.ask_bytes(&request).await;
    assert_eq!(status(&answer), 403);
    let http = authorized.asked().remove(0).attributes.unwrap().request.unwrap().http.unwrap();
    assert_eq!(http.headers.get("x-bin").map(String::as_str), Some("a!!"));
    assert!(authorized.proxy.seen().is_empty());
}

#[tokio::test]
async fn raw_headers_are_told_one_by_one() {
    let raw = json!({"encode_raw_headers": true, "allowed_headers": {"patterns": [{"prefix": "x-"}]},
        "disallowed_headers": {"patterns": [{"exact": "x-secret"}]}});
    let authorized = Authorized::start(Ok(says(0, None)), raw, one_route(json!({}))).await;
    authorized.proxy.get("/", "x-a: 1\r\nx-a: 2\r\nx-secret: s\r\n").await;
    let http = authorized.asked().remove(0).attributes.unwrap().request.unwrap().http.unwrap();
    assert!(http.headers.is_empty());
    let told: Vec<_> = http.header_map.unwrap().headers.into_iter().map(|h| (h.key, h.raw_value)).collect();
    let of =
        |name: &str| told.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect::<Vec<_>>();
    assert_eq!(of("x-a"), [b"1".to_vec(), b"2".to_vec()]);
    assert!(of("x-secret").is_empty() && of(":path").is_empty(), "{told:?}");
}

#[tokio::test]
async fn an_allowed_request_is_changed_as_the_service_says() {
    let answer = OkHttpResponse {
        headers: vec![
            option("x-set", "new", None),
            option("x-join", "new", Some(true)),
            option("x-absent", "new", Some(true)),
            option("x-two", "1", None),
            option("x-two", "2", None),
            option(":path", "/new?q=1&z=2", None),
            option("host", "other", None),
            option("x-evil", "a\r\nb: c", None),
        ],
        headers_to_remove: vec!["X-Gone".into(), "host".into(), ":path".into()],
        response_headers_to_add: vec![
            option("x-r", "1", None),
            option("x-r", "2", None),
            option("content-length", "9", None),
        ],
        query_parameters_to_set: vec![core::QueryParameter { key: "q".into(), value: "9".into() }],
        query_parameters_to_remove: vec!["z".into()],
        ..Default::default()
    };
    let authorized = Authorized::start(Ok(ok(answer)), json!({}), one_route(json!({}))).await;
    let answer = authorized.proxy.get("/old", "x-set: old\r\nx-join: old\r\nx-gone: 1\r\n").await;
    assert!(answer.contains("x-r: 1\r\n") && answer.contains("x-r: 2\r\n"), "{answer}");
    assert_eq!(body(&answer), "ok");
    let seen = authorized.proxy.seen().remove(0);
    assert!(seen.starts_with("GET /new?q=9 HTTP/1.1\r\nhost: other\r\n"), "{seen}");
    for line in ["x-set: new", "x-join: old,new", "x-two: 2"] {
        assert!(seen.contains(&format!("{line}\r\n")), "{line} in {seen}");
    }
    for name in ["x-gone", "x-absent", "x-evil", "x-two: 1"] {
        assert!(!seen.contains(name), "{name} in {seen}");
    }
}

#[tokio::test]
async fn a_denied_request_is_answered_as_the_service_says() {
    let denied = says(7, Some(HttpResponse::DeniedResponse(denial())));
    let authorized = Authorized::start(Ok(denied), json!({}), one_route(json!({}))).await;
    let answer = authorized.proxy.get("/", "").await;
    assert_eq!((status(&answer), body(&answer)), (401, "<b>no</b>"));
    for line in ["x-why: 1", "x-why: 2", "content-type: text/html"] {
        assert!(answer.contains(&format!("{line}\r\n")), "{line} in {answer}");
    }
    let plain = Authorized::start(Ok(says(16, None)), json!({}), one_route(json!({}))).await;
    let answer = plain.proxy.get("/", "").await;
    assert_eq!((status(&answer), body(&answer)), (403, ""));
    assert!(authorized.proxy.seen().is_empty() && plain.proxy.seen().is_empty());
}

#[tokio::test]
async fn a_failure_is_a_refusal_unless_it_may_pass() {
    let failing = || Err(Status::unavailable("down"));
    let refused = Authorized::start(failing(), json!({"status_on_error": {"code": 503}}), one_route(json!({}))).await;
    assert_eq!(status(&refused.proxy.get("/", "").await), 503);
    let passes = json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true});
    let passed = Authorized::start(failing(), passes.clone(), one_route(json!({}))).await;
    assert_eq!(status(&passed.proxy.get("/", "").await), 200);
    assert!(passed.proxy.seen()[0].contains("x-envoy-auth-failure-mode-allowed: true\r\n"));
    let error = says(13, Some(HttpResponse::ErrorResponse(DeniedHttpResponse { status: None, ..denial() })));
    let told = Authorized::start(Ok(error.clone()), json!({}), one_route(json!({}))).await;
    let answer = told.proxy.get("/", "").await;
    assert_eq!((status(&answer), body(&answer)), (403, "<b>no</b>"));
    let passed = Authorized::start(Ok(error), passes.clone(), one_route(json!({}))).await;
    assert_eq!(status(&passed.proxy.get("/", "").await), 200);
    let denied = Authorized::start(Ok(says(7, None)), passes, one_route(json!({}))).await;
    assert_eq!(status(&denied.proxy.get("/", "").await), 403, "a refusal is no failure");
}

#[tokio::test]
async fn a_service_that_is_away_or_silent_lets_nothing_through() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = || json!({"grpc_service": {"envoy_grpc": {"cluster_name": "z"}, "timeout": "0.05s"}});
    for address in [free(), silent.local_addr().unwrap()] {
        let chain = vec![ext_authz(config(), json!({}))];
        let proxy = Proxy::with_clusters(chain, one_route(json!({})), &[("z", address, http2())]).await;
        assert_eq!(status(&proxy.get("/", "").await), 403);
        assert!(proxy.seen().is_empty());
    }
    let chain = vec![ext_authz(config(), json!({}))];
    let proxy = Proxy::start(chain, one_route(json!({}))).await;
    assert_eq!(status(&proxy.get("/", "").await), 403, "the cluster does not exist");
}

#[tokio::test]
async fn bodies_are_shown_up_to_a_size_and_go_on_whole() {
    let raw = json!({"with_request_body": {"max_request_bytes": 8, "pack_as_bytes": true}});
    let settings = own(json!({"check_settings": {"disable_request_body_buffering": true}}));
    let host = json!({"name": "n", "domains": ["*"], "routes": [
        {"match": {"prefix": "/unseen"}, "route": {"cluster": "c"}, "typed_per_filter_config": settings},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}}]});
    let authorized = Authorized::start(Ok(says(0, None)), raw, host).await;
    assert_eq!(status(&authorized.proxy.ask(&post("/", "", "12345678")).await), 200);
    assert_eq!(status(&authorized.proxy.ask(&post("/unseen", "", "123456789")).await), 200);
    let answer = authorized.proxy.ask(&post("/", "", "123456789")).await;
    assert_eq!((status(&answer), body(&answer)), (413, "Payload Too Large"));
    let asked = authorized.asked();
    let bodies = asked.iter().map(|asked| {
        let http = asked.attributes.clone().unwrap().request.unwrap().http.unwrap();
        (http.body, http.raw_body)
    });
    assert_eq!(bodies.collect::<Vec<_>>(), [(String::new(), b"12345678".to_vec()), (String::new(), Vec::new())]);
}

#[tokio::test]
async fn routes_turn_it_off_and_changes_may_lead_elsewhere() {
    let answer = OkHttpResponse { headers: vec![option("x-group", "beta", None)], ..Default::default() };
    let host = json!({"name": "n", "domains": ["*"], "routes": [
        {"match": {"prefix": "/off"}, "route": {"cluster": "c"}, "typed_per_filter_config": own(json!({"disabled": true}))},
        {"match": {"prefix": "/", "headers": [{"name": "x-group", "string_match": {"exact": "beta"}}]},
            "direct_response": {"status": 203}},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}}]});
    let stays = Authorized::start(Ok(ok(answer.clone())), json!({}), host.clone()).await;
    assert_eq!(status(&stays.proxy.get("/", "").await), 200);
    let moves = Authorized::start(Ok(ok(answer)), json!({"clear_route_cache": true}), host).await;
    assert_eq!(status(&moves.proxy.get("/", "").await), 203);
    assert_eq!(status(&moves.proxy.get("/off", "").await), 200);
    assert_eq!(moves.asked().len(), 1);
}

#[tokio::test]
async fn changes_that_no_message_can_carry_end_the_request_if_they_are_looked_at() {
    let answer = OkHttpResponse { headers: vec![option("x", "a\r\nb: c", None)], ..Default::default() };
    let looked = Authorized::start(Ok(ok(answer)), json!({"validate_mutations": true}), one_route(json!({}))).await;
    assert_eq!(status(&looked.proxy.get("/", "").await), 500);
    assert!(looked.proxy.seen().is_empty());
}

#[tokio::test]
async fn a_share_of_requests_is_looked_at_and_the_others_pass_or_not() {
    let none = json!({"default_value": {"numerator": 0}});
    let denied = || Ok(says(7, None));
    let off = Authorized::start(denied(), json!({"filter_enabled": none}), one_route(json!({}))).await;
    assert_eq!(status(&off.proxy.get("/", "").await), 200);
    let flag = json!({"default_value": true, "runtime_key": "x"});
    let shut = json!({"filter_enabled": none, "deny_at_disable": flag});
    let shut = Authorized::start(denied(), shut, one_route(json!({}))).await;
    assert_eq!(status(&shut.proxy.get("/", "").await), 403);
    assert!(off.asked().is_empty() && shut.asked().is_empty());
}
