//! Connections that are handed to the listener of the address that they were meant for.

use std::process::Command;

use super::*;

const ORIGINAL_DST: &str = "listener_filters: [{name: o, typed_config:
    {'@type': type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}],";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A listener that takes what others hand over.
fn waiting(name: &str, address: &str) -> String {
    listener(name, at(address), "bind_to_port: false,")
}

#[tokio::test]
async fn the_listener_of_the_very_address_comes_before_that_of_all_and_else_it_stays() {
    let address = free();
    let header = "listener_filters: [{name: p, typed_config:
        {'@type': type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}],";
    let plane = start(&[
        listener("first", address, &format!("use_original_dst: true, {header}")),
        waiting("exact", "198.51.100.2:80"),
        waiting("all", "0.0.0.0:80"),
    ])
    .await;
    for (destination, taker) in
        [("198.51.100.2 1 80", "exact"), ("198.51.100.3 1 80", "all"), ("198.51.100.2 1 81", "first")]
    {
        let told = answer(address, format!("PROXY TCP4 192.0.2.1 {destination}\r\n").as_bytes()).await;
        assert!(told.starts_with(taker), "{destination}: {told}");
    }
    plane.stop();
}

#[tokio::test]
async fn a_connection_that_was_not_redirected_stays_where_it_is() {
    let address = free();
    let plane = start(&[listener("l", address, &format!("use_original_dst: true, {ORIGINAL_DST}"))]).await;
    assert!(answer(address, b"").await.starts_with(&format!("l {address} ")));
    plane.stop();
}

/// Runs a test in a network of its own; false if this process may not make one or the commands do not work in it.
fn in_own_network(commands: &[&str], test: impl AsyncFnOnce() + Send + 'static) -> bool {
    let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
    let thread = std::thread::spawn(move || {
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
            return false;
        }
        let works = |command: &String| {
            let mut words = command.split_whitespace();
            let done = Command::new(words.next().unwrap_or_default()).args(words).output();
            done.is_ok_and(|done| done.status.success())
        };
        if !commands.iter().all(works) {
            return false;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
        true
    });
    thread.join().unwrap()
}

#[test]
fn redirected_connections_find_their_listener_by_ipv4_and_ipv6() {
    let commands = [
        "ip link set lo up",
        "ip route add local 10.77.0.0/16 dev lo",
        "ip -6 addr add fd77::1/128 dev lo nodad",
        "iptables -w -t nat -A OUTPUT -p tcp --dport 9080:9082 -j REDIRECT --to-ports 15001",
        "ip6tables -w -t nat -A OUTPUT -p tcp --dport 9080:9082 -j REDIRECT --to-ports 15001",
    ];
    let ran = in_own_network(&commands, async || {
        let catches = format!("use_original_dst: true, {ORIGINAL_DST}");
        let plane = start(&[
            listener("first", at("0.0.0.0:15001"), &catches),
            listener("first6", at("[::]:15001"), &catches),
            waiting("exact", "10.77.0.1:9080"),
            waiting("all", "0.0.0.0:9080"),
            waiting("exact6", "[fd77::1]:9080"),
        ])
        .await;
        for (address, taker) in [
            ("10.77.0.1:9080", "exact"),
            ("10.77.0.2:9080", "all"),
            ("10.77.0.2:9081", "first"),
            ("[fd77::1]:9080", "exact6"),
            ("[fd77::1]:9081", "first6"),
        ] {
            let told = answer(at(address), b"").await;
            assert!(told.starts_with(&format!("{taker} {address} ")), "{address}: {told}");
        }
        plane.stop();
    });
    let root = nix::unistd::geteuid().is_root();
    if !ran {
        let tools = Command::new("iptables").arg("--version").output().is_ok_and(|done| done.status.success());
        assert!(!(root && tools), "root with iptables can redirect");
        eprintln!("nothing was redirected: root is {root}, iptables is {tools}");
    }
}

#[test]
fn a_transparent_listener_hands_over_by_its_sockets_own_address() {
    let commands = ["ip link set lo up", "ip route add local 10.77.0.0/16 dev lo"];
    let ran = in_own_network(&commands, async || {
        let catches = format!("transparent: true, use_original_dst: true, {ORIGINAL_DST}");
        let plane =
            start(&[listener("first", at("0.0.0.0:15001"), &catches), waiting("exact", "10.77.0.1:15001")]).await;
        let told = answer(at("10.77.0.1:15001"), b"").await;
        assert!(told.starts_with("exact 10.77.0.1:15001 "), "{told}");
        assert!(answer(at("10.77.0.2:15001"), b"").await.starts_with("first 10.77.0.2:15001 "));
        plane.stop();
    });
    if !ran {
        assert!(!nix::unistd::geteuid().is_root(), "root can make a network of its own");
        eprintln!("nothing was caught: this needs root");
    }
}
