//! Connections through running listeners, which answer with what they know of them.

mod connection_log;
mod original_dst;
mod proxy_protocol;
mod tls;
mod updates;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{Snapshot, WorkloadRef};
use crate::connection_limit::ConnectionLimit;
use crate::data_plane::DataPlane;
use crate::listener::test_kit::free;
use crate::tls::TlsSettings;
use crate::{Format, parse_bootstrap};

/// A proxy that serves these listeners.
pub async fn start(listeners: &[String]) -> DataPlane {
    start_with(listeners, &[]).await
}

/// A proxy that serves these listeners, and knows these clusters.
pub async fn start_with(listeners: &[String], clusters: &[String]) -> DataPlane {
    let none = String::new;
    let own = WorkloadRef {
        name: none(),
        namespace: none(),
        canonical_service: none(),
        canonical_revision: none(),
        cluster: none(),
    };
    let plane = DataPlane::start(1, own, TlsSettings { identity: None }, ConnectionLimit::default()).unwrap();
    plane.apply(snapshot(listeners, clusters)).await.unwrap();
    plane
}

fn snapshot(listeners: &[String], clusters: &[String]) -> Arc<Snapshot> {
    let (listeners, clusters) = (listeners.join(", "), clusters.join(", "));
    let text = format!("static_resources: {{listeners: [{listeners}], clusters: [{clusters}]}}");
    Arc::new(parse_bootstrap(&text, Format::Yaml).unwrap_or_else(|error| panic!("{error}")).snapshot())
}

/// A cluster of these endpoints.
pub fn cluster(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoint = |at: &SocketAddr| {
        let (ip, port) = (at.ip(), at.port());
        format!("{{endpoint: {{address: {{socket_address: {{address: '{ip}', port_value: {port}}}}}}}}}")
    };
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    format!(
        "{{name: {name}, type: STATIC, {more} load_assignment: {{cluster_name: {name}, endpoints:
         [{{lb_endpoints: [{}]}}]}}}}",
        endpoints.join(", ")
    )
}

/// A listener that hands bytes to the cluster `c`.
pub fn tcp(name: &str, address: SocketAddr, more: &str) -> String {
    let kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    format!(
        "{{name: {name}, address: {{socket_address: {{address: '{}', port_value: {}}}}}, filter_chains: [{{filters:
         [{{name: t, typed_config: {{'@type': {kind}, stat_prefix: s, cluster: c, {more}}}}}]}}]}}",
        address.ip(),
        address.port()
    )
}

/// A listener whose answers are its name, its own address and the client's, and the peer's.
pub fn listener(name: &str, address: SocketAddr, more: &str) -> String {
    let header = |name, format| format!("{{header: {{key: {name}, value: '%{format}%'}}}}");
    let headers = [
        header("local", "DOWNSTREAM_LOCAL_ADDRESS"),
        header("remote", "DOWNSTREAM_REMOTE_ADDRESS"),
        header("direct", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"),
    ];
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    format!(
        "{{name: {name}, address: {{socket_address: {{address: '{}', port_value: {}}}}}, {more}
          filter_chains: [{{filters: [{{name: h, typed_config: {{'@type': {manager}, stat_prefix: s,
            http_filters: [{{name: r, typed_config: {{'@type': {router}}}}}],
            route_config: {{virtual_hosts: [{{name: v, domains: ['*'], response_headers_to_add: [{}],
              routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {name}}}}}}}]}}]}}}}}}]}}]}}",
        address.ip(),
        address.port(),
        headers.join(", "),
    )
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

/// What a listener answers to a request that comes after these bytes: `name local remote direct`, or nothing.
pub async fn answer(address: SocketAddr, first: &[u8]) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    let _ = client.write_all(&[first, GET].concat()).await;
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all).await;
    let text = String::from_utf8(all).unwrap();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("-");
    match text.split_once("\r\n\r\n") {
        None => text,
        Some((_, body)) => format!("{body} {} {} {}", header("local"), header("remote"), header("direct")),
    }
}
