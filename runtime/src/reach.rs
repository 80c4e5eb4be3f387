//! Which addresses somebody else's configuration may send us to. A host name is anybody's to point anywhere, so what it
//! stands for is judged, and then connected to, as one thing.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Addresses of the machine itself and of its cloud's secrets are out of reach, but for those that are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub allowed: Vec<IpNet>,
    /// Besides, wherever they are.
    pub refused: Vec<SocketAddr>,
}

impl Reach {
    pub fn permits(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let address = SocketAddr::new(ip, address.port());
        self.allowed.iter().any(|range| range.contains(&ip)) || !(is_near(ip) || self.refused.contains(&address))
    }
}

/// This machine (loopback, and 0.0.0.0, which connects to it), its links, and where clouds tell machines their secrets.
fn is_near(ip: IpAddr) -> bool {
    const METADATA: [&str; 3] = ["fd00:ec2::254", "100.100.100.200", "168.63.129.16"];
    let near = match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0 || v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
    };
    near || METADATA.iter().any(|other| other.parse() == Ok(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(reach: &Reach, address: &str) -> bool {
        reach.permits(address.parse().unwrap())
    }

    #[test]
    fn the_machine_and_its_links_are_out_of_reach_in_every_spelling() {
        let reach = Reach::default();
        for near in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "0.0.0.0:80",
            "169.254.169.254:80",
            "[::1]:80",
            "[::]:80",
            "[fe80::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:169.254.169.254]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
        ] {
            assert!(!permits(&reach, near), "{near}");
        }
        for far in ["10.0.0.1:80", "93.184.216.34:443", "[2001:db8::1]:443", "[fd00::1]:443"] {
            assert!(permits(&reach, far), "{far}");
        }
    }

    #[test]
    fn what_is_named_is_allowed_or_refused_as_it_says() {
        let reach =
            Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()], refused: vec!["10.0.0.5:15012".parse().unwrap()] };
        assert!(permits(&reach, "127.0.0.1:80") && permits(&reach, "[::ffff:127.0.0.1]:80"));
        assert!(!permits(&reach, "[::1]:80"));
        assert!(!permits(&reach, "10.0.0.5:15012") && !permits(&reach, "[::ffff:10.0.0.5]:15012"));
        assert!(permits(&reach, "10.0.0.5:443"));
    }
}
