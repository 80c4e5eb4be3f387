//! Listeners that change or go while connections come and are open.

use std::time::Duration;

use super::*;

/// One request on a connection that stays.
async fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match client.read(&mut piece).await.unwrap() {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_listener_that_is_updated_under_load_turns_nobody_away() {
    let address = free();
    let plane = start(&[listener("l", address, "")]).await;
    let mut stays = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut stays).await.contains("200 OK"));
    let updating = async {
        for round in 0..20 {
            let more = format!("per_connection_buffer_limit_bytes: {},", 65_536 + round);
            plane.apply(snapshot(&[listener("l", address, &more)], &[])).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let load = async {
        for _ in 0..200 {
            let told = answer(address, b"").await;
            assert!(told.starts_with("l "), "{told:?}");
        }
    };
    tokio::join!(updating, load);
    let kept = ask(&mut stays).await;
    assert!(kept.contains("200 OK") && !kept.contains("connection: close"), "its chain never changed: {kept}");
    plane.stop();
}

#[tokio::test]
async fn a_chain_that_changes_ends_its_connections_after_the_answer_and_the_new_one_serves() {
    let address = free();
    let plane = start(&[listener("old", address, "")]).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut client).await.contains("200 OK"));
    plane.apply(snapshot(&[listener("new", address, "")], &[])).await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "an idle connection of the old chain ends");
    assert!(answer(address, b"").await.starts_with("new "));
    plane.stop();
}

#[tokio::test]
async fn what_the_application_asks_of_others_is_served_while_the_proxy_drains() {
    let (inbound, outbound) = (free(), free());
    let plane = start(&[
        listener("in", inbound, "traffic_direction: INBOUND,"),
        listener("out", outbound, "traffic_direction: OUTBOUND,"),
    ])
    .await;
    plane.drain(Duration::from_secs(60)).await;
    assert!(TcpStream::connect(inbound).await.is_err());
    let mut client = TcpStream::connect(outbound).await.unwrap();
    for _ in 0..2 {
        assert!(ask(&mut client).await.contains("200 OK"));
    }
    plane.stop();
}
