//! Probes against real sockets and commands, and the counting of their outcomes.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use wire::probe::Method;

use super::*;
use crate::listener::test_kit::free;

fn probe(method: Method) -> wire::Probe {
    wire::Probe { method: Some(method), success_threshold: 1, failure_threshold: 3, ..wire::Probe::default() }
}

/// Answers one request with this status; the port.
fn server(status: u16) -> (u32, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().into();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 1024];
        while !seen.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..count]);
        }
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").unwrap();
        String::from_utf8(seen).unwrap()
    });
    (port, thread)
}

fn http(port: u32) -> wire::Probe {
    let headers = vec![wire::Header { name: "X-Probe".into(), value: "yes".into() }];
    let host = "127.0.0.1".into();
    probe(Method::HttpGet(wire::HttpGet { path: "/health".into(), port, host, https: false, headers }))
}

#[tokio::test]
async fn an_http_probe_takes_2xx_and_3xx_and_sends_its_headers() {
    for (status, serves) in [(200, true), (302, true), (404, false), (503, false)] {
        let (port, thread) = server(status);
        assert_eq!(methods::once(&http(port)).await.is_ok(), serves, "{status}");
        let seen = thread.join().unwrap();
        assert!(seen.starts_with("GET /health HTTP/1.1\r\n") && seen.contains("x-probe: yes"), "{seen}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_does_not_serve() {
    let listener = TcpListener::bind(free()).unwrap();
    let port = listener.local_addr().unwrap().port().into();
    let tcp = probe(Method::TcpSocket(wire::TcpSocket { host: "127.0.0.1".into(), port }));
    assert_eq!(methods::once(&tcp).await, Ok(()));
    drop(listener);
    assert!(methods::once(&tcp).await.unwrap_err().contains("cannot be connected to"));
}

#[tokio::test]
async fn a_command_serves_by_its_exit_code() {
    let exec =
        |words: &[&str]| probe(Method::Exec(wire::Exec { command: words.iter().map(|w| (*w).into()).collect() }));
    assert_eq!(methods::once(&exec(&["true"])).await, Ok(()));
    assert!(methods::once(&exec(&["sh", "-c", "exit 3"])).await.unwrap_err().contains("exit status: 3"));
    assert!(methods::once(&exec(&["/no/such/program"])).await.unwrap_err().contains("cannot be started"));
}

#[test]
fn health_changes_after_as_many_outcomes_in_a_row_as_are_set() {
    let mut streak = Streak::of(&wire::Probe { success_threshold: 2, failure_threshold: 3, ..wire::Probe::default() });
    let mut take = |outcome: Result<(), &str>| streak.take(outcome.map_err(str::to_owned));
    assert_eq!(take(Ok(())), None);
    assert_eq!(take(Ok(())), Some(None));
    assert_eq!(take(Ok(())), None);
    assert_eq!((take(Err("1")), take(Err("2")), take(Ok(()))), (None, None, None));
    assert_eq!((take(Err("1")), take(Err("2")), take(Err("3"))), (None, None, Some(Some("3".into()))));
    assert_eq!((take(Err("4")), take(Ok(())), take(Ok(()))), (None, None, Some(None)));
}

#[tokio::test]
async fn the_first_outcome_is_told_at_once_and_probing_ends_with_its_listener() {
    let (told, mut health) = watch::channel(None);
    let task = tokio::spawn(run(probe(Method::Exec(wire::Exec { command: vec!["true".into()] })), told));
    health.changed().await.unwrap();
    assert_eq!(*health.borrow(), Some(None));
    drop(health);
    task.await.unwrap();
}
