//! Whole requests through a proxy that traces, with an upstream and a collector that remember what came.

use std::net::SocketAddr;
use std::sync::Arc;

use api::envoy::config::{cluster::v3::Cluster, listener::v3::Listener};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::config::{Snapshot, WorkloadRef, convert};
use crate::connection_limit::ConnectionLimit;
use crate::data_plane::DataPlane;
use crate::filter::test_kit::{filter, message};
use crate::listener::test_kit::free;
use crate::tls::TlsSettings;

struct Traced {
    _plane: DataPlane,
    address: SocketAddr,
    /// Heads and bodies that came to the upstream.
    upstream: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    collector: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn zipkin(more: Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": "collector", "collector_endpoint": "/api/v2/spans", "collector_endpoint_version": "HTTP_JSON",
    });
    more.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
    config
}

fn otlp() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig", "service_name": "svc",
        "http_service": {"http_uri": {"uri": "http://collector.example/v1/traces", "cluster": "collector", "timeout": "1s"}},
    })
}

impl Traced {
    async fn start(provider: Value, direction: &str, tracing: Value) -> Self {
        let (upstream_address, upstream) = remembering().await;
        let (collector_address, collector) = remembering().await;
        let address = free();
        let mut all = json!({"provider": {"name": "p", "typed_config": provider}});
        tracing.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
        let route = |prefix: &str, more: Value| {
            let mut route = json!({"match": {"prefix": prefix}, "route": {"cluster": "up"}});
            more.as_object().unwrap().iter().for_each(|(key, value)| route[key] = value.clone());
            route
        };
        let routes = json!([
            route("/decorated", json!({"decorator": {"operation": "operation"}})),
            route("/never", json!({"tracing": {"random_sampling": {"numerator": 0}}})),
            route("/", json!({})),
        ]);
        let manager = filter(
            "http",
            "network.http_connection_manager.v3.HttpConnectionManager",
            json!({
                "stat_prefix": "x", "tracing": all,
                "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
                "http_filters": [filter("router", "http.router.v3.Router", json!({}))],
            }),
        );
        let listener = json!({"name": "l", "address": socket(address), "traffic_direction": direction,
            "filter_chains": [{"filters": [manager]}]});
        let mut snapshot = Snapshot::default();
        let no_files = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let listener = convert::listener(&message::<Listener>(&listener), &no_files).unwrap();
        snapshot.listeners.insert("l".into(), Arc::new(listener));
        for (name, address) in [("up", upstream_address), ("collector", collector_address)] {
            let wire = json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}]}});
            let cluster = convert::cluster(&message::<Cluster>(&wire), &no_files).unwrap();
            snapshot.clusters.insert(name.into(), Arc::new(cluster));
        }
        let own = WorkloadRef { name: "node".into(), canonical_service: "service".into(), ..own() };
        let plane = DataPlane::start(1, own, TlsSettings { identity: None }, ConnectionLimit::default()).unwrap();
        plane.apply(Arc::new(snapshot)).await.unwrap();
        Self { _plane: plane, address, upstream, collector }
    }

    /// Sends a request; the answer's head, and the head that came to the upstream.
    async fn get(&mut self, path: &str, headers: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: h.example\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer, self.upstream.recv().await.unwrap().0)
    }

    /// What the collector was sent first, once five requests have ended.
    async fn report(&mut self, path: &str, headers: &str) -> (String, Vec<u8>) {
        for _ in 0..5 {
            self.get(path, headers).await;
        }
        self.collector.recv().await.unwrap()
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

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A server that answers everything, and tells what came.
async fn remembering() -> (SocketAddr, mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let _ = tell.send((head, body));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    (address, told)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[tokio::test]
async fn a_trace_is_joined_and_told_to_zipkin() {
    let tags = json!([
        {"tag": "literal", "literal": {"value": "l"}},
        {"tag": "header", "request_header": {"name": "X-H", "default_value": "none"}},
    ]);
    let mut proxy = Traced::start(zipkin(json!({})), "INBOUND", json!({"custom_tags": tags, "verbose": true})).await;
    let b3 = format!("x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nx-b3-sampled: 1\r\nx-h: v\r\n");
    let (_, seen) = proxy.get("/a?b&access_token=x", &b3).await;
    assert_eq!((header(&seen, "x-b3-traceid"), header(&seen, "x-b3-spanid")), (Some(TRACE), Some(SPAN)));
    let (head, body) = proxy.report("/a?b&access_token=x", &b3).await;
    assert!(head.starts_with("POST /api/v2/spans HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    let spans: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let span = &spans[0];
    for (field, expected) in [
        ("/traceId", json!(TRACE)),
        ("/id", json!(SPAN)),
        ("/kind", json!("SERVER")),
        ("/shared", json!(true)),
        ("/name", json!("h.example")),
        ("/localEndpoint/serviceName", json!("service")),
        ("/tags/node_id", json!("node")),
        ("/tags/http.url", json!("http://h.example/a?b&access_token=[redacted]")),
        ("/tags/http.method", json!("GET")),
        ("/tags/http.status_code", json!("200")),
        ("/tags/response_flags", json!("-")),
        ("/tags/response_size", json!("2")),
        ("/tags/upstream_cluster", json!("up")),
        ("/tags/literal", json!("l")),
        ("/tags/header", json!("v")),
    ] {
        assert_eq!(span.pointer(field), Some(&expected), "{field} of {span}");
    }
    assert_eq!(span.pointer("/tags/error"), None);
    assert_eq!(span.pointer("/annotations/0/value"), Some(&json!("last_downstream_rx_byte_received")));
}

#[tokio::test]
async fn a_caller_side_has_a_span_of_its_own_in_the_trace() {
    let mut proxy = Traced::start(zipkin(json!({})), "OUTBOUND", json!({})).await;
    let (_, seen) = proxy.get("/", &format!("b3: {TRACE}-{SPAN}-1\r\n")).await;
    let b3: Vec<_> = header(&seen, "b3").unwrap().split('-').collect();
    assert_eq!((b3[0], b3[2], b3[3]), (TRACE, "1", SPAN));
    assert_ne!(b3[1], SPAN);
    let (_, seen) = proxy.get("/", "").await;
    assert_eq!(header(&seen, "x-b3-traceid"), header(&seen, "x-b3-spanid"));
}

#[tokio::test]
async fn a_trace_goes_on_in_w3c_headers_and_is_told_by_otlp() {
    let mut proxy = Traced::start(otlp(), "INBOUND", json!({})).await;
    let parent = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\n");
    let (_, seen) = proxy.get("/", &parent).await;
    let told: Vec<_> = header(&seen, "traceparent").unwrap().split('-').collect();
    assert_eq!((told[1], told[3]), (TRACE, "01"));
    assert_ne!(told[2], SPAN);
    assert_eq!(header(&seen, "tracestate"), Some("a=b"));
    let (_, seen) = proxy.get("/", "traceparent: nonsense\r\n").await;
    assert_eq!(header(&seen, "traceparent"), Some("nonsense"));
    let (head, body) = proxy.report("/", &parent).await;
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("collector.example"));
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(holds(&u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes()));
    for text in ["service.name", "svc", "ingress", "http.status_code", "guid:x-request-id"] {
        assert!(holds(text.as_bytes()), "{text}");
    }
}

#[tokio::test]
async fn sampling_decides_what_is_traced_and_the_id_says_so() {
    let mut proxy = Traced::start(otlp(), "INBOUND", json!({"random_sampling": {"value": 0}})).await;
    let reason = |seen: &str| header(seen, "x-request-id").unwrap().chars().nth(14).unwrap();
    let (_, seen) = proxy.get("/", "").await;
    assert!(header(&seen, "traceparent").unwrap().ends_with("-00"));
    assert_eq!(reason(&seen), '4');
    let (_, seen) = proxy.get("/", "x-client-trace-id: a\r\n").await;
    assert!(header(&seen, "traceparent").unwrap().ends_with("-01"));
    assert_eq!(reason(&seen), 'b');
    let mut proxy = Traced::start(otlp(), "INBOUND", json!({})).await;
    let (_, seen) = proxy.get("/never", "").await;
    assert!(header(&seen, "traceparent").unwrap().ends_with("-00"));
    let (_, seen) = proxy.get("/", "").await;
    assert_eq!(reason(&seen), '9');
}

#[tokio::test]
async fn a_decorator_names_the_call_on_both_sides() {
    let mut callee = Traced::start(zipkin(json!({})), "INBOUND", json!({})).await;
    let (answer, _) = callee.get("/decorated", "").await;
    assert_eq!(header(&answer, "x-envoy-decorator-operation"), Some("operation"));
    let (answer, seen) = callee.get("/decorated", "x-envoy-decorator-operation: given\r\n").await;
    assert_eq!(header(&answer, "x-envoy-decorator-operation"), None);
    assert_eq!(header(&seen, "x-envoy-decorator-operation"), None);
    let mut caller = Traced::start(zipkin(json!({})), "OUTBOUND", json!({})).await;
    let (_, seen) = caller.get("/decorated", "").await;
    assert_eq!(header(&seen, "x-envoy-decorator-operation"), Some("operation"));
    let (_, body) = caller.report("/decorated", "").await;
    let spans: Vec<Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!((&spans[0]["name"], &spans[0]["kind"]), (&json!("operation"), &json!("CLIENT")));
}
