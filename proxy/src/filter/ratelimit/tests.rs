//! Requests within and over the limits that a service keeps.

use std::sync::{Arc, Mutex};

use api::envoy::config::core::v3::HeaderValue;
use api::envoy::service::ratelimit::v3 as wire;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use wire::rate_limit_response::rate_limit::Unit;
use wire::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use wire::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use wire::{RateLimitRequest, RateLimitResponse};

use crate::filter::test_kit::{Proxy, filter, refusal};

const HTTP2: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

#[derive(Clone)]
struct Service {
    answer: Result<RateLimitResponse, Status>,
    asked: Arc<Mutex<Vec<RateLimitRequest>>>,
}

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        self.answer.clone().map(Response::new)
    }
}

struct Limited {
    proxy: Proxy,
    asked: Arc<Mutex<Vec<RateLimitRequest>>>,
}

impl Limited {
    async fn start(answer: Result<RateLimitResponse, Status>, more: Value, host: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::default();
        let service = RateLimitServiceServer::new(Service { answer, asked: Arc::clone(&asked) });
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let http2 = json!({"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
            {"@type": HTTP2, "explicit_http_config": {"http2_protocol_options": {}}}}});
        Self { proxy: Proxy::with_clusters(vec![limiter(more)], host, &[("z", address, http2)]).await, asked }
    }

    /// The domain and the descriptors of each call, as `key=value,…`.
    fn asked(&self) -> Vec<(String, Vec<String>)> {
        let text = |descriptor: &api::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor| {
            let entries = descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value));
            entries.collect::<Vec<_>>().join(",")
        };
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|one| (one.domain.clone(), one.descriptors.iter().map(text).collect())).collect()
    }
}

fn limiter(more: Value) -> Value {
    let mut config = json!({"domain": "d", "timeout": "20s", "rate_limit_service": {
        "transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "z"}}}});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    filter("limits", "http.ratelimit.v3.RateLimit", config)
}

fn says(code: Code) -> RateLimitResponse {
    RateLimitResponse { overall_code: code.into(), ..Default::default() }
}

fn key(value: &str) -> Value {
    json!({"actions": [{"generic_key": {"descriptor_value": value}}]})
}

/// A virtual host with a limit, and a route with these limits and other fields.
fn host(limits: Value, route: Value) -> Value {
    let mut one = json!({"match": {"prefix": "/"}, "route": {"cluster": "c", "rate_limits": limits}});
    for (name, value) in route.as_object().unwrap() {
        one[name] = value.clone();
    }
    json!({"name": "n", "domains": ["*"], "rate_limits": [key("host")], "routes": [
        {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}}, one]})
}

fn own(mut config: Value) -> Value {
    config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute".into();
    json!({"typed_per_filter_config": {"limits": config}})
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0)
}

fn told(values: &[(&str, &str)]) -> Vec<HeaderValue> {
    let one = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        ..Default::default()
    };
    values.iter().map(one).collect()
}

