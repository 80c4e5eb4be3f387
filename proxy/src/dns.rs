//! The agent's DNS server: names of the mesh are answered from the table that the control plane gives; every other
//! question is handed on as it is, and answered exactly as the machine's own nameservers answer (Istio, DNS proxying).

pub(crate) mod cache;
mod counters;
mod names;
pub mod packet;
mod resolv_conf;
mod server;
mod upstream;

pub use counters::Counters;
pub use server::Server;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use resolv_conf::ResolvConf;

/// Where it listens, and whom it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// UDP and TCP. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The same over IPv6, where captured questions come to.
    pub also: Option<SocketAddr>,
    /// The nameservers for all other names. Empty: those of `resolv_conf`.
    pub upstreams: Vec<SocketAddr>,
    /// Its nameservers are followed when they change; so is its search domain.
    pub resolv_conf: PathBuf,
}

/// What an operator says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsOptions {
    pub listen: Listen,
    pub upstreams: Vec<SocketAddr>,
    /// Questions to nameservers at IPv6 addresses are captured, which bring them to `[::1]`.
    pub captured_ipv6: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// Port 15053 beside the agent's other ports.
    #[default]
    Usual,
    At(SocketAddr),
    Off,
}

const PORT: u16 = 15053;

impl DnsOptions {
    /// For an agent whose own ports are at this address; `None`: no DNS server.
    pub fn settings(&self, own: IpAddr) -> Option<DnsSettings> {
        let listen = match self.listen {
            Listen::Usual => SocketAddr::new(own, PORT),
            Listen::At(address) => address,
            Listen::Off => return None,
        };
        let captured = SocketAddr::from((Ipv6Addr::LOCALHOST, PORT));
        let also = (self.captured_ipv6 && listen != captured).then_some(captured);
        let resolv_conf = PathBuf::from("/etc/resolv.conf");
        Some(DnsSettings { listen, also, upstreams: self.upstreams.clone(), resolv_conf })
    }
}

/// Whom a machine with this `resolv.conf` asks.
pub fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    ResolvConf::parse(resolv_conf).nameservers
}

#[cfg(test)]
mod tests;
