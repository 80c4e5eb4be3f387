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

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where it listens, and whom it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// UDP and TCP. Port 0 takes a free one.
    pub listen: SocketAddr,
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
        Some(DnsSettings { listen, upstreams: self.upstreams.clone(), resolv_conf: PathBuf::from("/etc/resolv.conf") })
    }
}

#[cfg(test)]
mod tests;
