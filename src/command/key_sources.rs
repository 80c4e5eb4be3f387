//! Where keys of RequestAuthentications may be fetched from: not at this machine, unless its operator says so.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use clap::Args;
use ipnet::IpNet;
use runtime::Reach;

use super::words::network;

#[derive(Clone, Debug, Default, Args)]
pub struct KeySources {
    /// An address, or a range, where a jwksUri may lead although it is loopback, link-local or a port of the control
    /// plane; may be repeated [default: none]
    #[arg(long = "allow-jwks-address", value_name = "CIDR", value_parser = network)]
    allowed: Vec<IpNet>,
}

impl KeySources {
    /// `own` are the control plane's sockets; one that is bound to all addresses is at each of the machine's.
    pub fn reach(&self, own: &[SocketAddr]) -> Reach {
        Reach { allowed: self.allowed.clone(), refused: places(own, &addresses()) }
    }

    /// The same options as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        self.allowed.iter().flat_map(|range| ["--allow-jwks-address".into(), range.to_string().into()]).collect()
    }
}

/// Where others reach the sockets of a machine that has these addresses.
fn places(own: &[SocketAddr], machine: &[IpAddr]) -> Vec<SocketAddr> {
    let at = |socket: &SocketAddr| match socket.ip() {
        any if any.is_unspecified() => machine.iter().map(|ip| SocketAddr::new(*ip, socket.port())).collect(),
        _ => vec![*socket],
    };
    own.iter().flat_map(at).collect()
}

/// The addresses of this machine that others can reach.
fn addresses() -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let all = all.filter_map(|interface| interface.address).filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    all.filter(|ip| !ip.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_planes_own_ports_are_out_of_reach() {
        let sources = KeySources { allowed: vec![network("127.0.0.1").unwrap(), network("fe80::/10").unwrap()] };
        let reach = sources.reach(&["10.0.0.5:15012".parse().unwrap()]);
        assert!(!reach.permits("10.0.0.5:15012".parse().unwrap()));
        assert!(reach.permits("127.0.0.1:80".parse().unwrap()) && !reach.permits("127.0.0.2:80".parse().unwrap()));
        assert_eq!(
            sources.words().join(&OsString::from(" ")),
            "--allow-jwks-address 127.0.0.1/32 --allow-jwks-address fe80::/10"
        );
        let machine = ["192.0.2.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let own = ["0.0.0.0:15012".parse().unwrap(), "[::]:8443".parse().unwrap(), "10.0.0.5:15080".parse().unwrap()];
        let told: Vec<_> = places(&own, &machine).iter().map(ToString::to_string).collect();
        let both = ["192.0.2.2:15012", "[fd00::2]:15012", "192.0.2.2:8443", "[fd00::2]:8443", "10.0.0.5:15080"];
        assert_eq!(told, both);
    }
}
