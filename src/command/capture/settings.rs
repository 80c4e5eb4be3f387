//! What is captured, and how.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ports::Ports;

/// The packet filter that the rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Chains of our own in the tables of iptables and ip6tables
    Iptables,
    /// A table of our own
    Nftables,
}

/// By what connections that come in are brought to the proxy; those that go out are always redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Network address translation
    Redirect,
    /// The kernel's transparent proxying: addresses stay as they are
    Tproxy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub backend: Backend,
    pub mode: Mode,
    pub ipv6: bool,
    /// The agent's group, by which the rules know the proxy's own connections.
    pub group: u32,
    /// Questions to these servers are captured too.
    pub name_servers: Vec<IpAddr>,
    pub control_plane: Vec<SocketAddr>,
    pub exclude: Exclude,
    /// How long the control plane may stay out of reach once the rules are in force.
    pub patience_ms: u64,
    /// How long the rules of an agent that was killed wait for the next one.
    #[serde(default = "usual_grace")]
    pub grace_ms: u64,
}

/// For machines that joined before there was a choice.
fn usual_grace() -> u64 {
    10_000
}

/// What is not captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exclude {
    pub inbound_ports: Vec<Ports>,
    pub outbound_ports: Vec<Ports>,
    pub outbound_ranges: Vec<IpNet>,
    /// By number.
    pub users: Vec<u32>,
}

impl Settings {
    pub fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let ipv6 = self.ipv6.then_some(Family::V6);
        std::iter::once(Family::V4).chain(ipv6)
    }

    /// As the proxy tells it to the control plane.
    pub fn of_proxy(&self) -> proxy::Capture {
        let interception = match self.mode {
            Mode::Redirect => proxy::Interception::Redirect,
            Mode::Tproxy => proxy::Interception::Tproxy,
        };
        proxy::Capture { interception, ipv6: self.ipv6 }
    }

    pub fn captures_dns_over_ipv6(&self) -> bool {
        self.name_servers.iter().any(IpAddr::is_ipv6)
    }

    /// With what this machine's ssh is reached by at the time.
    pub fn with_ssh(mut self, ports: &[u16]) -> Self {
        for excluded in [&mut self.exclude.inbound_ports, &mut self.exclude.outbound_ports] {
            let more = ports.iter().copied().map(Ports::from).filter(|port| !excluded.contains(port));
            excluded.splice(0..0, more.collect::<Vec<_>>());
        }
        self
    }

    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }

    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    pub fn loopback(self) -> &'static str {
        self.pick("127.0.0.1/32", "::1/128")
    }

    /// From which the proxy speaks to the programs of its machine.
    pub fn passthrough(self) -> &'static str {
        self.pick("127.0.0.6/32", "::6/128")
    }

    pub fn restore(self) -> &'static str {
        self.pick("iptables-restore", "ip6tables-restore")
    }

    pub fn save(self) -> &'static str {
        self.pick("iptables-save", "ip6tables-save")
    }

    /// As ip(8) has it.
    pub fn flag(self) -> &'static str {
        self.pick("-4", "-6")
    }

    /// As nft(8) has it.
    pub fn nft(self) -> &'static str {
        self.pick("ip", "ip6")
    }

    fn pick(self, v4: &'static str, v6: &'static str) -> &'static str {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }
}
