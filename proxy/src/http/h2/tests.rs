//! HTTP/2 between our client and our server.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::*;
use crate::drain;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::http::{Request, Response};
use crate::io::{Io, Prefixed};

fn options() -> ServerOptions {
    ServerOptions {
        scheme: "http",
        max_concurrent_streams: 100,
        max_headers_bytes: 60 * 1024,
        idle_timeout: Duration::ZERO,
    }
}

/// A client connected to a server with that handler.
async fn connect(handler: impl AsyncFn(Request) -> Response + 'static, drain: drain::Drain) -> Client {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::task::spawn_local(async move {
        let io = Prefixed { prefix: Bytes::new(), io: Io::Unix(theirs) };
        let _ = serve(io, &options(), &drain, Rc::new(handler)).await;
    });
    handshake(Io::Unix(ours), ClientOptions { max_headers_bytes: 60 * 1024 }).await.unwrap()
}

fn head(method: &str) -> RequestHead {
    RequestHead {
        method: method.into(),
        scheme: "http",
        authority: "svc:80".into(),
        path: "/p?q".into(),
        version: Version::Http2,
        headers: [("x-a", "1"), ("te", "trailers"), ("connection", "x")].into_iter().collect(),
        upgrade: None,
    }
}

/// Answers with the body it got, and trailers that tell what the head was.
async fn echo(request: Request) -> Response {
    let mut response = Response::new(ResponseHead::new(200), request.body);
    response.head.headers.append("x-path", &request.head.path);
    response
        .head
        .headers
        .append("x-names", request.head.headers.iter().map(|(n, _)| n).collect::<Vec<_>>().join(&b','));
    response
}

async fn collect(mut body: Body) -> (Vec<u8>, Option<Headers>) {
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.unwrap() {
            Frame::Data(piece) => data.extend_from_slice(&piece),
            Frame::Trailers(map) => trailers = Some(map),
        }
    }
    (data, trailers)
}

#[tokio::test]
async fn a_large_body_goes_there_and_back() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let client = connect(echo, drain).await;
            let sent = Bytes::from(vec![7u8; 3_000_000]);
            let response = client.send(&head("POST"), Body::Full(sent.clone())).await.unwrap();
            assert_eq!(response.head.headers.get_str("x-path"), Some("/p?q"));
            assert_eq!(response.head.headers.get_str("x-names"), Some("x-a,te"));
            let (data, _) = collect(response.body).await;
            assert!(data == sent);
            assert_eq!(client.active(), 0);
        })
        .await;
}

#[tokio::test]
async fn a_draining_server_finishes_what_it_has_and_takes_no_more() {
    let (trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let (release, held) = tokio::sync::watch::channel(false);
            let client = connect(
                async move |request| {
                    let mut held = held.clone();
                    held.wait_for(|open| *open).await.unwrap();
                    echo(request).await
                },
                drain,
            )
            .await;
            let first = head("POST");
            let pending = client.send(&first, Body::Full(Bytes::from_static(b"x")));
            let drained = async {
                tokio::task::yield_now().await;
                trigger.start();
                release.send_replace(true);
            };
            let (response, ()) = tokio::join!(pending, drained);
            assert_eq!(collect(response.unwrap().body).await.0, b"x");
            assert!(client.send(&head("GET"), Body::Empty).await.is_err());
        })
        .await;
}

#[tokio::test]
async fn a_handler_is_dropped_when_its_client_gives_up() {
    struct Told(tokio::sync::watch::Sender<bool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send_replace(true);
        }
    }
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let (dropped, mut seen) = tokio::sync::watch::channel(false);
            let (started, mut running) = tokio::sync::watch::channel(false);
            let client = connect(
                async move |_| {
                    let _told = Told(dropped.clone());
                    started.send_replace(true);
                    std::future::pending().await
                },
                drain,
            )
            .await;
            let request = head("GET");
            tokio::select! {
                _ = client.send(&request, Body::Empty) => unreachable!("the handler never answers"),
                _ = running.wait_for(|started| *started) => {}
            }
            seen.wait_for(|dropped| *dropped).await.unwrap();
        })
        .await;
}
