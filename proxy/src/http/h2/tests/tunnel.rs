//! Other protocols inside one stream.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::http::tunnel::Tunnel;
use crate::http::websocket::{ACCEPT, KEY, accept};

fn websocket() -> RequestHead {
    RequestHead { upgrade: Some("websocket".into()), ..head("GET") }
}

/// A client of a server that takes other protocols.
async fn connect_to_switch(handler: impl AsyncFn(Request) -> Response + 'static, drain: drain::Drain) -> Client {
    let mut options = options();
    options.http2.allow_connect = true;
    connect_with(options, handler, drain).await
}

/// The server's answer, and the other end of what it gives.
fn switches() -> (Response, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    let tunnel = Tunnel::Connection(Prefixed { prefix: Bytes::from_static(b"first "), io: Io::Unix(near) });
    let head = ResponseHead { headers: [("upgrade", "websocket")].into_iter().collect(), ..ResponseHead::new(101) };
    (Response { tunnel: Some(Box::new(tunnel)), ..Response::new(head, Body::Empty) }, far)
}

#[tokio::test]
async fn bytes_and_both_ends_pass_a_stream_that_switched() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
            let handler = async move |request: Request| {
                let (response, far) = switches();
                let _ = seen.send((request, far));
                response
            };
            let client = connect_to_switch(handler, drain).await;
            let response = client.clone().send(&websocket(), Body::Empty).await.unwrap();
            let (request, mut far) = requests.recv().await.unwrap();
            assert_eq!((request.head.method.as_str(), request.head.upgrade.as_deref()), ("GET", Some("websocket")));
            assert_eq!((request.head.path.as_str(), request.body.is_end()), ("/p?q", true));
            assert!(request.head.headers.contains(KEY), "an HTTP/1.1 server asks for a key");
            assert_eq!((response.head.status, response.head.headers.get_str("upgrade")), (101, Some("websocket")));

            let mut near = *response.tunnel.unwrap();
            let sent = vec![7; 1 << 20];
            let ((), received) = tokio::join!(
                async {
                    near.write_all(&sent).await.unwrap();
                    near.shutdown().await.unwrap();
                },
                async {
                    let mut received = Vec::new();
                    far.read_to_end(&mut received).await.unwrap();
                    received
                }
            );
            assert!(received == sent);
            far.write_all(b"last").await.unwrap();
            drop(far);
            let mut told = String::new();
            near.read_to_string(&mut told).await.unwrap();
            assert_eq!(told, "first last");
            drop(near);
            assert_eq!(client.active(), 0);
        })
        .await;
}

#[tokio::test]
async fn a_key_is_accepted_where_the_other_side_knows_of_none() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let client = connect_to_switch(async |_| switches().0, drain).await;
            let mut asked = websocket();
            asked.headers.append(KEY, "dGhlIHNhbXBsZSBub25jZQ==");
            let response = client.send(&asked, Body::Empty).await.unwrap();
            assert_eq!(response.head.headers.get(ACCEPT).unwrap(), accept(b"dGhlIHNhbXBsZSBub25jZQ==").as_bytes());
        })
        .await;
}

#[tokio::test]
async fn a_switch_that_is_refused_is_an_ordinary_answer() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let refused = async |_| Response::new(ResponseHead::new(403), Body::Full(Bytes::from_static(b"no")));
            let client = connect_to_switch(refused, drain).await;
            let response = client.send(&websocket(), Body::Empty).await.unwrap();
            assert_eq!((response.head.status, response.tunnel.is_none()), (403, true));
            assert_eq!(collect(response.body).await.0, b"no");
        })
        .await;
}

#[tokio::test]
async fn a_client_that_gives_up_cuts_the_upstream_off() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let (seen, mut upstreams) = tokio::sync::mpsc::unbounded_channel();
            let handler = async move |_| {
                let (response, far) = switches();
                let _ = seen.send(far);
                response
            };
            let client = connect_to_switch(handler, drain).await;
            drop(client.clone().send(&websocket(), Body::Empty).await.unwrap());
            let mut far = upstreams.recv().await.unwrap();
            assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(client.active(), 0);
        })
        .await;
}

#[tokio::test]
async fn no_protocol_is_switched_to_unless_that_is_allowed() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let client = connect(async |_| switches().0, drain).await;
            let error = client.send(&websocket(), Body::Empty).await.unwrap_err();
            assert!(matches!(error, SendError::Reset(_)), "{error}");
        })
        .await;
}
