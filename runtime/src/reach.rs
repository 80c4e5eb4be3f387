//! Which addresses somebody else's configuration may send us to. A host name is anybody's to point anywhere, so what it
//! stands for is judged, and then connected to, as one thing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    let own = match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0 || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    };
    own || tells_secrets(ip)
}

/// Where the machines of a cloud find its metadata and credentials: link-local, and what some clouds have besides; also
/// as a translator between IPv6 and IPv4 (RFC 6052) writes it.
pub fn tells_secrets(ip: IpAddr) -> bool {
    /// Alibaba Cloud; Azure.
    const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
    /// EC2: metadata, the credentials of EKS pods; Google Cloud.
    const V6: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || V4.contains(&v4),
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                tells_secrets(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
            }
            _ => v6.is_unicast_link_local() || V6.contains(&v6),
        },
    }
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
            "[fd00:ec2::23]:80",
            "[fd20:ce::254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "100.100.100.200:80",
        ] {
            assert!(!permits(&reach, near), "{near}");
        }
        for far in
            ["10.0.0.1:80", "93.184.216.34:443", "[2001:db8::1]:443", "[fd00::1]:443", "[64:ff9b::5db8:d822]:443"]
        {
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
