//! Transparent capture: the machine's connections are brought to the proxy by the packet filter, so that programs need
//! not know of it. The rules are Istio's, in chains or a table of our own; what was there before comes back.

mod guard;
mod iptables;
mod keep;
mod nftables;
mod open;
pub mod options;
mod ports;
mod record;
mod settings;
mod ssh;
mod system;

pub use self::guard::{GUARD, Options as GuardOptions, run as guard};
pub use self::keep::{Keep, take_group};
pub use self::record::{FILE, Outcome, outcome, release, release_stranded, reset};
pub use self::settings::{Backend, Settings};
pub use self::ssh::ports as ssh_ports;

/// Where captured connections that go out come to.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where captured connections that come in come to.
pub const INBOUND_PORT: u16 = 15006;
/// Where captured questions to DNS come to.
pub const DNS_PORT: u16 = 15053;
/// A tunnel's, which is never captured (Istio HBONE).
const TUNNEL_PORT: u16 = 15008;
/// What the agent beside the proxy answers itself: metrics, readiness, health.
const AGENT_PORTS: [u16; 3] = [15090, 15021, 15020];
/// On packets that TPROXY brings in: a routing table of their own delivers them here, whomever they are to.
const MARK: u32 = 1337;
/// On packets with which the proxy calls its own machine by way of its mesh address, where TPROXY brings connections.
const OWN_MARK: u32 = 1338;
const ROUTING_TABLE: u32 = 133;

/// What would be run, as words to read.
pub fn dry_run(settings: &Settings) -> String {
    let mut text = String::new();
    for step in system::steps(settings) {
        text += &format!("# ip {}\n", step.add().join(" "));
    }
    match settings.backend {
        Backend::Iptables => {
            for family in settings.families() {
                text += &format!("# {} --noflush\n", family.restore());
                text += &iptables::rules(settings, family).render();
            }
        }
        Backend::Nftables => text += &format!("# nft -f -\n{}", nftables::rules(settings)),
    }
    text
}
