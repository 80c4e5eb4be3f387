//! Requests through a running data plane: a scripted upstream on one side, a raw client on the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::{cluster::v3::Cluster, listener::v3::Listener, route::v3::RouteConfiguration};
use prost_reflect::{DynamicMessage, ReflectMessage as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Snapshot, WorkloadRef, convert};
use crate::connection_limit::ConnectionLimit;
use crate::data_plane::DataPlane;
use crate::listener::test_kit::free;
use crate::tls::TlsSettings;

fn message<M: api::prost::Message + api::prost::Name + Default>(value: &Value) -> M {
    let descriptor = api::descriptor_pool().get_message_by_name(&M::full_name()).unwrap();
    let dynamic = DynamicMessage::deserialize(descriptor, value.clone()).unwrap();
    assert!(dynamic.descriptor().full_name() == M::full_name());
    dynamic.transcode_to().unwrap()
}

fn no_files(_: &str) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// A proxy whose one route has these fields besides its cluster, and whose one cluster leads to `upstream`.
struct Proxy {
    plane: DataPlane,
    address: SocketAddr,
    upstream: TcpListener,
}

impl Proxy {
    async fn start(route: Value, cluster: Value) -> Self {
        let upstream = TcpListener::bind(free()).await.unwrap();
        let address = free();
        let plane = DataPlane::start(1, own(), TlsSettings { identity: None }, ConnectionLimit::default()).unwrap();
        let mut snapshot = Snapshot::default();
        let mut action = json!({"cluster": "c"});
        merge(&mut action, route);
        let table = json!({"name": "r", "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}]});
        let mut wire = json!({"name": "c", "connect_timeout": "1s", "type": "STATIC", "load_assignment": {
            "cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": upstream.local_addr().unwrap().port()}}}}]}]}});
        merge(&mut wire, cluster);
        let listener = listener(address);
        snapshot
            .listeners
            .insert("l".into(), Arc::new(convert::listener(&message::<Listener>(&listener), &no_files).unwrap()));
        snapshot
            .routes
            .insert("r".into(), Arc::new(convert::route_table(&message::<RouteConfiguration>(&table)).unwrap()));
        snapshot
            .clusters
            .insert("c".into(), Arc::new(convert::cluster(&message::<Cluster>(&wire), &no_files).unwrap()));
        plane.apply(Arc::new(snapshot)).await.unwrap();
        Self { plane, address, upstream }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The next request that reaches the upstream: its connection and its head.
    async fn upstream(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.upstream.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        (stream, head)
    }
}

fn own() -> WorkloadRef {
    let text = String::new;
    WorkloadRef {
        name: text(),
        namespace: text(),
        canonical_service: text(),
        canonical_revision: text(),
        cluster: text(),
    }
}

