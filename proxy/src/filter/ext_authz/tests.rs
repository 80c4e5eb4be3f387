//! Requests that a service lets through, turns away, changes, or fails to judge.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::filter::test_kit::{Proxy, filter, one_route, refusal};
use crate::listener::test_kit::free;

mod grpc;
mod http;

const HTTP2: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn ext_authz(mut config: Value, more: Value) -> Value {
    config["transport_api_version"] = "V3".into();
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    filter("authz", "http.ext_authz.v3.ExtAuthz", config)
}

/// The fields of a cluster that speaks HTTP/2.
fn http2() -> Value {
    json!({"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": HTTP2, "explicit_http_config": {"http2_protocol_options": {}}}}})
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn own(config: Value) -> Value {
    let mut config = config;
    config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute".into();
    json!({"authz": config})
}

/// What a scripted service was asked.
type Asked<T> = Arc<Mutex<Vec<T>>>;

#[test]
fn what_cannot_be_honoured_is_refused() {
    let grpc = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "z"}}});
    let http = |more: Value| {
        let mut service = json!({"server_uri": {"uri": "http://z", "cluster": "z", "timeout": "1s"}});
        for (name, value) in more.as_object().unwrap() {
            service[name] = value.clone();
        }
        json!({"http_service": service})
    };
    for (config, more, expected) in [
        (grpc.clone(), json!({"transport_api_version": "V2"}), "write V3"),
        (grpc.clone(), json!({"shadow_mode": true}), "shadow_mode is not supported"),
        (grpc.clone(), json!({"status_on_error": {"code": 0}}), "status_on_error.code"),
        (grpc.clone(), json!({"with_request_body": {}}), "max_request_bytes: not set"),
        (json!({}), json!({}), "grpc_service: not set"),
        (json!({"grpc_service": {"google_grpc": {"target_uri": "x", "stat_prefix": "y"}}}), json!({}), "google_grpc"),
        (http(json!({"path_prefix": "x"})), json!({}), "path_prefix: x: begins with `/`"),
        (http(json!({"path_prefix": "/x", "path_override": "/y"})), json!({}), "path_override"),
    ] {
        let told = refusal(vec![ext_authz(config.clone(), more.clone())]);
        assert!(told.contains(expected), "{config} {more}: {told}");
    }
}
