//! Requests through a running proxy whose cluster goes where they ask.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::test_kit::{Proxy, filter, refusal};

const NOBODY: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

fn cache() -> Value {
    json!({"name": "cache", "dns_lookup_family": "V4_ONLY"})
}

fn look_up(cache: &Value) -> Value {
    filter("dfp", "http.dynamic_forward_proxy.v3.FilterConfig", json!({"dns_cache_config": cache}))
}

/// The fields by which a cluster goes where a request asks.
fn forward(cache: &Value) -> Value {
    let typed = "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
    json!({
        "type": null, "load_assignment": null, "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": {
            "@type": typed, "dns_cache_config": cache}}})
}

fn routes() -> Value {
    let connect = json!({"match": {"connect_matcher": {}}, "route": {"cluster": "anywhere", "upgrade_configs": [
        {"upgrade_type": "CONNECT", "connect_config": {}}]}});
    json!({"name": "all", "domains": ["*"], "routes": [
        connect, {"match": {"prefix": "/"}, "route": {"cluster": "anywhere"}}]})
}

async fn proxy(cache: Value, cluster: Value) -> Proxy {
    Proxy::with_clusters(vec![look_up(&cache)], routes(), &[("anywhere", NOBODY, cluster)]).await
}

async fn start(cache: Value) -> Proxy {
    let cluster = forward(&cache);
    proxy(cache, cluster).await
}

