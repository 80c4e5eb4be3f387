//! The checker against hosts on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::convert;
use crate::filter::test_kit::message;
use crate::listener::test_kit::free;
use crate::load_balancer::Health;

/// A cluster with one host and one check.
fn snapshot(host: SocketAddr, probe: Value) -> Arc<Snapshot> {
    let mut check = json!({"timeout": "30s", "interval": "3600s", "no_traffic_interval": "3600s",
        "unhealthy_threshold": 1, "healthy_threshold": 1});
    check.as_object_mut().unwrap().extend(probe.as_object().unwrap().clone());
    let wire = json!({"name": "c", "type": "STATIC", "health_checks": [check],
        "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
            {"socket_address": {"address": host.ip().to_string(), "port_value": host.port()}}}}]}]}});
    let cluster = convert::cluster(&message(&wire), &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    Arc::new(Snapshot { clusters: [("c".to_owned(), Arc::new(cluster))].into(), ..Snapshot::default() })
}

/// What the first check finds of a host that answers so, and what the host was sent.
async fn found(probe: Value, answer: &'static [u8]) -> (Option<Health>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let count = stream.read(&mut seen).await.unwrap_or(0);
        let _ = stream.write_all(answer).await;
        seen.truncate(count);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let checks = HealthChecks::new(Arc::new(TlsSettings { identity: None }), Arc::default());
    tokio::time::timeout(Duration::from_secs(60), checks.follow(&snapshot(host, probe))).await.unwrap().unwrap();
    let health = checks.board.cluster("c").of(&crate::config::EndpointAddress::Socket(host));
    (health.map(|finding| finding.health), served.await.unwrap())
}

#[tokio::test]
async fn an_http_check_asks_as_it_is_told_and_reads_the_status() {
    let probe = || {
        json!({"http_health_check": {"path": "/ready", "host": "app", "expected_statuses": [{"start": 200, "end": 300}],
            "request_headers_to_add": [{"header": {"key": "X-Check", "value": "1"}}]}})
    };
    let (health, seen) = found(probe(), b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(health, Some(Health::Healthy));
    assert!(seen.starts_with("GET /ready HTTP/1.1\r\nhost: app\r\nuser-agent: Envoy/HC\r\nx-check: 1\r\n"), "{seen}");
    let (health, _) = found(probe(), b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(health, Some(Health::Unhealthy));
    let degraded = b"HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(found(probe(), degraded).await.0, Some(Health::Degraded));
}

#[tokio::test]
async fn a_tcp_check_waits_for_the_bytes_that_it_was_told() {
    let probe = || json!({"tcp_health_check": {"send": {"text": "50494e47"}, "receive": [{"text": "504f4e47"}]}});
    assert_eq!(found(probe(), b"+PONG").await, (Some(Health::Healthy), "PING".to_owned()));
    assert_eq!(found(probe(), b"+NO").await.0, Some(Health::Unhealthy));
}

#[tokio::test]
async fn a_host_that_nobody_listens_on_is_unhealthy() {
    let host = free();
    let checks = HealthChecks::new(Arc::new(TlsSettings { identity: None }), Arc::default());
    checks.follow(&snapshot(host, json!({"tcp_health_check": {}}))).await.unwrap();
    let board = checks.board.cluster("c");
    let address = crate::config::EndpointAddress::Socket(host);
    assert_eq!(board.of(&address).map(|finding| finding.health), Some(Health::Unhealthy));
    checks.follow(&Arc::new(Snapshot::default())).await.unwrap();
    assert!(checks.board.cluster("c").of(&address).is_none(), "a cluster that is gone is forgotten");
}

/// A server of `grpc.health.v1.Health` that answers one call with this message.
async fn grpc_says(message: &'static [u8]) -> (Option<Health>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data(message.into(), false).unwrap();
        stream
            .send_trailers(
                [("grpc-status", "0")]
                    .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
                    .into_iter()
                    .collect(),
            )
            .unwrap();
        while connection.accept().await.is_some() {}
        request.uri().to_string()
    });
    let checks = HealthChecks::new(Arc::new(TlsSettings { identity: None }), Arc::default());
    let probe = json!({"grpc_health_check": {"service_name": "s", "authority": "app"}, "reuse_connection": false});
    checks.follow(&snapshot(host, probe)).await.unwrap();
    let health = checks.board.cluster("c").of(&crate::config::EndpointAddress::Socket(host));
    drop(checks);
    (health.map(|finding| finding.health), served.await.unwrap())
}

#[tokio::test]
async fn a_grpc_check_calls_the_health_service() {
    let (health, uri) = grpc_says(&[0, 0, 0, 0, 2, 8, 1]).await;
    assert_eq!((health, uri.as_str()), (Some(Health::Healthy), "http://app/grpc.health.v1.Health/Check"));
    assert_eq!(grpc_says(&[0, 0, 0, 0, 2, 8, 2]).await.0, Some(Health::Unhealthy));
}
