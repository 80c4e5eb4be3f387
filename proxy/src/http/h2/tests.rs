//! HTTP/2 between our client and our server.

mod tunnel;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::*;
use crate::config::{Http2Options, PingSettings};
use crate::drain;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::http::{Request, Response};
use crate::io::{Io, Prefixed};

fn options() -> ServerOptions {
    ServerOptions {
        buffer_limit: 1 << 20,
        scheme: "http",
        http2: Http2Options { max_concurrent_streams: 100, ..Http2Options::default() },
        max_headers_bytes: 60 * 1024,
        max_headers_count: 100,
        idle_timeout: Duration::ZERO,
        stream_idle_timeout: Duration::ZERO,
    }
}

/// A client connected to a server with that handler.
async fn connect(handler: impl AsyncFn(Request) -> Response + 'static, drain: drain::Drain) -> Client {
    connect_with(options(), handler, drain).await
}

async fn connect_with(
    options: ServerOptions,
    handler: impl AsyncFn(Request) -> Response + 'static,
    drain: drain::Drain,
) -> Client {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::task::spawn_local(async move {
        let io = Prefixed { prefix: Bytes::new(), io: Io::Unix(theirs) };
        let _ = serve(io, &options, &drain, Rc::new(handler)).await;
    });
    handshake(Io::Unix(ours), ClientOptions { max_headers_bytes: 60 * 1024, http2: &Http2Options::default() })
        .await
        .unwrap()
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
            Frame::Trailers(map) => trailers = Some(*map),
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
            let response = client.clone().send(&head("POST"), Body::Full(sent.clone())).await.unwrap();
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
            let pending = client.clone().send(&first, Body::Full(Bytes::from_static(b"x")));
            let drained = async {
                tokio::task::yield_now().await;
                trigger.start();
                release.send_replace(true);
            };
            let (response, ()) = tokio::join!(pending, drained);
            assert_eq!(collect(response.unwrap().body).await.0, b"x");
            assert!(client.clone().send(&head("GET"), Body::Empty).await.is_err());
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
                _ = client.clone().send(&request, Body::Empty) => unreachable!("the handler never answers"),
                _ = running.wait_for(|started| *started) => {}
            }
            seen.wait_for(|dropped| *dropped).await.unwrap();
        })
        .await;
}

/// A client of the `h2` crate itself, so that it may do what ours does not.
async fn raw(
    handler: impl AsyncFn(Request) -> Response + 'static,
    options: ServerOptions,
) -> ::h2::client::SendRequest<Bytes> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::task::spawn_local(async move {
        let (_trigger, drain) = drain::pair();
        let io = Prefixed { prefix: Bytes::new(), io: Io::Unix(theirs) };
        let _ = serve(io, &options, &drain, Rc::new(handler)).await;
    });
    let (send, connection) = ::h2::client::handshake(ours).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    send.ready().await.unwrap()
}

fn post() -> http::Request<()> {
    http::Request::post("http://svc/p").body(()).unwrap()
}

#[tokio::test]
async fn a_stream_that_ends_with_an_empty_frame_ends_upstream_too() {
    let (_trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let upstream = Rc::new(connect(echo, drain).await);
            let forward = async move |request: Request| {
                let upstream = Rc::clone(&upstream);
                upstream.as_ref().clone().send(&request.head, request.body).await.unwrap()
            };
            let mut client = raw(forward, options()).await;
            let (answer, mut stream) = client.send_request(post(), false).unwrap();
            stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let mut body = answer.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "hello");
            stream.send_data(Bytes::new(), true).unwrap();
            while let Some(data) = body.data().await {
                assert!(data.unwrap().is_empty());
            }
        })
        .await;
}

