//! The options of the agent's DNS server.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use proxy::dns::{DnsOptions, Listen};

#[derive(Clone, Debug, Default, Args)]
pub struct DnsFlags {
    /// Where DNS is answered, over UDP and TCP, or `off` [default: port 15053 on loopback, or on the workload's own
    /// loopback address]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    listen_dns: Option<Listen>,
    /// A nameserver for names that are not the mesh's; may be repeated [default: those of /etc/resolv.conf]
    #[arg(long = "dns-upstream", value_name = "ADDR[:PORT]", value_parser = nameserver)]
    dns_upstreams: Vec<SocketAddr>,
}

impl DnsFlags {
    pub fn given(&self) -> DnsOptions {
        let (listen, upstreams) = (self.listen_dns.unwrap_or_default(), self.dns_upstreams.clone());
        DnsOptions { listen, upstreams, captured_ipv6: false }
    }

    pub fn asks_for_one(&self) -> bool {
        matches!(self.listen_dns, Some(Listen::At(_)))
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    match text {
        "off" => Ok(Listen::Off),
        _ => text.parse().map(Listen::At).map_err(|_| "write it as 127.0.0.1:15053, or off".to_owned()),
    }
}

fn nameserver(text: &str) -> Result<SocketAddr, String> {
    const DNS: u16 = 53;
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS));
    alone.or_else(|_| text.parse()).map_err(|_| "write it as 10.0.0.2, or 10.0.0.2:53".to_owned())
}

/// As it is kept in a file, in the words of the command line.
pub fn in_words(listen: Listen) -> Option<String> {
    match listen {
        Listen::Usual => None,
        Listen::At(address) => Some(address.to_string()),
        Listen::Off => Some("off".to_owned()),
    }
}

pub fn of_words(words: Option<&str>) -> Result<Listen, String> {
    words.map_or(Ok(Listen::Usual), listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_back() {
        for words in [None, Some("off"), Some("127.0.0.1:53"), Some("[::1]:0")] {
            assert_eq!(in_words(of_words(words).unwrap()).as_deref(), words);
        }
        assert!(of_words(Some("15053")).is_err());
    }

    #[test]
    fn a_nameserver_is_at_the_usual_port_unless_it_says_so() {
        assert_eq!(nameserver("2001:db8::1").unwrap().to_string(), "[2001:db8::1]:53");
        assert_eq!(nameserver("10.0.0.2:5353").unwrap().to_string(), "10.0.0.2:5353");
        assert!(nameserver("dns.example").is_err());
    }
}
