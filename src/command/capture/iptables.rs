//! Rules for iptables-restore(8) and its twin of IPv6, in chains of our own. What sets them apart from Istio's: only what
//! is addressed to the machine itself is taken in, as a machine may forward for its containers; and with TPROXY only new
//! connections are, so that those that are open when the rules come stay.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::settings::{Family, Mode, Settings};
use super::{AGENT_PORTS, DNS_PORT, INBOUND_PORT, MARK, OUTBOUND_PORT, OWN_MARK, TUNNEL_PORT};

/// Before the names of all our chains.
const OURS: &str = "WEFT_";

/// Lines by table, in the order of the packet's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(BTreeMap<&'static str, Vec<String>>);

impl Rules {
    /// For `iptables-restore --noflush`, which puts each table in force at once or not at all.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (table, lines) in &self.0 {
            let _ = write!(text, "*{table}\n{}\nCOMMIT\n", lines.join("\n"));
        }
        text
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These lines, and then those of another in the same transactions.
    pub fn then(mut self, other: Self) -> Self {
        for (table, lines) in other.0 {
            self.0.entry(table).or_default().extend(lines);
        }
        self
    }

    fn add(&mut self, table: &'static str, line: impl Into<String>) {
        self.0.entry(table).or_default().push(line.into());
    }
}

/// Those that our rules are in.
pub const TABLES: [&str; 3] = ["mangle", "nat", "raw"];

/// What takes our chains out of what iptables-save(8) tells, and leaves all else.
pub fn removal(saved: &str) -> Rules {
    let mut rules = Rules::default();
    let mut table = None;
    let mut chains: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = TABLES.into_iter().find(|known| *known == name);
        }
        let Some(table) = table else { continue };
        if let Some(chain) =
            line.strip_prefix(':').and_then(|rest| rest.split(' ').next()).filter(|c| c.starts_with(OURS))
        {
            chains.entry(table).or_default().push(chain);
        }
        let jumps = line.split(' ').skip_while(|word| *word != "-j").nth(1).is_some_and(|to| to.starts_with(OURS));
        if let Some(rule) = line.strip_prefix("-A ").filter(|rule| jumps && !rule.starts_with(OURS)) {
            rules.add(table, format!("-D {rule}"));
        }
    }
    for (table, chains) in chains {
        for (verb, chain) in ["-F", "-X"].into_iter().flat_map(|verb| chains.iter().map(move |chain| (verb, chain))) {
            rules.add(table, format!("{verb} {chain}"));
        }
    }
    rules
}

pub fn rules(settings: &Settings, family: Family) -> Rules {
    let mut making = Making { settings, family, rules: Rules::default() };
    making.begin();
    match settings.mode {
        Mode::Redirect => making.redirect_inbound(),
        Mode::Tproxy => making.tproxy_inbound(),
    }
    making.outbound();
    if making.captures_dns() {
        making.zones();
    }
    making.rules
}

struct Making<'a> {
    settings: &'a Settings,
    family: Family,
    rules: Rules,
}

