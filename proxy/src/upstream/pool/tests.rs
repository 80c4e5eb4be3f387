//! Connections to hosts on this machine: how many there are, and when they end.

use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::*;
use crate::config::{Endpoint, EndpointAddress, convert};
use crate::filter::test_kit::message;
use crate::http::Response;
use crate::http::body::Body;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};
use crate::listener::test_kit::free;

/// A cluster with these fields and these options of its protocol.
fn cluster(fields: Value, protocol: Value) -> Arc<Cluster> {
    const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut options = json!({"@type": format!("type.googleapis.com/{KEY}")});
    options.as_object_mut().unwrap().extend(protocol.as_object().unwrap().clone());
    let mut wire = json!({"name": "c", "load_assignment": {"cluster_name": "c"},
        "typed_extension_protocol_options": {KEY: options}});
    wire.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Arc::new(convert::cluster(&message(&wire), &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap())
}

fn http2(common: Value, options: Value) -> Arc<Cluster> {
    let explicit = json!({"http2_protocol_options": options});
    cluster(json!({}), json!({"explicit_http_config": explicit, "common_http_protocol_options": common}))
}

fn http1(common: Value) -> Arc<Cluster> {
    cluster(
        json!({}),
        json!({"explicit_http_config": {"http_protocol_options": {}}, "common_http_protocol_options": common}),
    )
}

fn host(address: SocketAddr) -> Rc<Host> {
    Rc::new(Host::new(Arc::new(Endpoint::at(EndpointAddress::Socket(address))), None))
}

async fn listen() -> (TcpListener, Rc<Host>) {
    let listener = TcpListener::bind(free()).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, host(address))
}

async fn get(host: &Rc<Host>, cluster: &Arc<Cluster>) -> Result<Response, UpstreamError> {
    let head = RequestHead {
        method: "GET".into(),
        scheme: "http",
        authority: "h".into(),
        path: "/".into(),
        version: Version::Http2,
        headers: Headers::new(),
        upgrade: None,
    };
    let mut response = host.send(cluster, &head, Body::Empty, Version::Http2).await?;
    while let Some(Ok(_)) = response.body.frame().await {}
    Ok(response)
}

/// Answers all requests of a connection until it ends; how many there were.
async fn serve_h2(stream: TcpStream) -> usize {
    let mut connection = ::h2::server::handshake(stream).await.unwrap();
    let mut served = 0;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        respond.send_response(::http::Response::new(()), true).unwrap();
        served += 1;
    }
    served
}

async fn answer_h1(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn http2_requests_that_come_together_share_one_connection() {
    LocalSet::new()
        .run_until(async {
            let ((listener, host), cluster) = (listen().await, http2(json!({}), json!({})));
            let server = tokio::task::spawn_local(async move { serve_h2(listener.accept().await.unwrap().0).await });
            let answers = join_all((0..50).map(|_| get(&host, &cluster))).await;
            assert!(answers.iter().all(|answer| answer.as_ref().unwrap().head.status == 200));
            host.retire();
            assert_eq!(server.await.unwrap(), 50);
        })
        .await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_told_to_all_who_waited_for_it() {
    LocalSet::new()
        .run_until(async {
            let ((listener, host), cluster) = (listen().await, http2(json!({}), json!({})));
            drop(listener);
            let answers = join_all((0..5).map(|_| get(&host, &cluster))).await;
            assert!(
                answers.iter().all(|answer| matches!(answer, Err(UpstreamError::Connect(ConnectError::Refused(_)))))
            );
        })
        .await;
}

#[tokio::test]
async fn idle_connections_end_on_time() {
    LocalSet::new()
        .run_until(async {
            let ((listener, host), idle) = (listen().await, json!({"idle_timeout": "0.02s"}));
            let server = tokio::task::spawn_local(async move {
                let served = serve_h2(listener.accept().await.unwrap().0).await;
                (served, listener)
            });
            get(&host, &http2(idle.clone(), json!({}))).await.unwrap();
            let (served, listener) = server.await.unwrap();
            assert_eq!(served, 1);
            let server = tokio::task::spawn_local(async move {
                let mut stream = listener.accept().await.unwrap().0;
                answer_h1(&mut stream).await;
                stream.read(&mut [0]).await.unwrap()
            });
            get(&host, &http1(idle)).await.unwrap();
            assert_eq!(server.await.unwrap(), 0);
        })
        .await;
}

#[tokio::test]
async fn a_connection_serves_no_more_requests_than_it_may_and_no_longer() {
    for common in [json!({"max_requests_per_connection": 1}), json!({"max_connection_duration": "0.000000001s"})] {
        LocalSet::new()
            .run_until(async {
                let (listener, host) = listen().await;
                let server = tokio::task::spawn_local(async move {
                    for _ in 0..2 {
                        answer_h1(&mut listener.accept().await.unwrap().0).await;
                    }
                    for _ in 0..2 {
                        assert_eq!(serve_h2(listener.accept().await.unwrap().0).await, 1);
                    }
                });
                for cluster in [http1(common.clone()), http2(common.clone(), json!({}))] {
                    get(&host, &cluster).await.unwrap();
                    get(&host, &cluster).await.unwrap();
                }
                host.retire();
                server.await.unwrap();
            })
            .await;
    }
}

#[tokio::test]
async fn a_server_that_answers_no_ping_loses_its_connection() {
    LocalSet::new()
        .run_until(async {
            let (listener, host) = listen().await;
            let server = tokio::task::spawn_local(async move {
                let mut stream = listener.accept().await.unwrap().0;
                // SETTINGS without settings, and nothing after that.
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                stream.read_to_end(&mut Vec::new()).await
            });
            let pings = json!({"connection_keepalive": {"interval": "0.01s", "timeout": "0.01s"}});
            assert!(get(&host, &http2(json!({}), pings)).await.is_err());
            let _ = server.await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn connections_come_from_the_address_that_is_set() {
    LocalSet::new()
        .run_until(async {
            let (listener, host) = listen().await;
            let fields = json!({"upstream_bind_config": {"source_address": {"address": "127.0.0.2", "port_value": 0}},
                "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 5}}});
            let server = tokio::task::spawn_local(async move {
                let (mut stream, peer) = listener.accept().await.unwrap();
                answer_h1(&mut stream).await;
                peer.ip()
            });
            get(&host, &cluster(fields, json!({"explicit_http_config": {"http_protocol_options": {}}}))).await.unwrap();
            assert_eq!(server.await.unwrap(), IpAddr::from([127, 0, 0, 2]));
        })
        .await;
}
