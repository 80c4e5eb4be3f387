//! Servers put together by port; the oldest decides what is spoken there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use registry::Protocol;

use super::Bound;
use crate::diagnostic::{Code, Findings};

/// What connections to a port begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    Tcp,
    Tls,
}

/// A port of the proxy and the servers that share it.
pub(super) struct Port<'a> {
    pub number: u16,
    /// Where a server says so.
    pub bind: Option<IpAddr>,
    pub transport: Transport,
    pub servers: Vec<Bound<'a>>,
}

pub(super) fn merge<'a>(servers: impl Iterator<Item = Bound<'a>>, findings: &mut Findings) -> Vec<Port<'a>> {
    let mut ports: BTreeMap<(u16, Option<IpAddr>), Port<'a>> = BTreeMap::new();
    for bound in servers {
        let Ok(bind) = address(&bound.server.bind) else {
            bound.complain(findings, Code::Unsupported, format!("bind {:?} is no IP address", bound.server.bind));
            continue;
        };
        let (number, transport) = (bound.server.port.number, Transport::of(&bound));
        let fresh = || Port { number, bind, transport, servers: Vec::new() };
        let port = ports.entry((number, bind)).or_insert_with(fresh);
        if port.transport == transport {
            port.servers.push(bound);
        } else {
            bound.complain(findings, Code::Conflict, "an older server of this port speaks another protocol");
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