impl Making<'_> {
    fn nat(&mut self, line: impl Into<String>) {
        self.rules.add("nat", line);
    }

    fn captures_dns(&self) -> bool {
        self.name_servers().next().is_some()
    }

    fn name_servers(&self) -> impl Iterator<Item = String> {
        let family = self.family;
        let length = if family == Family::V4 { 32 } else { 128 };
        let servers = self.settings.name_servers.iter().filter(move |server| family.has(**server));
        servers.map(move |server| format!("{server}/{length}"))
    }

    fn begin(&mut self) {
        for chain in ["INBOUND", "REDIRECT", "IN_REDIRECT", "OUTPUT"] {
            self.nat(format!("-N WEFT_{chain}"));
        }
        if self.captures_dns() {
            self.nat("-N WEFT_OUTPUT_DNS");
        }
        self.nat(format!("-A WEFT_INBOUND -p tcp --dport {TUNNEL_PORT} -j RETURN"));
        self.nat(format!("-A WEFT_REDIRECT -p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}"));
        self.nat(format!("-A WEFT_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND_PORT}"));
    }

    /// The ports that stay as they are.
    fn excluded_inbound(&mut self, table: &'static str) {
        let agent = AGENT_PORTS.map(|port| port.to_string());
        let excluded = self.settings.exclude.inbound_ports.iter().map(|ports| ports.iptables());
        for ports in agent.into_iter().chain(excluded) {
            self.rules.add(table, format!("-A WEFT_INBOUND -p tcp --dport {ports} -j RETURN"));
        }
    }

    fn redirect_inbound(&mut self) {
        self.nat("-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j WEFT_INBOUND");
        self.excluded_inbound("nat");
        self.nat("-A WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT");
    }

    fn tproxy_inbound(&mut self) {
        const TABLE: &str = "mangle";
        let (loopback, own) = (self.family.loopback(), self.family.passthrough());
        let mut add = |line: String| self.rules.add(TABLE, line);
        for chain in ["DIVERT", "TPROXY", "INBOUND", "MARK"] {
            add(format!("-N WEFT_{chain}"));
        }
        add(format!("-A WEFT_DIVERT -j MARK --set-mark {MARK}"));
        add("-A WEFT_DIVERT -j ACCEPT".to_owned());
        add(format!(
            "-A WEFT_TPROXY ! -d {loopback} -p tcp -m conntrack --ctstate NEW -j TPROXY --tproxy-mark {MARK}/0xffffffff --on-port {INBOUND_PORT}"
        ));
        add("-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j WEFT_INBOUND".to_owned());
        add("-A WEFT_INBOUND -p tcp -m socket --transparent -j WEFT_DIVERT".to_owned());
        add(format!("-A WEFT_INBOUND -p tcp -s {own} -i lo -j RETURN"));
        add(format!("-A WEFT_INBOUND -p tcp -i lo -m mark ! --mark {OWN_MARK} -j RETURN"));
        add(format!("-A WEFT_INBOUND -p tcp --dport {TUNNEL_PORT} -j RETURN"));
        self.excluded_inbound(TABLE);
        self.rules.add(TABLE, "-A WEFT_INBOUND -p tcp -j WEFT_TPROXY");
        self.rules.add(TABLE, "-A OUTPUT -p tcp -o lo -j WEFT_MARK");
        self.rules.add(TABLE, format!("-A WEFT_MARK -s {own} -j RETURN"));
        let group = self.settings.group;
        let marks = format!("-m owner --gid-owner {group} -j MARK --set-mark {OWN_MARK}");
        self.rules.add(TABLE, format!("-A WEFT_MARK ! -d {loopback} -p tcp {marks}"));
    }

    fn outbound(&mut self) {
        let (loopback, own, dns) = (self.family.loopback(), self.family.passthrough(), self.captures_dns());
        self.nat("-A OUTPUT -j WEFT_OUTPUT");
        for ports in &self.settings.exclude.outbound_ports {
            for protocol in ["tcp", "udp"] {
                self.nat(format!("-A WEFT_OUTPUT -p {protocol} --dport {} -j RETURN", ports.iptables()));
            }
        }
        let (settings, family) = (self.settings, self.family);
        for address in settings.control_plane.iter().filter(|address| family.has(address.ip())) {
            let (ip, port) = (ipnet::IpNet::from(address.ip()), address.port());
            self.nat(format!("-A WEFT_OUTPUT -d {ip} -p tcp --dport {port} -j RETURN"));
        }
        for user in &self.settings.exclude.users {
            self.nat(format!("-A WEFT_OUTPUT -m owner --uid-owner {user} -j RETURN"));
        }
        self.nat(format!("-A WEFT_OUTPUT -o lo -s {own} -j RETURN"));
        let own_calls = match dns {
            true => format!("-m multiport ! --dports 53,{TUNNEL_PORT}"),
            false => format!("! --dport {TUNNEL_PORT}"),
        };
        let others = if dns { "-p tcp ! --dport 53 " } else { "" };
        let group = self.settings.group;
        // TPROXY brings these by their mark.
        if self.settings.mode == Mode::Redirect {
            let own = format!("{own_calls} -m owner --gid-owner {group}");
            self.nat(format!("-A WEFT_OUTPUT -o lo ! -d {loopback} -p tcp {own} -j WEFT_IN_REDIRECT"));
        }
        self.nat(format!("-A WEFT_OUTPUT -o lo {others}-m owner ! --gid-owner {group} -j RETURN"));
        self.nat(format!("-A WEFT_OUTPUT -m owner --gid-owner {group} -j RETURN"));
        if dns {
            self.names();
        }
        self.nat(format!("-A WEFT_OUTPUT -d {loopback} -j RETURN"));
        for range in settings.exclude.outbound_ranges.iter().filter(|range| family.has(range.addr())) {
            self.nat(format!("-A WEFT_OUTPUT -d {range} -j RETURN"));
        }
        self.nat("-A WEFT_OUTPUT -j WEFT_REDIRECT");
    }

    /// Questions to the machine's name servers, except those that the agent asks itself.
    fn names(&mut self) {
        self.nat("-A WEFT_OUTPUT -j WEFT_OUTPUT_DNS");
        self.nat(format!("-A WEFT_OUTPUT_DNS -m owner --gid-owner {} -j RETURN", self.settings.group));
        for server in self.name_servers().collect::<Vec<_>>() {
            for protocol in ["tcp", "udp"] {
                self.nat(format!(
                    "-A WEFT_OUTPUT_DNS -p {protocol} --dport 53 -d {server} -j REDIRECT --to-ports {DNS_PORT}"
                ));
            }
        }
    }

    /// The agent asks the same servers from the same ports as the programs whose questions it was handed: zones keep
    /// the system from taking the one for the other (Istio, DNS conntrack zones).
    fn zones(&mut self) {
        const TABLE: &str = "raw";
        for line in ["-N WEFT_OUTPUT_DNS", "-N WEFT_INBOUND", "-A OUTPUT -j WEFT_OUTPUT_DNS"] {
            self.rules.add(TABLE, line);
        }
        let owner = format!("-m owner --gid-owner {}", self.settings.group);
        for (side, zone) in [("--dport 53", 1), (&*format!("--sport {DNS_PORT}"), 2)] {
            self.rules.add(TABLE, format!("-A WEFT_OUTPUT_DNS -p udp {side} {owner} -j CT --zone {zone}"));
        }
        self.rules.add(TABLE, "-A PREROUTING -j WEFT_INBOUND");
        for server in self.name_servers().collect::<Vec<_>>() {
            self.rules.add(TABLE, format!("-A WEFT_OUTPUT_DNS -p udp --dport 53 -d {server} -j CT --zone 2"));
            self.rules.add(TABLE, format!("-A WEFT_INBOUND -p udp --sport 53 -s {server} -j CT --zone 1"));
        }
    }
}

#[cfg(test)]
mod tests;
