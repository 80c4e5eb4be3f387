//! The rules line by line, in the order in which packets meet them.

use super::*;
use crate::command::capture::settings::{Backend, Exclude};

fn settings(mode: Mode) -> Settings {
    Settings {
        backend: Backend::Iptables,
        mode,
        ipv6: true,
        group: 1337,
        name_servers: Vec::new(),
        control_plane: vec!["10.0.0.1:15012".parse().unwrap(), "[fd00::1]:15012".parse().unwrap()],
        exclude: Exclude {
            inbound_ports: vec![22.into(), "9100-9110".parse().unwrap()],
            outbound_ports: vec![22.into()],
            outbound_ranges: vec!["10.8.0.0/16".parse().unwrap(), "fd08::/16".parse().unwrap()],
            users: vec![42],
        },
        patience_ms: 30_000,
        grace_ms: 10_000,
    }
}

/// Istio's golden file `inbound-ports-wildcard` for a group, with our chains, and what is left alone.
const REDIRECT: &str = "\
*nat
-N WEFT_INBOUND
-N WEFT_REDIRECT
-N WEFT_IN_REDIRECT
-N WEFT_OUTPUT
-A WEFT_INBOUND -p tcp --dport 15008 -j RETURN
-A WEFT_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A WEFT_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j WEFT_INBOUND
-A WEFT_INBOUND -p tcp --dport 15090 -j RETURN
-A WEFT_INBOUND -p tcp --dport 15021 -j RETURN
-A WEFT_INBOUND -p tcp --dport 15020 -j RETURN
-A WEFT_INBOUND -p tcp --dport 22 -j RETURN
-A WEFT_INBOUND -p tcp --dport 9100:9110 -j RETURN
-A WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT
-A OUTPUT -j WEFT_OUTPUT
-A WEFT_OUTPUT -p tcp --dport 22 -j RETURN
-A WEFT_OUTPUT -p udp --dport 22 -j RETURN
-A WEFT_OUTPUT -d 10.0.0.1/32 -p tcp --dport 15012 -j RETURN
-A WEFT_OUTPUT -m owner --uid-owner 42 -j RETURN
-A WEFT_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
-A WEFT_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A WEFT_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A WEFT_OUTPUT -d 127.0.0.1/32 -j RETURN
-A WEFT_OUTPUT -d 10.8.0.0/16 -j RETURN
-A WEFT_OUTPUT -j WEFT_REDIRECT
COMMIT
";

#[test]
fn connections_are_redirected_as_istio_does() {
    let settings = settings(Mode::Redirect);
    assert_eq!(rules(&settings, Family::V4).render(), REDIRECT);
    let twin = REDIRECT
        .replace("127.0.0.1/32", "::1/128")
        .replace("127.0.0.6/32", "::6/128")
        .replace("10.0.0.1/32", "fd00::1/128")
        .replace("10.8.0.0/16", "fd08::/16");
    assert_eq!(rules(&settings, Family::V6).render(), twin);
}

#[test]
fn with_tproxy_only_connections_that_come_in_are_brought_otherwise() {
    let made = rules(&settings(Mode::Tproxy), Family::V4).render();
    let (mangle, nat) = made.split_once("COMMIT\n").unwrap();
    assert_eq!(
        mangle,
        "\
*mangle
-N WEFT_DIVERT
-N WEFT_TPROXY
-N WEFT_INBOUND
-N WEFT_MARK
-A WEFT_DIVERT -j MARK --set-mark 1337
-A WEFT_DIVERT -j ACCEPT
-A WEFT_TPROXY ! -d 127.0.0.1/32 -p tcp -m conntrack --ctstate NEW -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j WEFT_INBOUND
-A WEFT_INBOUND -p tcp -m socket --transparent -j WEFT_DIVERT
-A WEFT_INBOUND -p tcp -s 127.0.0.6/32 -i lo -j RETURN
-A WEFT_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN
-A WEFT_INBOUND -p tcp --dport 15008 -j RETURN
-A WEFT_INBOUND -p tcp --dport 15090 -j RETURN
-A WEFT_INBOUND -p tcp --dport 15021 -j RETURN
-A WEFT_INBOUND -p tcp --dport 15020 -j RETURN
-A WEFT_INBOUND -p tcp --dport 22 -j RETURN
-A WEFT_INBOUND -p tcp --dport 9100:9110 -j RETURN
-A WEFT_INBOUND -p tcp -j WEFT_TPROXY
-A OUTPUT -p tcp -o lo -j WEFT_MARK
-A WEFT_MARK -s 127.0.0.6/32 -j RETURN
-A WEFT_MARK ! -d 127.0.0.1/32 -p tcp -m owner --gid-owner 1337 -j MARK --set-mark 1338
"
    );
    let outbound = |line: &&str| !line.contains("INBOUND") && !line.contains("-j WEFT_IN_REDIRECT");
    assert!(nat.lines().filter(outbound).eq(REDIRECT.lines().filter(outbound)), "{nat}");
}

#[test]
fn questions_to_dns_are_told_from_the_agents_own() {
    let settings = Settings { name_servers: vec!["127.0.0.53".parse().unwrap()], ..settings(Mode::Redirect) };
    let made = rules(&settings, Family::V4).render();
    for line in [
        "-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT",
        "-A WEFT_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN",
        "-A WEFT_OUTPUT_DNS -m owner --gid-owner 1337 -j RETURN",
        "-A WEFT_OUTPUT_DNS -p tcp --dport 53 -d 127.0.0.53/32 -j REDIRECT --to-ports 15053",
        "-A WEFT_OUTPUT_DNS -p udp --dport 53 -d 127.0.0.53/32 -j REDIRECT --to-ports 15053",
        "-A WEFT_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1",
        "-A WEFT_OUTPUT_DNS -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2",
        "-A WEFT_OUTPUT_DNS -p udp --dport 53 -d 127.0.0.53/32 -j CT --zone 2",
        "-A WEFT_INBOUND -p udp --sport 53 -s 127.0.0.53/32 -j CT --zone 1",
    ] {
        assert!(made.lines().any(|made| made == line), "{line}\n{made}");
    }
    assert!(!rules(&settings, Family::V6).render().contains("DNS"), "there is no such server of this family");
}

#[test]
fn only_what_is_ours_is_taken_away() {
    let saved = "\
# Generated
*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [3:180]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:WEFT_INBOUND - [0:0]
:WEFT_IN_REDIRECT - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j WEFT_INBOUND
-A WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT
COMMIT
";
    let removal = removal(saved);
    assert_eq!(
        removal.render(),
        "*nat\n-D PREROUTING -p tcp -m addrtype --dst-type LOCAL -j WEFT_INBOUND\n-F WEFT_INBOUND\n-F WEFT_IN_REDIRECT\n\
         -X WEFT_INBOUND\n-X WEFT_IN_REDIRECT\nCOMMIT\n"
    );
    assert!(super::removal("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n").is_empty());
}
