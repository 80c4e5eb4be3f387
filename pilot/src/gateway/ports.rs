//! Servers put together by the address and port that are really bound; the oldest decides what is spoken there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use registry::Protocol;

use super::Bound;
use crate::diagnostic::{Code, Findings};
use crate::node::Node;

/// What connections to a port begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    Tcp,
    Tls,
}

/// A port of the proxy and the servers that share it.
pub(super) struct Port<'a> {
    /// As the oldest server declares it.
    pub number: u16,
    /// As it is bound: several declared ports may map to one.
    pub bound: u16,
    pub address: IpAddr,
    pub transport: Transport,
    pub servers: Vec<Bound<'a>>,
}

pub(super) fn merge<'a>(
    node: &Node,
    servers: impl Iterator<Item = Bound<'a>>,
    findings: &mut Findings,
) -> Vec<Port<'a>> {
    let mut ports: BTreeMap<(u16, IpAddr), Port<'a>> = BTreeMap::new();
    for bound in servers {
        let Ok(bind) = address(&bound.server.bind) else {
            bound.complain(findings, Code::Unsupported, format!("bind {:?} is no IP address", bound.server.bind));
            continue;
        };
        let (number, transport) = (bound.server.port.number, Transport::of(&bound));
        let mapped = node.port_map.get(&number).copied().unwrap_or(number);
        let address = bind.or(node.bind).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let fresh = || Port { number, bound: mapped, address, transport, servers: Vec::new() };
        let port = ports.entry((mapped, address)).or_insert_with(fresh);
        if port.transport != transport {
            bound.complain(findings, Code::Conflict, "an older server of this port speaks another protocol");
        } else if transport == Transport::Tcp && port.number != number {
            let message = format!("port {} of an older server is bound to the same port {mapped}", port.number);
            bound.complain(findings, Code::Conflict, message);
        } else {
            port.servers.push(bound);
        }
    }
    ports.into_values().collect()
}

fn address(bind: &str) -> Result<Option<IpAddr>, std::net::AddrParseError> {
    if bind.is_empty() { Ok(None) } else { bind.parse().map(Some) }
}

impl Transport {
    fn of(bound: &Bound<'_>) -> Self {
        match bound.server.port.protocol {
            Protocol::Https | Protocol::Tls => Self::Tls,
            protocol if protocol.is_http() => Self::Http,
            _ => Self::Tcp,
        }
    }
}