async fn get(proxy: &Proxy, authority: &str) -> String {
    proxy.ask(&format!("GET / HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn a_request_goes_to_the_host_that_it_asks_for_by_name_or_address() {
    let proxy = start(cache()).await;
    let port = proxy.upstream.port();
    for host in ["localhost", "LOCALHOST", "127.0.0.1"] {
        let answer = get(&proxy, &format!("{host}:{port}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{host}: {answer}");
    }
    assert!(proxy.seen()[0].contains(&format!("host: localhost:{port}\r\n")), "{:?}", proxy.seen());
}

#[tokio::test]
async fn connect_opens_a_connection_to_the_host() {
    let proxy = start(cache()).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let host = format!("localhost:{}", proxy.upstream.port());
    stream.write_all(format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream.write_all(b"GET /inside HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("ok"), "{rest}");
    assert!(proxy.seen()[0].starts_with("GET /inside "), "{:?}", proxy.seen());
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_answered_as_envoy_does() {
    let proxy = start(cache()).await;
    for authority in ["no-such-host.invalid", "no-such-host.invalid:81"] {
        let answer = get(&proxy, authority).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("DNS resolution failure"), "{answer}");
    }
    let answer = proxy.ask("GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn no_more_names_are_kept_than_may_be() {
    let mut cache = cache();
    cache["max_hosts"] = 1.into();
    let proxy = start(cache).await;
    let port = proxy.upstream.port();
    assert!(get(&proxy, &format!("localhost:{port}")).await.ends_with("ok"));
    let answer = get(&proxy, "localhost:1").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("DNS cache overflow"), "{answer}");
    assert!(get(&proxy, &format!("localhost:{port}")).await.ends_with("ok"), "what is known is known");
    // An address is no name.
    assert!(get(&proxy, &format!("127.0.0.1:{port}")).await.ends_with("ok"));
}

#[tokio::test]
async fn no_more_requests_wait_for_names_than_may() {
    let mut cache = cache();
    cache["dns_cache_circuit_breaker"] = json!({"max_pending_requests": 0});
    let proxy = start(cache).await;
    let answer = get(&proxy, "localhost").await;
    assert!(answer.ends_with("Dynamic forward proxy pending request overflow"), "{answer}");
}

#[tokio::test]
async fn a_route_may_have_another_host_asked_for() {
    let cache = cache();
    let rewrite = |proxy: &Proxy| format!("localhost:{}", proxy.upstream.port());
    let first = start(cache.clone()).await;
    let mut routes = routes();
    let per_route = "type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig";
    routes["typed_per_filter_config"] = json!({"dfp": {"@type": per_route, "host_rewrite_literal": rewrite(&first)}});
    let clusters = [("anywhere", NOBODY, forward(&cache))];
    let proxy = Proxy::with_clusters(vec![look_up(&cache)], routes.clone(), &clusters).await;
    assert!(get(&proxy, "no-such-host.invalid").await.ends_with("ok"));
    assert!(first.seen()[0].contains(&format!("host: {}\r\n", rewrite(&first))), "{:?}", first.seen());
    routes["typed_per_filter_config"] = json!({"dfp": {"@type": per_route, "host_rewrite_header": "X-Where"}});
    let proxy = Proxy::with_clusters(vec![look_up(&cache)], routes, &clusters).await;
    let request = format!(
        "GET / HTTP/1.1\r\nhost: no-such-host.invalid\r\nx-where: {}\r\nconnection: close\r\n\r\n",
        rewrite(&first)
    );
    assert!(proxy.ask(&request).await.ends_with("ok"));
}

#[tokio::test]
async fn what_is_out_of_the_clusters_reach_is_refused_however_it_is_spelt() {
    let mut cluster = forward(&cache());
    cluster["metadata"] = json!({"filter_metadata": {"weft.reach": {}}});
    let proxy = proxy(cache(), cluster).await;
    let port = proxy.upstream.port();
    for host in ["localhost", "127.0.0.1", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let answer = get(&proxy, &format!("{host}:{port}")).await;
        // A family that is not asked for has no address.
        let refused = answer.starts_with("HTTP/1.1 403 ") && answer.contains("no_proxy");
        assert!(refused, "{host}: {answer}");
    }
    assert!(get(&proxy, "169.254.169.254").await.starts_with("HTTP/1.1 403 "));
    assert_eq!(proxy.seen(), [""; 0]);
}

#[tokio::test]
async fn names_are_not_followed_to_addresses_that_are_filtered_out() {
    for (invert, expected) in [(false, "DNS resolution failure"), (true, "ok")] {
        let mut cache = cache();
        let ranges = json!([{"address_prefix": "127.0.0.0", "prefix_len": 8}]);
        cache["resolved_address_filter"] = json!({"ranges": ranges, "invert_match": invert});
        let proxy = start(cache).await;
        for host in ["localhost", "127.0.0.1"] {
            let answer = get(&proxy, &format!("{host}:{}", proxy.upstream.port())).await;
            assert!(answer.ends_with(expected), "{host}: {answer}");
        }
    }
}

#[tokio::test]
async fn without_the_filter_or_with_the_cache_of_another_nobody_is_known() {
    for filters in [vec![], vec![look_up(&json!({"name": "other"}))]] {
        let clusters = [("anywhere", NOBODY, forward(&cache()))];
        let proxy = Proxy::with_clusters(filters, routes(), &clusters).await;
        let answer = get(&proxy, &format!("localhost:{}", proxy.upstream.port())).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("no healthy upstream"), "{answer}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let of = |config: Value| refusal(vec![filter("dfp", "http.dynamic_forward_proxy.v3.FilterConfig", config)]);
    for (config, wanted) in [
        (json!({}), "dns_cache_config: "),
        (json!({"dns_cache_config": {}}), "dns_cache_config.name"),
        (json!({"sub_cluster_config": {}}), "sub_cluster_config"),
        (json!({"dns_cache_config": {"name": "a", "max_hosts": 0}}), "max_hosts"),
        (json!({"dns_cache_config": {"name": "a", "dns_failure_refresh_rate": {}}}), "base_interval"),
        (json!({"dns_cache_config": {"name": "a", "use_tcp_for_dns_lookups": true}}), "use_tcp_for_dns_lookups"),
    ] {
        let told = of(config.clone());
        assert!(told.contains(wanted), "{config}: {told}");
    }
}
