//! What connections to upstreams tell of the clients that they are made for, and how they are tried.

use tokio::net::TcpListener;

use super::*;

const SOCKET: &str = "transport_socket: {name: p, typed_config: {'@type':
    type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport,";
const RAW: &str = "transport_socket: {name: r, typed_config: {'@type':
    type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}},";

async fn upstream() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        all.push(stream.read_u8().await.unwrap());
    }
    all
}

/// A listener that routes all requests to the cluster `c`.
fn http(address: SocketAddr) -> String {
    listener("l", address, "")
        .replace("direct_response: {status: 200, body: {inline_string: l}}", "route: {cluster: c}")
}

#[tokio::test]
async fn a_header_tells_the_upstream_who_the_client_is() {
    let ((accepts, at), address) = (upstream().await, free());
    let config = "config: {version: V2, added_tlvs: [{type: 224, value: aGk=}]},";
    let plane = start_with(&[tcp("l", address, "")], &[cluster("c", &[at], &format!("{SOCKET} {config} {RAW}"))]).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let (mut stream, _) = accepts.accept().await.unwrap();
    let addresses = crate::proxy_protocol::Addresses { source: client.local_addr().unwrap(), destination: address };
    let expected = crate::proxy_protocol::write_2(Some(addresses), &[(224, b"hi".to_vec())]).unwrap();
    let mut told = vec![0; expected.len() + 5];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(told, [&expected[..], b"hello"].concat());
    plane.stop();
}

#[tokio::test]
async fn requests_share_connections_that_tell_of_the_same_client_alone() {
    let ((accepts, at), address) = (upstream().await, free());
    let plane =
        start_with(&[http(address)], &[cluster("c", &[at], &format!("{SOCKET} config: {{version: V1}}, {RAW}"))]).await;
    let mut clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let mut streams = Vec::new();
    for client in &mut clients {
        let own = client.local_addr().unwrap();
        let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), address.port());
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let (mut stream, _) = accepts.accept().await.unwrap();
        assert_eq!(read_until(&mut stream, b"\r\n").await, line.as_bytes());
        stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
        read_until(client, b"\r\n\r\n").await;
        streams.push(stream);
    }
    for (client, stream) in clients.iter_mut().zip(&mut streams) {
        read_until(stream, b"\r\n\r\n").await;
        client.write_all(b"GET /again HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        assert!(read_until(stream, b"\r\n\r\n").await.starts_with(b"GET /again "));
    }
    plane.stop();
}

#[tokio::test]
async fn the_name_of_the_request_is_asked_for_by_sni() {
    let ((accepts, at), address) = (upstream().await, free());
    let more = "transport_socket: {name: t, typed_config: {'@type':
        type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {}}},
        typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type':
        type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
        explicit_http_config: {http_protocol_options: {}}, upstream_http_protocol_options: {auto_sni: true}}},";
    let plane = start_with(&[http(address)], &[cluster("c", &[at], more)]).await;
    for (authority, expected) in [("a.example:443", Some("a.example")), ("127.0.0.9", None)] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
        let (stream, _) = accepts.accept().await.unwrap();
        let hello = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.unwrap();
        assert_eq!(hello.client_hello().server_name(), expected);
    }
    plane.stop();
}

#[tokio::test]
async fn another_host_is_tried_as_often_as_is_allowed() {
    let ((accepts, at), gone) = (upstream().await, free());
    let (once, twice) = (free(), free());
    let listeners = [tcp("once", once, ""), tcp("twice", twice, "max_connect_attempts: 2")];
    let plane = start_with(&listeners, &[cluster("c", &[gone, at], "")]).await;
    for _ in 0..4 {
        let _client = TcpStream::connect(twice).await.unwrap();
        accepts.accept().await.unwrap();
    }
    let mut refused = 0;
    for _ in 0..4 {
        let accepted = match TcpStream::connect(once).await {
            // The reset may come before the connect returns.
            Err(_) => false,
            Ok(mut client) => tokio::select! {
                accepted = accepts.accept() => accepted.is_ok(),
                ended = client.read_u8() => ended.is_ok(),
            },
        };
        refused += usize::from(!accepted);
    }
    assert_eq!(refused, 2, "every other host is gone");
    plane.stop();
}

#[tokio::test]
async fn a_connection_ends_when_it_has_lasted_long_enough() {
    let ((accepts, at), address) = (upstream().await, free());
    let limit = "max_downstream_connection_duration: 0.05s";
    let plane = start_with(&[tcp("l", address, limit)], &[cluster("c", &[at], "")]).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut stream, _) = accepts.accept().await.unwrap();
    assert!(client.read_u8().await.is_err());
    assert!(stream.read_u8().await.is_err());
    plane.stop();
}
