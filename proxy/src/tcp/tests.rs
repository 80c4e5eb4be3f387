//! Bytes in both directions, in every amount, to their end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::io::{Io, Prefixed};

/// A connection: its near and its far end.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from((index * 31 + index / 251 + seed) % 256).unwrap()).collect()
}

/// What arrives on either side of a copy when this is sent there and back, and what was counted.
async fn through(there: &[u8], back: &[u8], prefix: &'static [u8]) -> (Vec<u8>, Vec<u8>, (usize, usize)) {
    let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
    let mut a = Prefixed { prefix: Bytes::from_static(prefix), io: Io::Tcp(downstream) };
    let mut b = Io::Tcp(upstream);
    let mut counted = (0, 0);
    let mut moved = |there, back| counted = (counted.0 + there, counted.1 + back);
    let copying = async {
        copy_both(&mut a, &mut b, Duration::ZERO, &mut moved).await.unwrap();
    };
    async fn talk(stream: &mut TcpStream, say: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = stream.split();
        let mut heard = Vec::new();
        let (said, hears) = tokio::join!(
            async {
                write.write_all(say).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut heard)
        );
        said.unwrap();
        hears.unwrap();
        heard
    }
    let ((), at_client, at_server) = tokio::join!(copying, talk(&mut client, there), talk(&mut server, back));
    (at_server, at_client, counted)
}

#[tokio::test]
async fn small_and_large_streams_arrive_whole_and_are_counted() {
    for (there, back) in [(0, 0), (1, 100_000), (5_000_000, 3), (9_000_000, 9_000_000)] {
        let (there, back) = (pattern(there, 1), pattern(back, 2));
        let (at_server, at_client, counted) = through(&there, &back, b"").await;
        assert!(at_server == there && at_client == back, "{} and {} bytes", there.len(), back.len());
        assert_eq!(counted, (there.len(), back.len()));
    }
}

#[tokio::test]
async fn what_was_read_before_goes_first() {
    let there = pattern(4_000_000, 1);
    let (at_server, _, _) = through(&there, b"", b"first ").await;
    assert!(at_server.starts_with(b"first ") && at_server[6..] == there);
}

#[tokio::test]
async fn a_side_that_waits_holds_no_buffer_and_a_stream_in_bulk_is_spliced() {
    let ((mut client, downstream), (upstream, mut server)) = (pair().await, pair().await);
    let (mut a, mut b) = (Io::Tcp(downstream), Io::Tcp(upstream));
    let mut way = Way::new();
    let mut copied = 0;
    let mut copy = async |way: &mut Way, until: usize| {
        poll_fn(|cx| match way.poll(&mut a, &mut b, cx, &mut |n| copied += n) {
            Poll::Pending if copied >= until => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => panic!("{ended:?}"),
        })
        .await;
    };
    client.write_all(b"hello").await.unwrap();
    copy(&mut way, 5).await;
    assert!(way.held.is_empty() && way.splice.is_none());
    let total = 32 << 20;
    let send = async {
        client.write_all(&vec![7; total]).await.unwrap();
    };
    let receive = async {
        let mut all = vec![0; total + 5];
        server.read_exact(&mut all).await.unwrap();
        assert!(all.starts_with(b"hello\x07") && all.ends_with(&[7; 100]));
    };
    tokio::join!(send, receive, copy(&mut way, total + 5));
    let splice = way.splice.as_ref().expect("so much is bulk");
    assert!(splice.is_at_rest() && way.held.is_empty());
}

#[tokio::test]
async fn a_side_that_breaks_is_an_error_and_not_an_end() {
    let ((client, downstream), (upstream, _server)) = (pair().await, pair().await);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let (mut a, mut b) = (Io::Tcp(downstream), Io::Tcp(upstream));
    let ended = copy_both(&mut a, &mut b, Duration::ZERO, &mut |_, _| {}).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_copy_and_bytes_put_the_end_off() {
    let ((mut near, a), (b, _far)) = (tokio::io::duplex(64), tokio::io::duplex(64));
    let (mut a, mut b) = (a, b);
    let start = Instant::now();
    let mut moved = |_, _| {};
    let (ended, ()) = tokio::join!(copy_both(&mut a, &mut b, Duration::from_secs(10), &mut moved), async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        near.write_all(b"x").await.unwrap();
    });
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 17);
}

impl Side for tokio::io::DuplexStream {}
