//! A service that is asked about connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use api::envoy::config::core::v3::address::Address;
use api::envoy::service::auth::v3 as wire;
use api::google::rpc;
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use wire::authorization_server::{Authorization, AuthorizationServer};
use wire::{CheckRequest, CheckResponse};

use super::*;
use crate::listener::test_kit::free;

/// Lets everybody in but those of one address; what it was asked is kept.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<CheckRequest>>>);

const UNWANTED: &str = "127.0.0.2";

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let code = if source(&request) == UNWANTED { tonic::Code::PermissionDenied as i32 } else { 0 };
        self.0.lock().unwrap().push(request);
        let status = Some(rpc::Status { code, ..Default::default() });
        Ok(Response::new(CheckResponse { status, ..Default::default() }))
    }
}

fn source(request: &CheckRequest) -> String {
    let peer = request.attributes.as_ref().and_then(|all| all.source.as_ref()).unwrap();
    let Some(Address::SocketAddress(socket)) = peer.address.as_ref().unwrap().address.as_ref() else { panic!() };
    socket.address.clone()
}

async fn service() -> (Service, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (service, address) = (Service::default(), listener.local_addr().unwrap());
    let serving = tonic::transport::Server::builder().add_service(AuthorizationServer::new(service.clone()));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    (service, address)
}

/// A server that speaks first, and how many have reached it.
async fn first() -> (Arc<AtomicUsize>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (reached, address) = (Arc::new(AtomicUsize::new(0)), listener.local_addr().unwrap());
    tokio::spawn({
        let reached = Arc::clone(&reached);
        async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                reached.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"hello").await;
            }
        }
    });
    (reached, address)
}

fn asks(more: Value) -> Value {
    let mut config = json!({"stat_prefix": "s", "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "z"}, "timeout": "20s"}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    filter("asks", "network.ext_authz.v3.ExtAuthz", config)
}

async fn proxy(filters: Vec<Value>, service: SocketAddr, server: SocketAddr) -> Proxy {
    let http2 = json!({"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}}});
    let tcp = filter("tcp", "network.tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "t", "cluster": "first"}));
    let filters = filters.into_iter().chain([tcp]).collect();
    Proxy::with_all(filters, &[("z", service, http2), ("first", server, json!({}))]).await
}

/// What the server says to somebody who says nothing.
async fn greeting(proxy: &Proxy, from: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    rest(&mut socket.connect(proxy.address).await.unwrap()).await
}

fn assert_counted(proxy: &Proxy, expected: &[(&str, u32)]) {
    let metrics = proxy.plane.stats.exposition();
    for (name, count) in expected {
        let line = format!("envoy_ext_authz_{name}{{envoy_ext_authz_prefix=\"s\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn it_is_asked_before_a_server_that_speaks_first_is_reached() {
    let ((service, at), (reached, server)) = (service().await, first().await);
    let proxy = proxy(vec![asks(json!({}))], at, server).await;
    assert_eq!(greeting(&proxy, "127.0.0.1").await, "hello");
    assert_eq!(greeting(&proxy, UNWANTED).await, "");
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    let asked = service.0.lock().unwrap().clone();
    assert_eq!(asked.iter().map(source).collect::<Vec<_>>(), ["127.0.0.1", UNWANTED]);
    assert!(asked.iter().all(|asked| asked.attributes.as_ref().unwrap().request.is_none()), "{asked:?}");
    assert_counted(&proxy, &[("total", 2), ("ok", 1), ("denied", 1), ("cx_closed", 1)]);
}

#[tokio::test]
async fn without_an_answer_a_connection_goes_on_only_if_it_may() {
    // Nobody listens there.
    let (at, (_, server)) = (free(), first().await);
    for (open, expected) in [(false, ""), (true, "hello")] {
        let proxy = proxy(vec![asks(json!({"failure_mode_allow": open}))], at, server).await;
        assert_eq!(greeting(&proxy, "127.0.0.1").await, expected);
        let counted = if open { "failure_mode_allowed" } else { "cx_closed" };
        assert_counted(&proxy, &[("error", 1), (counted, 1)]);
    }
}

#[tokio::test]
async fn it_is_asked_about_what_rules_before_it_have_marked() {
    let ((service, at), (_, server)) = (service().await, first().await);
    let rules = json!({"action": "DENY", "policies": {"mark-1": {"permissions": [{"any": true}],
        "principals": [{"direct_remote_ip": {"address_prefix": UNWANTED, "prefix_len": 32}}]}}});
    let marks = filter(
        "marks",
        "network.rbac.v3.RBAC",
        json!({"stat_prefix": "n_", "shadow_rules": rules, "shadow_rules_stat_prefix": "dry_"}),
    );
    let marked = json!({"filter": "envoy.filters.network.rbac", "path": [{"key": "dry_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "mark-"}}});
    let proxy = proxy(vec![marks, asks(json!({"filter_enabled_metadata": marked}))], at, server).await;
    for (from, expected) in [("127.0.0.1", "hello"), (UNWANTED, "")] {
        assert_eq!(greeting(&proxy, from).await, expected);
    }
    assert_eq!(service.0.lock().unwrap().iter().map(source).collect::<Vec<_>>(), [UNWANTED]);
    assert_counted(&proxy, &[("disabled", 1), ("denied", 1)]);
}

/// A service that takes connections and says nothing.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns once the proxy holds so many connections.
async fn holds(proxy: &Proxy, count: usize) {
    let is_told =
        |line: &str| line.starts_with("envoy_listener_downstream_cx_active{") && line.ends_with(&format!(" {count}"));
    while !proxy.plane.stats.exposition().lines().any(is_told) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_is_kept_of_a_client_that_goes_while_the_service_is_silent() {
    let ((_service, at), (reached, server)) = (silent().await, first().await);
    let hour =
        json!({"grpc_service": {"envoy_grpc": {"cluster_name": "z"}, "timeout": "3600s"}, "failure_mode_allow": true});
    let proxy = proxy(vec![asks(hour)], at, server).await;
    let says_nothing = TcpStream::connect(proxy.address).await.unwrap();
    let mut says_much = TcpStream::connect(proxy.address).await.unwrap();
    says_much.write_all(b"hello").await.unwrap();
    holds(&proxy, 2).await;
    drop(says_nothing);
    holds(&proxy, 1).await;
    // Who goes without a word of it is noticed, too.
    says_much.set_zero_linger().unwrap();
    drop(says_much);
    holds(&proxy, 0).await;
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}
