//! The table as a whole.

use super::*;
use crate::command::capture::settings::{Backend, Exclude};

fn settings(mode: Mode) -> Settings {
    Settings {
        backend: Backend::Nftables,
        mode,
        ipv6: true,
        group: 1337,
        name_servers: Vec::new(),
        control_plane: vec!["10.0.0.1:15012".parse().unwrap()],
        exclude: Exclude {
            inbound_ports: vec![22.into(), "9100-9110".parse().unwrap()],
            outbound_ports: vec![22.into()],
            outbound_ranges: vec!["10.8.0.0/16".parse().unwrap()],
            users: vec![42],
        },
        patience_ms: 30_000,
        grace_ms: 10_000,
    }
}

#[test]
fn one_transaction_replaces_the_table() {
    assert_eq!(
        rules(&settings(Mode::Redirect)).replace('\t', "    "),
        "\
table inet weft
delete table inet weft
table inet weft {
    chain redirect_out {
        meta l4proto tcp redirect to :15001
    }
    chain redirect_in {
        meta l4proto tcp redirect to :15006
    }
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        meta l4proto != tcp return
        fib daddr type != local return
        tcp dport 15008 return
        tcp dport 15090 return
        tcp dport 15021 return
        tcp dport 15020 return
        tcp dport 22 return
        tcp dport 9100-9110 return
        meta l4proto tcp jump redirect_in
    }
    chain output {
        type nat hook output priority -100; policy accept;
        tcp dport 22 return
        udp dport 22 return
        ip daddr 10.0.0.1 tcp dport 15012 return
        meta skuid 42 return
        oifname \"lo\" ip saddr 127.0.0.6/32 return
        oifname \"lo\" ip6 saddr ::6/128 return
        oifname \"lo\" ip daddr != 127.0.0.1/32 tcp dport != 15008 meta skgid 1337 jump redirect_in
        oifname \"lo\" ip6 daddr != ::1/128 tcp dport != 15008 meta skgid 1337 jump redirect_in
        oifname \"lo\" meta skgid != 1337 return
        meta skgid 1337 return
        ip daddr 127.0.0.1/32 return
        ip6 daddr ::1/128 return
        ip daddr 10.8.0.0/16 return
        meta l4proto tcp jump redirect_out
    }
}
"
    );
}

#[test]
fn without_ipv6_its_connections_stay_as_they_are() {
    let made = rules(&Settings { ipv6: false, ..settings(Mode::Redirect) });
    assert!(made.contains("\t\tmeta nfproto != ipv4 return\n\t\tmeta l4proto != tcp return\n"), "{made}");
    assert!(
        made.contains("\t\tmeta nfproto ipv4 meta l4proto tcp jump redirect_out\n") && !made.contains("ip6"),
        "{made}"
    );
}

#[test]
fn with_tproxy_new_connections_are_brought_with_their_addresses() {
    let made = rules(&settings(Mode::Tproxy));
    for line in [
        "type filter hook prerouting priority -150; policy accept;",
        "socket transparent 1 meta mark set 1337 accept",
        "meta l4proto tcp ct state new ip daddr != 127.0.0.1/32 tproxy ip to :15006 meta mark set 1337 accept",
        "meta l4proto tcp ct state new ip6 daddr != ::1/128 tproxy ip6 to :15006 meta mark set 1337 accept",
        "ip daddr != 127.0.0.1/32 meta skgid 1337 meta mark set 1338",
    ] {
        assert!(made.lines().any(|made| made.trim() == line), "{line}\n{made}");
    }
    assert!(!made.contains("jump redirect_in"));
}

#[test]
fn questions_to_dns_are_told_from_the_agents_own() {
    let made = rules(&Settings { name_servers: vec!["127.0.0.53".parse().unwrap()], ..settings(Mode::Redirect) });
    for line in [
        "ip daddr 127.0.0.53 udp dport 53 redirect to :15053",
        "ip daddr 127.0.0.53 tcp dport 53 redirect to :15053",
        "udp dport 53 meta skgid 1337 ct zone set 1 return",
        "ip saddr 127.0.0.53 udp sport 53 ct zone set 1",
    ] {
        assert!(made.lines().any(|made| made.trim() == line), "{line}\n{made}");
    }
}