fn merge(into: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

fn listener(address: SocketAddr) -> Value {
    json!({"name": "l",
        "address": {"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "x",
            "rds": {"route_config_name": "r", "config_source": {"ads": {}, "resource_api_version": "V3"}},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]})
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

async fn ask(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

const GET: &str = "GET /x HTTP/1.1\r\nhost: h\r\n\r\n";
const LAST: &str = "GET /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_are_kept_and_used_again_on_both_sides() {
    let proxy = Proxy::start(json!({}), json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, GET).await;
    let (mut upstream, head) = proxy.upstream().await;
    assert!(head.starts_with("GET /x HTTP/1.1\r\nhost: h\r\n"), "{head}");
    upstream.write_all(OK).await.unwrap();
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    client.read_exact(&mut [0; 2]).await.unwrap();
    ask(&mut client, LAST).await;
    read_head(&mut upstream).await;
    upstream.write_all(OK).await.unwrap();
    assert!(rest(&mut client).await.ends_with("\r\n\r\nok"));
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_answered_for() {
    let proxy = Proxy::start(json!({"timeout": "0.2s"}), json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, LAST).await;
    let _held = proxy.upstream().await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.ends_with("upstream request timeout"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_cut_and_not_mistaken_for_whole() {
    let proxy = Proxy::start(json!({"timeout": "3s"}), json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, GET).await;
    let (mut upstream, _) = proxy.upstream().await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.contains("2\r\nok\r\n") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_then_told() {
    let route = json!({"retry_policy": {"retry_on": "connect-failure", "num_retries": 2}});
    let proxy = Proxy::start(route, json!({})).await;
    let Proxy { plane, address, upstream } = proxy;
    drop(upstream);
    let mut client = TcpStream::connect(address).await.unwrap();
    ask(&mut client, LAST).await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("remote connection failure"), "{answer}");
    let metrics = plane.stats.exposition();
    assert!(metrics.contains("envoy_cluster_upstream_rq_retry{envoy_cluster_name=\"c\"} 2\n"), "{metrics}");
    assert!(metrics.contains("response_flags=\"UF,URX\""), "{metrics}");
}

#[tokio::test]
async fn a_body_is_sent_again_with_a_retry() {
    let route = json!({"retry_policy": {"retry_on": "5xx", "num_retries": 1}});
    let proxy = Proxy::start(route, json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, "POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
    for answer in [&b"HTTP/1.1 503 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"[..], OK] {
        let (mut upstream, head) = proxy.upstream().await;
        assert!(head.contains("content-length: 5\r\n"), "{head}");
        let mut body = [0; 5];
        upstream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        upstream.write_all(answer).await.unwrap();
    }
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn more_requests_than_the_breaker_allows_are_turned_away() {
    let limits = json!({"circuit_breakers": {"thresholds": [
        {"max_connections": 1, "max_pending_requests": 0, "max_requests": 100, "max_retries": 1}]}});
    let proxy = Proxy::start(json!({}), limits).await;
    let (mut first, mut second) = (proxy.connect().await, proxy.connect().await);
    ask(&mut first, LAST).await;
    let (mut upstream, _) = proxy.upstream().await;
    ask(&mut second, LAST).await;
    let refused = rest(&mut second).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("x-envoy-overloaded: true"), "{refused}");
    upstream.write_all(OK).await.unwrap();
    assert!(rest(&mut first).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_websocket_passes_both_ways_and_closes() {
    let proxy = Proxy::start(json!({}), json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let (mut upstream, head) = proxy.upstream().await;
    assert!(head.contains("connection: Upgrade\r\nupgrade: websocket\r\n"), "{head}");
    upstream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi")
        .await
        .unwrap();
    let answer = read_head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("upgrade: websocket"), "{answer}");
    let mut bytes = [0; 2];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hi");
    client.write_all(b"yo").await.unwrap();
    upstream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"yo");
    drop(upstream);
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let proxy = Proxy::start(json!({}), json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, GET).await;
    let (mut upstream, _) = proxy.upstream().await;
    drop(client);
    assert_eq!(upstream.read(&mut [0; 1]).await.unwrap_or(0), 0, "the upstream was not told");
}

#[tokio::test]
async fn draining_finishes_what_is_under_way_and_then_closes() {
    let proxy = Proxy::start(json!({}), json!({})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, GET).await;
    let (mut upstream, _) = proxy.upstream().await;
    let mut idle = proxy.connect().await;
    let drained = proxy.plane.drain(Duration::from_secs(3600));
    let finish = async {
        upstream.write_all(OK).await.unwrap();
        rest(&mut client).await
    };
    let ((), answer) = tokio::join!(drained, finish);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(proxy.address).await.is_err(), "new connections are still taken");
}

#[tokio::test]
async fn a_request_goes_to_the_address_that_a_header_names() {
    let cluster = json!({"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": null,
        "original_dst_lb_config": {"use_http_header": true}});
    let proxy = Proxy::start(json!({}), cluster).await;
    let there = proxy.upstream.local_addr().unwrap();
    let mut client = proxy.connect().await;
    ask(&mut client, &format!("GET /x HTTP/1.1\r\nhost: h\r\nx-envoy-original-dst-host: {there}\r\n\r\n")).await;
    let (mut upstream, _) = proxy.upstream().await;
    upstream.write_all(OK).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
    client.read_exact(&mut [0; 2]).await.unwrap();
    ask(&mut client, LAST).await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 503 "), "it was sent somewhere");
}

#[tokio::test]
async fn a_client_without_a_cookie_is_given_one_that_leads_it_back() {
    let route = json!({"hash_policy": [{"cookie": {"name": "c", "ttl": "60s"}}]});
    let proxy = Proxy::start(route, json!({"lb_policy": "RING_HASH"})).await;
    let mut client = proxy.connect().await;
    ask(&mut client, LAST).await;
    let (mut upstream, _) = proxy.upstream().await;
    upstream.write_all(OK).await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.contains("\r\nset-cookie: c=\"") && answer.contains("\"; Max-Age=60; HttpOnly\r\n"), "{answer}");
}

#[tokio::test]
async fn a_host_that_fails_its_checks_gets_no_requests() {
    let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = |address: SocketAddr| json!({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": address.port()}}}});
    let hosts = [endpoint(free()), endpoint(well.local_addr().unwrap())];
    let cluster = json!({
        "health_checks": [{"timeout": "60s", "interval": "3600s", "no_traffic_interval": "3600s",
            "unhealthy_threshold": 1, "healthy_threshold": 1, "tcp_health_check": {}}],
        "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": hosts}]}});
    let proxy = Proxy::start(json!({}), cluster).await;
    let _checked = well.accept().await.unwrap();
    for _ in 0..4 {
        let mut client = proxy.connect().await;
        ask(&mut client, LAST).await;
        let (mut upstream, _) = well.accept().await.unwrap();
        read_head(&mut upstream).await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_budget_of_no_retries_allows_none() {
    let route = json!({"retry_policy": {"retry_on": "5xx", "num_retries": 3}});
    let budget = json!({"circuit_breakers": {"thresholds": [
        {"max_retries": 3, "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 0}}]}});
    let proxy = Proxy::start(route, budget).await;
    let mut client = proxy.connect().await;
    ask(&mut client, LAST).await;
    let (mut upstream, _) = proxy.upstream().await;
    upstream.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 503 "));
}
