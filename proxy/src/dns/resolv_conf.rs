//! What `resolv.conf` says of nameservers and the search domain (resolv.conf(5)). Its options are for programs, which
//! read them themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

const DNS: u16 = 53;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<SocketAddr>,
    /// The first, in lower case without dots at its ends; the names that the mesh answers below it are those that
    /// programs ask for first.
    pub search: Option<String>,
}

impl ResolvConf {
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) => conf.nameservers.extend(nameserver(address)),
                // Each of them undoes those before.
                (Some("search" | "domain"), first) => conf.search = first.and_then(domain),
                _ => {}
            }
        }
        if conf.nameservers.is_empty() {
            conf.nameservers.push((Ipv4Addr::LOCALHOST, DNS).into());
        }
        conf
    }
}

fn domain(word: &str) -> Option<String> {
    let domain = word.trim_matches('.').to_ascii_lowercase();
    (!domain.is_empty()).then_some(domain)
}

/// An address, perhaps with the interface that it is on (`fe80::1%eth0`).
fn nameserver(text: &str) -> Option<SocketAddr> {
    if let Some((ip, interface)) = text.split_once('%') {
        let index = interface.parse().ok().or_else(|| nix::net::if_::if_nametoindex(interface).ok())?;
        return Some(SocketAddrV6::new(ip.parse().ok()?, DNS, 0, index).into());
    }
    text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Option<String>) {
        let conf = ResolvConf::parse(text);
        (conf.nameservers.iter().map(ToString::to_string).collect(), conf.search)
    }

    #[test]
    fn nameservers_and_the_first_search_domain_are_read() {
        let text = "# by dhcp\nsearch Corp.Example. lab.example\nnameserver 10.0.0.2 ; first\n\
                    nameserver  2001:db8::53\nnameserver fe80::1%7\nnameserver rubbish\noptions ndots:5\n";
        let servers = ["10.0.0.2:53", "[2001:db8::53]:53", "[fe80::1%7]:53"];
        assert_eq!(parsed(text), (servers.map(str::to_owned).to_vec(), Some("corp.example".into())));
    }

    #[test]
    fn the_last_of_search_and_domain_counts() {
        assert_eq!(parsed("search a.example\ndomain b.example\n").1.as_deref(), Some("b.example"));
        assert_eq!(parsed("search a.example\nsearch .\n").1, None);
    }

    #[test]
    fn without_a_nameserver_this_machine_is_asked() {
        assert_eq!(parsed("").0, ["127.0.0.1:53"]);
    }
}