#[tokio::test]
async fn a_request_that_is_reset_without_an_error_is_not_whole() {
    LocalSet::new()
        .run_until(async {
            let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
            let handler = async move |mut request: Request| {
                loop {
                    let frame = request.body.frame().await;
                    let over = !matches!(frame, Some(Ok(_)));
                    told.send(frame.map(|frame| frame.is_ok())).unwrap();
                    if over {
                        return Response::new(ResponseHead::new(200), Body::Empty);
                    }
                }
            };
            let mut client = raw(handler, options()).await;
            let (_answer, mut stream) = client.send_request(post(), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            assert_eq!(seen.recv().await, Some(Some(true)));
            stream.send_reset(::h2::Reason::NO_ERROR);
            // Either the handler is dropped with its stream, or it learns that the body failed.
            assert!(matches!(seen.recv().await, None | Some(Some(false))));
        })
        .await;
}

#[tokio::test]
async fn a_connection_that_was_told_to_go_takes_no_new_streams() {
    let (trigger, drain) = drain::pair();
    LocalSet::new()
        .run_until(async {
            let mut client = connect(echo, drain).await;
            let (never, _kept) = UnixStream::pair().unwrap();
            let mut long = head("POST");
            long.path = "/long".into();
            // A stream that stays open: its body is another connection that says nothing.
            let body = crate::http::h1::tests::silent_body(Io::Unix(never));
            let _open = client.clone().send(&long, body).await.unwrap();
            trigger.start();
            while !client.is_closed() {
                tokio::task::yield_now().await;
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_after_its_last_request_too() {
    LocalSet::new()
        .run_until(async {
            let idle = ServerOptions { idle_timeout: Duration::from_secs(5), ..options() };
            let mut client = raw(echo, idle).await;
            let request = http::Request::get("http://svc/p").body(()).unwrap();
            client.send_request(request, true).unwrap().0.await.unwrap();
            tokio::time::advance(Duration::from_secs(6)).await;
            while client.clone().ready().await.is_ok() {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_says_a_word_is_not_waited_for() {
    LocalSet::new()
        .run_until(async {
            let (_silent, theirs) = UnixStream::pair().unwrap();
            let (_trigger, drain) = drain::pair();
            let io = Prefixed { prefix: Bytes::new(), io: Io::Unix(theirs) };
            assert!(serve(io, &options(), &drain, Rc::new(echo)).await.is_err());
        })
        .await;
}

#[tokio::test]
async fn more_headers_than_are_allowed_are_refused() {
    LocalSet::new()
        .run_until(async {
            let mut client = raw(echo, options()).await;
            let mut request = post();
            for n in 0..101 {
                request.headers_mut().append("x-many", n.into());
            }
            let answer = client.send_request(request, true).unwrap().0.await.unwrap();
            assert_eq!(answer.status(), 431);
        })
        .await;
}

#[tokio::test]
async fn a_value_is_judged_without_the_blanks_around_it_as_on_http1() {
    LocalSet::new()
        .run_until(async {
            let handler = async |request: Request| {
                let mut head = ResponseHead::new(200);
                head.headers = request.head.headers;
                Response::new(head, Body::Empty)
            };
            let mut client = raw(handler, options()).await;
            let mut request = post();
            for value in ["guest ", "\tguest", " ", " two words\t "] {
                request.headers_mut().append("x-role", value.parse().unwrap());
            }
            let answer = client.send_request(request, true).unwrap().0.await.unwrap();
            let seen: Vec<_> = answer.headers().get_all("x-role").iter().collect();
            assert_eq!(seen, ["guest", "guest", "", "two words"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_never_read_is_given_up() {
    LocalSet::new()
        .run_until(async {
            let handler = async |_: Request| {
                let body = Body::Full(Bytes::from(vec![0; 1024 * 1024]));
                Response::new(ResponseHead::new(200), body)
            };
            let impatient = ServerOptions { stream_idle_timeout: Duration::from_secs(5), ..options() };
            let mut client = raw(handler, impatient).await;
            let answer = client.send_request(post(), true).unwrap().0.await.unwrap();
            let mut body = answer.into_body();
            // The window is never opened again.
            while let Some(Ok(_)) = body.data().await {}
            assert!(!body.is_end_stream());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_left() {
    LocalSet::new()
        .run_until(async {
            let keepalive =
                PingSettings { interval: Duration::from_secs(10), jitter: 0, timeout: Duration::from_secs(2) };
            let http2 = Http2Options { keepalive: Some(keepalive), ..Http2Options::default() };
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let (_trigger, drain) = drain::pair();
            let io = Prefixed { prefix: Bytes::new(), io: Io::Unix(theirs) };
            let start = tokio::time::Instant::now();
            let asking = ServerOptions { http2, ..options() };
            // A client that says what it must, and nothing more.
            tokio::io::AsyncWriteExt::write_all(&mut ours, PREFACE).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut ours, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            assert!(serve(io, &asking, &drain, Rc::new(echo)).await.is_err());
            assert_eq!(start.elapsed().as_secs(), 12);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_which_nothing_is_read_ends() {
    const WINDOWS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0";
    const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";
    LocalSet::new()
        .run_until(async {
            let (mut unread, theirs) = UnixStream::pair().unwrap();
            let (_trigger, drain) = drain::pair();
            let io = Prefixed { prefix: Bytes::new(), io: Io::Unix(theirs) };
            unread.write_all(&[PREFACE, WINDOWS, GET].concat()).await.unwrap();
            let limit = Duration::from_secs(5);
            let impatient = ServerOptions { stream_idle_timeout: limit, idle_timeout: limit, ..options() };
            let large = async |_: Request| Response::new(ResponseHead::new(200), Body::Full(vec![0; 1 << 24].into()));
            assert!(serve(io, &impatient, &drain, Rc::new(large)).await.is_err());
        })
        .await;
}
