//! The same rules for nft(8), in a table of our own that both families share.

use std::fmt::Write as _;

use super::settings::{Family, Mode, Settings};
use super::{AGENT_PORTS, DNS_PORT, INBOUND_PORT, MARK, OUTBOUND_PORT, OWN_MARK, TUNNEL_PORT};

/// As nft(8) names it.
pub const TABLE: &str = "inet weft";

/// One transaction that puts the table in the place of what it was.
pub fn rules(settings: &Settings) -> String {
    let mut text = format!("table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n");
    let mut chain = |name: &str, hook: &str, rules: Vec<String>| {
        let _ = writeln!(text, "\tchain {name} {{");
        for line in (!hook.is_empty()).then(|| hook.to_owned()).into_iter().chain(rules) {
            let _ = writeln!(text, "\t\t{line}");
        }
        text.push_str("\t}\n");
    };
    chain("redirect_out", "", vec![format!("meta l4proto tcp redirect to :{OUTBOUND_PORT}")]);
    chain("redirect_in", "", vec![format!("meta l4proto tcp redirect to :{INBOUND_PORT}")]);
    match settings.mode {
        Mode::Redirect => {
            let rules =
                [local(settings), excluded_inbound(settings), vec!["meta l4proto tcp jump redirect_in".to_owned()]];
            chain("prerouting", "type nat hook prerouting priority -100; policy accept;", rules.concat());
        }
        Mode::Tproxy => {
            chain("prerouting", "type filter hook prerouting priority -150; policy accept;", tproxy_inbound(settings));
            chain("mark_own", "type route hook output priority -150; policy accept;", marks(settings));
        }
    }
    chain("output", "type nat hook output priority -100; policy accept;", outbound(settings));
    if !settings.name_servers.is_empty() {
        chain("zones_out", "type filter hook output priority -300; policy accept;", zones_out(settings));
        chain("zones_in", "type filter hook prerouting priority -300; policy accept;", zones_in(settings));
    }
    text.push_str("}\n");
    text
}

/// Only what is addressed to the machine itself.
fn local(settings: &Settings) -> Vec<String> {
    let ipv4_only = (!settings.ipv6).then_some("meta nfproto != ipv4 return");
    let rules = ["meta l4proto != tcp return", "fib daddr type != local return"];
    ipv4_only.into_iter().chain(rules).map(str::to_owned).collect()
}

fn excluded_inbound(settings: &Settings) -> Vec<String> {
    let own = std::iter::once(TUNNEL_PORT).chain(AGENT_PORTS).map(|port| port.to_string());
    let excluded = settings.exclude.inbound_ports.iter().map(ToString::to_string);
    own.chain(excluded).map(|ports| format!("tcp dport {ports} return")).collect()
}

fn tproxy_inbound(settings: &Settings) -> Vec<String> {
    let mut rules = local(settings);
    rules.push(format!("socket transparent 1 meta mark set {MARK} accept"));
    rules.extend(families(settings).map(|f| format!("iifname \"lo\" {} return", f.own_source())));
    rules.push(format!("iifname \"lo\" meta mark != {OWN_MARK} return"));
    rules.extend(excluded_inbound(settings));
    rules.extend(families(settings).map(|f| {
        let (family, loopback) = (f.0.nft(), f.0.loopback());
        let new = format!("ct state new {family} daddr != {loopback}");
        format!("meta l4proto tcp {new} tproxy {family} to :{INBOUND_PORT} meta mark set {MARK} accept")
    }));
    rules
}

/// The proxy's calls to its own machine by way of its mesh address.
fn marks(settings: &Settings) -> Vec<String> {
    let mut rules = vec!["oifname != \"lo\" return".to_owned(), "meta l4proto != tcp return".to_owned()];
    rules.extend(families(settings).map(|f| format!("{} return", f.own_source())));
    rules.extend(families(settings).map(|f| {
        let to = format!("{} daddr != {}", f.0.nft(), f.0.loopback());
        format!("{to} meta skgid {} meta mark set {OWN_MARK}", settings.group)
    }));
    rules
}

fn outbound(settings: &Settings) -> Vec<String> {
    let (exclude, dns) = (&settings.exclude, !settings.name_servers.is_empty());
    let mut rules = Vec::new();
    for ports in &exclude.outbound_ports {
        rules.extend(["tcp", "udp"].map(|protocol| format!("{protocol} dport {ports} return")));
    }
    for address in &settings.control_plane {
        let family = Of::address(address.ip());
        rules.push(format!("{} daddr {} tcp dport {} return", family.nft(), address.ip(), address.port()));
    }
    rules.extend(exclude.users.iter().map(|user| format!("meta skuid {user} return")));
    rules.extend(families(settings).map(|f| format!("oifname \"lo\" {} return", f.own_source())));
    let group = settings.group;
    if settings.mode == Mode::Redirect {
        let ports = if dns { format!("{{ 53, {TUNNEL_PORT} }}") } else { TUNNEL_PORT.to_string() };
        rules.extend(families(settings).map(|f| {
            let to = format!("{} daddr != {}", f.0.nft(), f.0.loopback());
            format!("oifname \"lo\" {to} tcp dport != {ports} meta skgid {group} jump redirect_in")
        }));
    }
    let others = if dns { "tcp dport != 53 " } else { "" };
    rules.push(format!("oifname \"lo\" {others}meta skgid != {group} return"));
    rules.push(format!("meta skgid {group} return"));
    for server in &settings.name_servers {
        let to = format!("{} daddr {server}", Of::address(*server).nft());
        rules.extend(["tcp", "udp"].map(|of| format!("{to} {of} dport 53 redirect to :{DNS_PORT}")));
    }
    rules.extend(families(settings).map(|f| format!("{} daddr {} return", f.0.nft(), f.0.loopback())));
    for range in &exclude.outbound_ranges {
        rules.push(format!("{} daddr {range} return", Of::address(range.addr()).nft()));
    }
    rules.push(match settings.ipv6 {
        true => "meta l4proto tcp jump redirect_out".to_owned(),
        false => "meta nfproto ipv4 meta l4proto tcp jump redirect_out".to_owned(),
    });
    rules
}

fn zones_out(settings: &Settings) -> Vec<String> {
    let group = settings.group;
    let mut rules = vec![
        format!("udp dport 53 meta skgid {group} ct zone set 1 return"),
        format!("udp sport {DNS_PORT} meta skgid {group} ct zone set 2 return"),
    ];
    let servers = settings.name_servers.iter();
    rules.extend(servers.map(|s| format!("{} daddr {s} udp dport 53 ct zone set 2", Of::address(*s).nft())));
    rules
}

fn zones_in(settings: &Settings) -> Vec<String> {
    let servers = settings.name_servers.iter();
    servers.map(|s| format!("{} saddr {s} udp sport 53 ct zone set 1", Of::address(*s).nft())).collect()
}

struct Of(Family);

impl Of {
    fn address(address: std::net::IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn own_source(&self) -> String {
        format!("{} saddr {}", self.0.nft(), self.0.passthrough())
    }
}

fn families(settings: &Settings) -> impl Iterator<Item = Of> + use<> {
    settings.families().map(Of)
}

#[cfg(test)]
mod tests;
