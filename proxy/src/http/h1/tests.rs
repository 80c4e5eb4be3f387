//! HTTP/1.1 on raw bytes, both sides.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::*;
use crate::drain;
use crate::http::body::{Body, Frame};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::http::{Request, Response};
use crate::io::Io;

fn options() -> ServerOptions {
    ServerOptions {
        buffer_limit: 1 << 20,
        limits: Limits::default(),
        scheme: "http",
        idle_timeout: Duration::ZERO,
        headers_timeout: Duration::ZERO,
        accept_http_10: true,
        custom_methods: false,
        stream_idle_timeout: Duration::ZERO,
        delayed_close: Duration::ZERO,
        default_host_for_http_10: String::new(),
        proper_case: false,
    }
}

fn refused(error: ParseError) -> Response {
    Response::new(ResponseHead::new(error.status), Body::Full(error.body().into()))
}

/// Answers with what it was asked: the request line, its headers, its body.
async fn echo(mut request: Request) -> Response {
    let mut seen = format!("{} {} {}\n", request.head.method, request.head.authority, request.head.path);
    for (name, value) in request.head.headers.iter() {
        seen += &format!("{}={}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    }
    while let Some(Ok(frame)) = request.body.frame().await {
        match frame {
            Frame::Data(data) => seen += &format!("[{}]", String::from_utf8_lossy(&data)),
            Frame::Trailers(trailers) => seen += &format!("{trailers:?}"),
        }
    }
    Response::new(ResponseHead::new(200), Body::Full(seen.into()))
}

/// What a client that sends these bytes and then half-closes reads until the end.
async fn talk(bytes: &[u8]) -> String {
    let (client, server) = UnixStream::pair().unwrap();
    let (_trigger, drain) = drain::pair();
    let serving = async {
        let _ = serve(Conn::new(Io::Unix(server), BytesMut::new()).share(), &options(), &drain, echo, refused).await;
    };
    let talking = async {
        let mut client = client;
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0u8; 4096];
        loop {
            let read = tokio::time::timeout(Duration::from_secs(60), client.read(&mut chunk)).await.unwrap().unwrap();
            answer.extend_from_slice(&chunk[..read]);
            if read == 0 || answer.ends_with(b"last\n") {
                break String::from_utf8_lossy(&answer).into_owned();
            }
        }
    };
    LocalSet::new().run_until(async { tokio::join!(serving, talking).1 }).await
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order() {
    let answer = talk(
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcPOST /b?q HTTP/1.1\r\nHOST: y\r\nTransfer-Encoding: chunked\r\n\r\n\
          3;ext=1\r\nxyz\r\n0\r\nT: 1\r\n\r\nGET /c HTTP/1.1\r\nhost: z\r\nConnection: close\r\nX-A: last\r\n\r\n",
    )
    .await;
    let order: Vec<_> = ["POST x /a\n[abc]", "POST y /b?q\n[xyz]", "GET z /c\nx-a=last\n"]
        .iter()
        .map(|part| answer.find(part).unwrap_or_else(|| panic!("{part:?} is not in {answer}")))
        .collect();
    assert!(order.is_sorted());
    assert_eq!(answer.matches("connection: close").count(), 1);
}

#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused() {
    let cases: &[(&str, &str)] = &[
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "400"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\nHost: a\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "501"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for\r\nX-Forwarded-For: 1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nab", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417"),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505"),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("\x16\x03\x01\x02", "400"),
    ];
    for (bytes, status) in cases {
        let answer = talk(bytes.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?} got {answer:?}");
        assert!(answer.contains("connection: close"), "{bytes:?} left the connection open");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_431() {
    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(61 * 1024));
    assert!(talk(huge.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
    assert!(talk(many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_connection() {
    for body in
        ["g\r\n", "3\r\nabcd\r\n", "3 \r\nabc\r\n", "3\nabc\r\n0\r\n\r\n", "3;a\rb\r\nabc\r\n", "fffffffffffffffff\r\n"]
    {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let answer = talk(request.as_bytes()).await;
        assert!(!answer.contains("[abcd]"), "{body:?}: {answer}");
        assert!(
            answer.is_empty() || answer.contains("connection: close"),
            "{body:?} left the connection open: {answer}"
        );
    }
}

#[tokio::test]
async fn absolute_form_replaces_host_and_hop_by_hop_headers_stay_behind() {
    let answer = talk(
        b"GET http://reviews:9080/r?x HTTP/1.1\r\nHost: evil\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
          Proxy-Connection: x\r\nKeep-Alive: 1\r\nTE: trailers, gzip\r\nX-End: last\r\n\r\n",
    )
    .await;
    assert!(answer.contains("GET reviews:9080 /r?x\nx-end=last\nte=trailers\n"), "{answer}");
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body() {
    let (client, server) = UnixStream::pair().unwrap();
    let (_trigger, drain) = drain::pair();
    let serving = async {
        let _ = serve(Conn::new(Io::Unix(server), BytesMut::new()).share(), &options(), &drain, echo, refused).await;
    };
    let talking = async {
        let mut client = client;
        client
            .write_all(
                b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
            )
            .await
            .unwrap();
        let mut interim = [0u8; 25];
        client.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("[ok]"), "{rest}");
    };
    LocalSet::new().run_until(async { tokio::join!(serving, talking) }).await;
}

fn head(method: &str, path: &str) -> RequestHead {
    RequestHead {
        method: method.into(),
        scheme: "http",
        authority: "svc".into(),
        path: path.into(),
        version: Version::Http11,
        headers: [("x-a", "1")].into_iter().collect::<Headers>(),
        upgrade: None,
    }
}

/// Sends a request to a server that answers with these bytes; returns what it got, the answer, and whether the
/// connection came back for reuse.
async fn ask(request: RequestHead, body: Body, answer: &'static [u8]) -> (String, Result<(u16, String), String>, bool) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let back = Rc::new(RefCell::new(None));
    let keep = Rc::clone(&back);
    let server = async {
        let mut theirs = theirs;
        let mut seen = vec![0u8; 4096];
        let n = theirs.read(&mut seen).await.unwrap();
        theirs.write_all(answer).await.unwrap();
        (theirs, String::from_utf8_lossy(&seen[..n]).into_owned())
    };
    let client = async {
        let reuse = move |client| *keep.borrow_mut() = Some(client);
        let mut response = Client::new(Io::Unix(ours))
            .send(&request, body, Limits::default(), reuse)
            .await
            .map_err(|e| e.to_string())?;
        let mut text = String::new();
        while let Some(frame) = response.body.frame().await {
            match frame.map_err(|e| e.to_string())? {
                Frame::Data(data) => text += &String::from_utf8_lossy(&data),
                Frame::Trailers(trailers) => text += &format!("{trailers:?}"),
            }
        }
        Ok((response.head.status, text))
    };
    let ((stream, seen), answer) = LocalSet::new().run_until(async { tokio::join!(server, client) }).await;
    drop(stream);
    let reused = back.borrow().is_some();
    (seen, answer, reused)
}

#[tokio::test]
async fn each_framing_of_a_response_is_read_and_the_connection_comes_back() {
    let cases: &[(&[u8], u16, &str, bool)] = &[
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", true),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, "hi", true),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", 200, "hi", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", 200, "hi", false),
    ];
    for (bytes, status, body, reused) in cases {
        let (seen, answer, came_back) = ask(head("GET", "/p"), Body::Empty, bytes).await;
        assert_eq!(seen, "GET /p HTTP/1.1\r\nhost: svc\r\nx-a: 1\r\n\r\n");
        assert_eq!(answer, Ok((*status, (*body).to_owned())));
        assert_eq!(came_back, *reused, "{}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn a_known_length_is_sent_as_such() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (seen, _, _) = ask(head("POST", "/"), Body::Full(Bytes::from_static(b"abc")), answer).await;
    assert!(seen.ends_with("content-length: 3\r\n\r\nabc"), "{seen}");
    let (seen, _, _) = ask(head("POST", "/"), Body::Empty, answer).await;
    assert!(seen.ends_with("content-length: 0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn an_ambiguous_answer_is_an_error() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"nonsense\r\n\r\n",
    ] {
        let (_, answer, reused) = ask(head("GET", "/"), Body::Empty, bytes).await;
        assert!(answer.is_err() && !reused, "{answer:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = parse_request(&bytes, Limits::default(), "http");
        let _ = parse_response(&bytes, Limits::default(), "GET");
        let mut buf = BytesMut::from(&bytes[..]);
        let mut chunked = super::chunked::Chunked::Size;
        while let Ok(super::chunked::Decoded::Data(_)) = chunked.decode(&mut buf) {}
    }
}

/// CVE-2024-23326, RUSTSEC-2026-0033.
#[tokio::test]
async fn nothing_after_an_offer_to_switch_protocols_is_taken_for_a_request() {
    let offer = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = talk(format!("{offer}GET /smuggled HTTP/1.1\r\nHost: y\r\n\r\n").as_bytes()).await;
    assert!(answer.contains("/ws") && !answer.contains("/smuggled"), "{answer}");
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_an_error() {
    let (_, answer, reused) = ask(head("GET", "/"), Body::Empty, b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n").await;
    assert!(answer.is_err() && !reused, "{answer:?}");
}

#[tokio::test]
async fn a_stray_line_end_after_a_body_does_not_keep_a_draining_connection() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let (trigger, drain) = drain::pair();
    client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc\r\n").await.unwrap();
    let serving = async {
        let _ = serve(Conn::new(Io::Unix(server), BytesMut::new()).share(), &options(), &drain, echo, refused).await;
    };
    let talking = async {
        let mut answer = [0; 1024];
        let _ = client.read(&mut answer).await.unwrap();
        trigger.start();
    };
    LocalSet::new().run_until(async { tokio::join!(serving, talking) }).await;
}

/// A request whose client fails in the middle of its body, while the upstream says nothing.
async fn client_fails(end: impl AsyncFn(tokio::net::TcpStream)) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_trigger, drain) = drain::pair();
    let (upstream, mut silent) = UnixStream::pair().unwrap();
    let upstream = RefCell::new(Some(upstream));
    let serving = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let forward = async |request: Request| {
            let client = Client::new(Io::Unix(upstream.borrow_mut().take().unwrap()));
            let sent = client.send(&request.head, request.body, Limits::default(), |_| {}).await;
            sent.unwrap_or_else(|_| Response::new(ResponseHead::new(400), Body::Empty))
        };
        let _ = serve(Conn::new(Io::Tcp(tcp), BytesMut::new()).share(), &options(), &drain, forward, refused).await;
    };
    let talking = async {
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await
            .unwrap();
        let mut seen = [0; 1000];
        while !String::from_utf8_lossy(&seen).contains("abc") {
            let _ = silent.read(&mut seen).await.unwrap();
        }
        end(client).await;
        silent
    };
    LocalSet::new().run_until(async { tokio::join!(serving, talking) }).await;
}

#[tokio::test]
async fn a_client_that_fails_in_the_middle_of_its_body_ends_the_request() {
    client_fails(async |client| drop(client)).await;
    client_fails(async |client| socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap()).await;
    client_fails(async |mut client| {
        client.write_all(b"zz\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_outlives_its_request_does_not_read_the_next_one() {
    let kept = RefCell::new(None);
    let (mut client, server) = UnixStream::pair().unwrap();
    let (_trigger, drain) = drain::pair();
    let serving = async {
        let handler = async |mut request: Request| {
            let mut seen = String::new();
            if request.head.path == "/1" {
                *kept.borrow_mut() = Some(request.body);
            } else {
                let mut outlived: Body = kept.borrow_mut().take().unwrap();
                let late = outlived.frame().await;
                assert!(matches!(late, None | Some(Err(_))), "it got {late:?}");
                while let Some(Ok(Frame::Data(data))) = request.body.frame().await {
                    seen += &String::from_utf8_lossy(&data);
                }
            }
            Response::new(ResponseHead::new(200), Body::Full(seen.into()))
        };
        let _ = serve(Conn::new(Io::Unix(server), BytesMut::new()).share(), &options(), &drain, handler, refused).await;
    };
    let talking = async {
        let both = b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc\
                     POST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\nconnection: close\r\n\r\nSECRET";
        client.write_all(both).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.ends_with("SECRET"), "{answers}");
    };
    LocalSet::new().run_until(async { tokio::join!(serving, talking) }).await;
}

/// A body of which nothing will come while its connection stays open.
pub fn silent_body(io: Io) -> Body {
    let conn = Conn::new(io, BytesMut::new()).share();
    conn.borrow_mut().begin_body(Framing::Chunked);
    Body::H1(Incoming::new(conn))
}

#[tokio::test]
async fn many_small_frames_are_not_kept_beyond_the_limit() {
    use crate::http::body::Replay;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let replay = Replay::new(silent_body(Io::Unix(ours)), 64 * 1024);
    let mut reader = replay.reader();
    for _ in 0..1000 {
        theirs.write_all(b"1\r\nx\r\n").await.unwrap();
        assert!(matches!(reader.frame().await, Some(Ok(Frame::Data(_)))));
    }
    assert!(!replay.can_restart(), "1000 frames were kept under a limit of 64 KiB");
}

#[tokio::test]
async fn an_answer_that_is_never_read_is_given_up() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let (_trigger, drain) = drain::pair();
    let impatient = ServerOptions { stream_idle_timeout: Duration::from_millis(50), ..options() };
    let large = async |_: Request| Response::new(ResponseHead::new(200), Body::Full(vec![0; 1 << 24].into()));
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let serving = serve(Conn::new(Io::Unix(server), BytesMut::new()).share(), &impatient, &drain, large, refused);
    let ended = LocalSet::new().run_until(tokio::time::timeout(Duration::from_secs(60), serving)).await;
    assert_eq!(ended.expect("the server gives up").unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}
