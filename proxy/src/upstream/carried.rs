//! What a connection to an upstream tells of the one that it is made for: a name by SNI, addresses in a PROXY protocol
//! header. Requests share only connections that tell the same.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::access_log::ConnectionInfo;
use crate::config::{Cluster, UpstreamProxyProtocol};
use crate::http::message::RequestHead;
use crate::proxy_protocol::{Addresses, Version, write_1, write_2};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Carried {
    /// A host name or an address.
    pub server_name: Option<Box<str>>,
    addresses: Option<Addresses>,
    tlvs: Vec<(u8, Vec<u8>)>,
}

impl Carried {
    /// `None` for clusters whose connections tell nothing.
    pub fn of(cluster: &Cluster, from: Option<&ConnectionInfo>, head: Option<&RequestHead>) -> Option<Rc<Self>> {
        if cluster.auto_sni.is_none() && cluster.proxy_protocol.is_none() {
            return None;
        }
        let mut carried = Self::default();
        if let (Some(auto), Some(head)) = (&cluster.auto_sni, head) {
            let asked =
                auto.header.as_ref().and_then(|name| head.headers.get_str(name)).filter(|name| !name.is_empty());
            carried.server_name = Some(host(asked.unwrap_or(&head.authority)).into());
        }
        if let (Some(settings), Some(from)) = (&cluster.proxy_protocol, from) {
            carried.addresses = Some(Addresses { source: from.remote_address, destination: from.local_address });
            let passed = from.proxy_tlvs().iter().filter(|(kind, _)| settings.pass_through.keeps(*kind));
            carried.tlvs = passed.cloned().collect();
        }
        Some(Rc::new(carried))
    }
}

/// The host of an authority, without its port.
fn host(authority: &str) -> &str {
    if let Some((inner, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inner;
    }
    if authority.parse::<IpAddr>().is_ok() {
        return authority;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Begins a connection with its header. One that is made for nobody speaks for itself.
pub async fn introduce(
    tcp: &mut TcpStream,
    settings: &UpstreamProxyProtocol,
    carried: Option<&Carried>,
) -> io::Result<()> {
    let addresses = carried.and_then(|carried| carried.addresses);
    let header = match settings.version {
        Version::V1 => write_1(Some(addresses.map_or_else(|| own(tcp), Ok)?)),
        Version::V2 => {
            let tlvs = [carried.map_or(&[][..], |carried| &carried.tlvs), &settings.added].concat();
            write_2(addresses, &tlvs).map_err(io::Error::other)?
        }
    };
    tcp.write_all(&header).await
}

fn own(tcp: &TcpStream) -> io::Result<Addresses> {
    let (source, destination): (SocketAddr, SocketAddr) = (tcp.local_addr()?, tcp.peer_addr()?);
    Ok(Addresses { source, destination })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (authority, expected) in
            [("a.example", "a.example"), ("a.example:443", "a.example"), ("[::1]:443", "::1"), ("::1", "::1"), ("", "")]
        {
            assert_eq!(host(authority), expected);
        }
    }
}