#[tokio::test]
async fn the_route_and_its_virtual_host_say_what_is_counted() {
    for (limits, route, more, expected) in [
        (json!([key("route")]), json!({}), json!({}), vec!["generic_key=route"]),
        (json!([]), json!({}), json!({}), vec!["generic_key=host"]),
        (
            json!([key("route")]),
            own(json!({"vh_rate_limits": "INCLUDE"})),
            json!({}),
            vec!["generic_key=route", "generic_key=host"],
        ),
        (json!([]), own(json!({"vh_rate_limits": "IGNORE"})), json!({}), vec![]),
        (json!([key("route")]), json!({}), json!({"rate_limits": [key("filter")]}), vec!["generic_key=filter"]),
        (json!([key("route")]), own(json!({"rate_limits": [key("own")]})), json!({}), vec!["generic_key=own"]),
        (json!([key("route")]), json!({}), json!({"stage": 1}), vec![]),
    ] {
        let limited = Limited::start(Ok(says(Code::Ok)), more, host(limits, route)).await;
        assert_eq!(status(&limited.proxy.get("/", "").await), 200);
        let asked: Vec<String> = limited.asked().into_iter().flat_map(|(_, descriptors)| descriptors).collect();
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn a_call_names_the_domain_and_each_descriptor_whole() {
    let limit = json!({"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}},
        {"destination_cluster": {}}], "limit": {"rate_limit": {"requests_per_unit": 7, "unit": "HOUR"}}});
    let limited =
        Limited::start(Ok(says(Code::Ok)), json!({}), host(json!([limit]), own(json!({"domain": "e"})))).await;
    assert_eq!(status(&limited.proxy.get("/", "").await), 200);
    assert!(limited.asked().is_empty(), "without the header there is nothing to ask");
    assert_eq!(status(&limited.proxy.get("/direct", "x-user: jane\r\n").await), 204);
    assert!(limited.asked().is_empty(), "what goes to no cluster is not limited");
    limited.proxy.get("/", "x-user: jane\r\n").await;
    assert_eq!(limited.asked(), [("e".to_owned(), vec!["user=jane,destination_cluster=c".to_owned()])]);
    let asked = limited.asked.lock().unwrap().remove(0).descriptors.remove(0).limit.unwrap();
    assert_eq!((asked.requests_per_unit, asked.unit), (7, 3));
}

#[tokio::test]
async fn a_request_over_the_limit_is_answered_here() {
    let status_of = |code, requests, unit: Unit, left, seconds, name: &str| DescriptorStatus {
        code: i32::from(code),
        current_limit: Some(RateLimit { name: name.into(), requests_per_unit: requests, unit: unit.into() }),
        limit_remaining: left,
        duration_until_reset: Some(api::prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let mut answer = says(Code::OverLimit);
    answer.statuses = vec![
        status_of(Code::Ok, 1000, Unit::Hour, 500, 1800, ""),
        status_of(Code::OverLimit, 10, Unit::Second, 0, 1, "per-ip"),
    ];
    answer.response_headers_to_add = told(&[("x-service", "told")]);
    answer.raw_body = b"slow down".to_vec();
    let more = json!({"enable_x_ratelimit_headers": "DRAFT_VERSION_03", "enable_retry_after_header": true,
        "response_headers_to_add": [{"header": {"key": "x-own", "value": "%REQ(:path)%"}}]});
    let limited = Limited::start(Ok(answer), more, host(json!([key("a")]), json!({}))).await;
    let answer = limited.proxy.get("/p", "").await;
    assert_eq!(status(&answer), 429);
    assert!(answer.ends_with("\r\n\r\nslow down"), "{answer}");
    for line in [
        "x-envoy-ratelimited: true",
        "x-service: told",
        "x-own: /p",
        "retry-after: 1",
        "x-ratelimit-limit: 10, 1000;w=3600, 10;w=1;name=\"per-ip\"",
        "x-ratelimit-remaining: 0",
        "x-ratelimit-reset: 1",
    ] {
        assert!(answer.contains(&format!("{line}\r\n")), "{line} in {answer}");
    }
    assert!(limited.proxy.seen().is_empty());
}

#[tokio::test]
async fn the_answer_over_the_limit_is_as_configured() {
    let limits = || host(json!([key("a")]), json!({}));
    let more = json!({"disable_x_envoy_ratelimited_header": true, "rate_limited_status": {"code": 503}});
    let limited = Limited::start(Ok(says(Code::OverLimit)), more, limits()).await;
    let answer = limited.proxy.get("/", "").await;
    assert!(status(&answer) == 503 && !answer.contains("x-envoy-ratelimited"), "{answer}");
    let low = Limited::start(Ok(says(Code::OverLimit)), json!({"rate_limited_status": {"code": 200}}), limits()).await;
    assert_eq!(status(&low.proxy.get("/", "").await), 429);
    let grpc = "content-type: application/grpc\r\n";
    assert!(low.proxy.get("/", grpc).await.contains("grpc-status: 14\r\n"));
    let exhausted = json!({"rate_limited_as_resource_exhausted": true});
    let exhausted = Limited::start(Ok(says(Code::OverLimit)), exhausted, limits()).await;
    assert!(exhausted.proxy.get("/", grpc).await.contains("grpc-status: 8\r\n"));
    let shadow = json!({"filter_enforced": {"default_value": {"numerator": 0}}});
    let shadow = Limited::start(Ok(says(Code::OverLimit)), shadow, limits()).await;
    assert_eq!(status(&shadow.proxy.get("/", "").await), 200);
    assert_eq!(shadow.asked().len(), 1);
}

#[tokio::test]
async fn a_request_within_the_limit_takes_the_services_headers_along() {
    let mut answer = says(Code::Ok);
    answer.response_headers_to_add = told(&[("x-client", "told"), ("x-evil", "a\r\nb: c")]);
    answer.request_headers_to_add = told(&[("x-upstream", "told")]);
    let limited = Limited::start(Ok(answer), json!({}), host(json!([key("a")]), json!({}))).await;
    let answer = limited.proxy.get("/", "").await;
    assert!(status(&answer) == 200 && answer.contains("x-client: told\r\n") && !answer.contains("x-evil"), "{answer}");
    assert!(limited.proxy.seen()[0].contains("x-upstream: told\r\n"));
}

#[tokio::test]
async fn a_failing_service_lets_requests_through_unless_told_otherwise() {
    let limits = || host(json!([key("a")]), json!({}));
    for answer in [Err(Status::unavailable("down")), Ok(says(Code::Unknown))] {
        let open = Limited::start(answer.clone(), json!({}), limits()).await;
        assert_eq!(status(&open.proxy.get("/", "").await), 200);
        let shut = Limited::start(answer.clone(), json!({"failure_mode_deny": true}), limits()).await;
        assert_eq!(status(&shut.proxy.get("/", "").await), 500);
        let percent = json!({"failure_mode_deny_percent": {"default_value": {"numerator": 100}},
            "status_on_error": {"code": 503}});
        let shut = Limited::start(answer, percent, limits()).await;
        assert_eq!(status(&shut.proxy.get("/", "").await), 503);
    }
}

#[tokio::test]
async fn only_requests_of_one_origin_may_be_counted() {
    let limits = host(json!([key("a")]), json!({}));
    for (origin, expected) in [("internal", 200), ("external", 429), ("both", 429)] {
        let config = json!({"request_type": origin});
        let limited = Limited::start(Ok(says(Code::OverLimit)), config, limits.clone()).await;
        assert_eq!(status(&limited.proxy.get("/", "").await), expected, "{origin}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for (more, expected) in [
        (json!({"domain": ""}), "domain: not set"),
        (json!({"stage": 11}), "is at most 10"),
        (json!({"request_type": "x"}), "request_type: x"),
        (json!({"stat_prefix": "x"}), "stat_prefix is not supported"),
        (json!({"rate_limits": [{"stage": 1, "actions": [{"remote_address": {}}]}]}), "is for rate limits of routes"),
        (
            json!({"rate_limit_service": {"transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "z"}, "timeout": "1s"}}}),
            "the filter's own `timeout` counts",
        ),
    ] {
        let told = refusal(vec![limiter(more.clone())]);
        assert!(told.contains(expected), "{more}: {told}");
    }
}
