//! A /24 of loopback addresses for each mesh on this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;

use crate::command::sidecar::RESERVATION;

/// The first mesh of a machine is in `127.0.10.0/24`.
pub const FIRST: u8 = 10;
const LAST: u8 = 250;

/// A network that is this mesh's for as long as the value lives.
pub struct Network {
    pub number: u8,
    _lock: TcpListener,
}

impl Network {
    /// Takes the network that the mesh had last time, if it is free, else the first free one.
    pub fn reserve(preferred: Option<u8>) -> anyhow::Result<Self> {
        let lock = |number| Some((number, TcpListener::bind((host(number, 254), RESERVATION)).ok()?));
        let found = preferred.into_iter().chain(FIRST..=LAST).find_map(lock);
        let (number, lock) = found.context("every loopback network from 127.0.10.0/24 on is taken by another mesh")?;
        Ok(Self { number, _lock: lock })
    }
}

pub fn host(network: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, network, host)
}

/// `127.0.0.1` if all these ports are free there, else the network's first address.
pub fn usual_or_own(network: u8, ports: &[u16]) -> Ipv4Addr {
    let free = |port: &u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).is_ok();
    if ports.iter().all(free) { Ipv4Addr::LOCALHOST } else { host(network, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_meshes_have_two_networks() {
        let one = Network::reserve(None).unwrap();
        let two = Network::reserve(Some(one.number)).unwrap();
        assert_ne!(one.number, two.number);
        let number = one.number;
        drop(one);
        assert_eq!(Network::reserve(Some(number)).unwrap().number, number);
    }
}
