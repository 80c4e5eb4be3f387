//! Clients that keep a port waiting, and those that do not.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::held::{Calls, Held};
use super::{Limits, serve};

const PATIENCE: Duration = Duration::from_secs(60);
/// More than is on its way between two sockets.
const MUCH: usize = 64 << 20;
const HELLO: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A port that waits for heads a moment only, the end of it, and what lets a slow answer go on.
async fn port(connections: usize) -> (std::net::SocketAddr, oneshot::Sender<()>, Arc<Notify>) {
    let short = Duration::from_millis(500);
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let slow = async move || {
        let rest = futures_util::stream::once(async move {
            waits.notified().await;
            Ok::<_, std::convert::Infallible>(Bytes::from("the rest"))
        });
        let first = futures_util::stream::iter([Ok(Bytes::from("first, "))]);
        Body::from_stream(futures_util::StreamExt::chain(first, rest))
    };
    let much = || async { vec![b'x'; MUCH] };
    let sent = |body: Bytes| async move { body.len().to_string() };
    let router = Router::new().route("/", get(|| async { "hello" }).post(sent));
    let router = router.route("/slow", get(slow)).route("/much", get(much));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel();
    let limits = Limits { head: short, idle: short, connections };
    tokio::spawn(serve(listener, router, limits, async move { drop(ended.await) }));
    (address, end, go_on)
}

async fn say(address: std::net::SocketAddr, words: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    stream
}

/// All that comes until the other side ends it.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is held open");
    drop(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn who_never_sends_a_whole_head_is_let_go() {
    let (address, _end, _) = port(8).await;
    // Nothing, half a head, half of the words by which HTTP/2 begins, and these words without a request.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for words in [&b""[..], b"GET / HTTP/1.1\r\nhost:", b"PRI * HT", preface] {
        let mut stream = say(address, words).await;
        let said = until_closed(&mut stream).await;
        assert!(!said.contains("hello"), "{said}");
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_more_is_asked_is_closed() {
    let (address, _end, _) = port(8).await;
    let mut stream = say(address, HELLO).await;
    assert!(until_closed(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn an_answer_that_takes_its_time_is_not_cut() {
    let (address, _end, go_on) = port(8).await;
    let mut slow = say(address, b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    // Others that are idle are closed meanwhile, some of them begun later.
    for _ in 0..3 {
        until_closed(&mut say(address, b"").await).await;
    }
    go_on.notify_one();
    let said = until_closed(&mut slow).await;
    assert!(said.contains("first, ") && said.contains("the rest"), "{said}");
}

#[tokio::test]
async fn there_are_only_so_many_connections_and_the_next_is_served_when_one_ends() {
    let (address, _end, go_on) = port(1).await;
    let mut only = say(address, b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut first = [0; 1];
    timeout(PATIENCE, only.read_exact(&mut first)).await.unwrap().unwrap();
    let mut next = say(address, HELLO).await;
    let mut early = [0; 1];
    assert!(timeout(Duration::from_millis(200), next.read(&mut early)).await.is_err(), "there is no room for it");
    go_on.notify_one();
    assert!(until_closed(&mut only).await.contains("the rest"));
    assert!(until_closed(&mut next).await.ends_with("hello"));
}

/// The words that begin a connection over HTTP/2 whose streams have room for so much, and a GET.
fn over_http2(window: u32, path: &str) -> Vec<u8> {
    let mut words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    words.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4]);
    words.extend(window.to_be_bytes());
    // GET, http, `:path` and `:authority` by their index and a literal.
    let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.as_bytes());
    head.extend([0x01, 1, b'a']);
    words.extend([0, 0, u8::try_from(head.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    words.extend(head);
    words
}

#[tokio::test]
async fn who_does_not_take_the_answer_is_let_go_and_makes_room() {
    let much = b"GET /much HTTP/1.1\r\nhost: a\r\n\r\n".to_vec();
    for words in [much, over_http2(0, "/"), over_http2(65_535, "/much")] {
        let (address, _end, _) = port(1).await;
        let idle = say(address, &words).await;
        let mut next = say(address, HELLO).await;
        assert!(until_closed(&mut next).await.ends_with("hello"));
        drop(idle);
    }
}

#[tokio::test]
async fn who_never_sends_all_of_a_body_is_let_go() {
    let (address, _end, _) = port(8).await;
    let words = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345";
    assert!(!until_closed(&mut say(address, words).await).await.contains("200 OK"));
}

#[tokio::test(start_paused = true)]
async fn who_takes_an_answer_slowly_is_waited_for_and_who_stops_is_not() {
    let (limits, calls) = (Limits::default(), Arc::new(Calls::default()));
    let (ours, mut theirs) = tokio::io::duplex(16);
    let mut held = Held::new(ours, Arc::clone(&calls), limits);
    let _under_way = Calls::begin(&calls);
    let written = tokio::spawn(async move { held.write_all(&[b'x'; 160]).await.map_err(|error| error.kind()) });
    for _ in 0..5 {
        tokio::time::sleep(limits.idle * 9 / 10).await;
        theirs.read_exact(&mut [0; 16]).await.unwrap();
        assert!(!written.is_finished());
    }
    let ended = timeout(3 * limits.idle, written).await.expect("it is held open").unwrap();
    assert_eq!(ended, Err(std::io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn an_answer_over_http2_that_takes_its_time_is_not_cut() {
    let (address, _end, go_on) = port(8).await;
    let mut slow = say(address, &over_http2(65_535, "/slow")).await;
    for _ in 0..3 {
        until_closed(&mut say(address, b"").await).await;
    }
    go_on.notify_one();
    let said = until_closed(&mut slow).await;
    assert!(said.contains("first, ") && said.contains("the rest"), "{said}");
}
