//! Connections through chains of several network filters.

mod ext_authz;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::filter::test_kit::{Proxy, filter, manager, one_route};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

fn tcp() -> Value {
    filter("tcp", "network.tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "t", "cluster": "c"}))
}

fn rbac(action: &str, address: &str) -> Value {
    let rules = json!({"action": action, "policies": {"p": {"permissions": [{"any": true}],
        "principals": [{"direct_remote_ip": {"address_prefix": address, "prefix_len": 8}}]}}});
    filter(
        "rbac",
        "network.rbac.v3.RBAC",
        json!({"stat_prefix": "n_", "rules": rules,
        "shadow_rules": {"action": "ALLOW"}, "shadow_rules_stat_prefix": "dry_"}),
    )
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

async fn ask(proxy: &Proxy) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    rest(&mut stream).await
}

#[tokio::test]
async fn access_control_stands_before_bytes_and_before_requests() {
    for end in [tcp(), manager(vec![], one_route(json!({})))] {
        let proxy = Proxy::with_network_filters(vec![rbac("ALLOW", "127.0.0.0"), end.clone()]).await;
        assert!(ask(&proxy).await.starts_with("HTTP/1.1 200 "));
        let proxy = Proxy::with_network_filters(vec![rbac("DENY", "127.0.0.0"), end]).await;
        assert_eq!(ask(&proxy).await, "");
        assert!(proxy.seen().is_empty());
        let metrics = proxy.plane.stats.exposition();
        assert!(metrics.contains("envoy_rbac_denied{envoy_rbac_prefix=\"n_\"} 1\n"), "{metrics}");
        assert!(metrics.contains("envoy_rbac_dry__shadow_denied{envoy_rbac_prefix=\"n_\"} 1\n"), "{metrics}");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_until_another_has_gone() {
    let limit = filter(
        "l",
        "network.connection_limit.v3.ConnectionLimit",
        json!({
        "stat_prefix": "s", "max_connections": 1}),
    );
    let proxy = Proxy::with_network_filters(vec![limit, manager(vec![], one_route(json!({})))]).await;
    let mut first = TcpStream::connect(proxy.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0; 10]).await.unwrap();
    assert_eq!(ask(&proxy).await, "");
    first.write_all(GET).await.unwrap();
    assert!(rest(&mut first).await.ends_with("ok"));
    let metrics = proxy.plane.stats.exposition();
    assert!(metrics.contains("envoy_connection_limit_limited_connections{envoy_connection_limit_prefix=\"s\"} 1\n"));
}

#[tokio::test]
async fn more_connections_than_there_are_tokens_are_closed() {
    let limit = filter(
        "l",
        "network.local_ratelimit.v3.LocalRateLimit",
        json!({
        "stat_prefix": "s", "token_bucket": {"max_tokens": 2, "fill_interval": "3600s"}}),
    );
    let proxy = Proxy::with_network_filters(vec![limit, tcp()]).await;
    for expected in ["HTTP/1.1 200", "HTTP/1.1 200", ""] {
        let answer = ask(&proxy).await;
        assert!(answer.starts_with(expected) && answer.is_empty() == expected.is_empty(), "{answer}");
    }
    let metrics = proxy.plane.stats.exposition();
    assert!(metrics.contains("envoy_local_rate_limit_rate_limited{envoy_local_network_ratelimit_prefix=\"s\"} 1\n"));
}

/// CVE-2021-43826.
#[tokio::test]
async fn a_client_may_leave_while_its_upstream_is_still_being_connected() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = json!({"transport_socket": {"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {}}}});
    let tcp = filter("tcp", "network.tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "t", "cluster": "silent"}));
    let proxy = Proxy::with_all(vec![tcp], &[("silent", silent.local_addr().unwrap(), tls)]).await;
    for _ in 0..3 {
        let client = TcpStream::connect(proxy.address).await.unwrap();
        let (mut upstream, _) = silent.accept().await.unwrap();
        upstream.read_exact(&mut [0; 5]).await.unwrap();
        drop(client);
        let _ = upstream.read_to_end(&mut Vec::new()).await;
    }
}
