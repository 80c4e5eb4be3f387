//! What `weft join` is told of capture.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use ipnet::IpNet;
use nix::unistd::{Gid, Group};
use proxy::dns::{Listen, nameservers};

use super::ports::Ports;
use super::settings::{Backend, Exclude, Mode, Settings};
use super::ssh;
use crate::command::duration;
use crate::command::failure::{Exit, Failure};
use crate::command::words::{network, uid};

/// Istio's proxies have this one.
const GROUP: u32 = 1337;
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[derive(Debug, Args)]
pub struct CaptureOptions {
    /// Bring all connections of the machine to the proxy, without a word to its programs [default: iptables]
    #[arg(
        long,
        value_enum,
        value_name = "BACKEND",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "iptables"
    )]
    capture: Option<Backend>,
    /// How connections that come in are brought
    #[arg(long, value_enum, value_name = "MODE", default_value = "redirect", requires = "capture")]
    capture_mode: Mode,
    /// How long the control plane may be out of reach before capture is rolled back
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse, requires = "capture")]
    capture_timeout: Duration,
    /// How long the rules stay when the agent was killed, for another to take over
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, requires = "capture")]
    capture_grace: Duration,
    /// The group that the agent takes, whose connections are not captured [default: 1337]
    #[arg(long, value_name = "GID", requires = "capture")]
    capture_gid: Option<u32>,
    /// Ports whose connections come in as they are, besides those of sshd: 9100,9200-9300
    #[arg(long, value_name = "PORTS", value_delimiter = ',', requires = "capture")]
    capture_exclude_inbound_ports: Vec<Ports>,
    /// Ports to which connections go out as they are, besides those of sshd
    #[arg(long, value_name = "PORTS", value_delimiter = ',', requires = "capture")]
    capture_exclude_outbound_ports: Vec<Ports>,
    /// Networks to which connections go out as they are: 10.8.0.0/16,fd00::/8
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network, requires = "capture")]
    capture_exclude_outbound_ranges: Vec<IpNet>,
    /// Users, by name or number, whose connections go out as they are
    #[arg(long, value_name = "USERS", value_delimiter = ',', value_parser = uid, requires = "capture")]
    capture_exclude_users: Vec<u32>,
    /// Capture questions to the nameservers of /etc/resolv.conf too, which the agent then answers
    #[arg(long, requires = "capture")]
    capture_dns: bool,
    /// Print the rules of capture, and do nothing
    #[arg(long, requires = "capture")]
    pub dry_run: bool,
}

impl CaptureOptions {
    /// `None` without capture. `control_plane` is `https://host:port`.
    pub async fn settings(&self, control_plane: &str, dns: Listen) -> anyhow::Result<Option<Settings>> {
        let Some(backend) = self.capture else { return Ok(None) };
        let ipv6 = TcpListener::bind("[::1]:0").is_ok();
        let settings = Settings {
            backend,
            mode: self.capture_mode,
            ipv6,
            group: self.group()?,
            name_servers: if self.capture_dns { name_servers(dns, ipv6)? } else { Vec::new() },
            control_plane: resolve(control_plane).await?,
            exclude: Exclude {
                inbound_ports: self.capture_exclude_inbound_ports.clone(),
                outbound_ports: self.capture_exclude_outbound_ports.clone(),
                outbound_ranges: self.capture_exclude_outbound_ranges.clone(),
                users: self.capture_exclude_users.clone(),
            },
            patience_ms: u64::try_from(self.capture_timeout.as_millis()).unwrap_or(u64::MAX),
            grace_ms: u64::try_from(self.capture_grace.as_millis()).unwrap_or(u64::MAX),
        };
        let here = ssh::of_connection(std::env::var("SSH_CONNECTION").ok().as_deref());
        let ports: Vec<u16> = ssh::ports().await.into_iter().chain(here).collect();
        Ok(Some(settings.with_ssh(&ports)))
    }

    fn group(&self) -> anyhow::Result<u32> {
        if let Some(gid) = self.capture_gid {
            return Ok(gid);
        }
        if let Some(group) = Group::from_gid(Gid::from_raw(GROUP)).context("groups cannot be looked up")? {
            let words = format!(
                "group {GROUP} is {} here, whose programs would not be captured; give the number of a group that is \
                 nobody's with --capture-gid",
                group.name
            );
            return Err(Failure::new(Exit::Usage, words).into());
        }
        Ok(GROUP)
    }
}

/// Those that the machine asks.
fn name_servers(dns: Listen, ipv6: bool) -> anyhow::Result<Vec<IpAddr>> {
    ensure!(
        dns == Listen::Usual,
        Failure::new(Exit::Usage, "--capture-dns hands questions to port 15053 of loopback; leave --listen-dns out")
    );
    let text = fs::read_to_string(RESOLV_CONF).with_context(|| format!("{RESOLV_CONF} cannot be read"))?;
    let servers: Vec<IpAddr> = nameservers(&text).iter().map(SocketAddr::ip).collect();
    ensure!(
        ipv6 || servers.iter().all(IpAddr::is_ipv4),
        Failure::new(
            Exit::Usage,
            format!(
                "--capture-dns takes questions over IPv6 only where IPv6 is switched on, and {RESOLV_CONF} names \
                 {servers:?}; leave it out"
            )
        )
    );
    Ok(servers)
}

async fn resolve(control_plane: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let place = control_plane.trim_start_matches("https://").trim_end_matches('/');
    let found = tokio::net::lookup_host(place).await;
    let mut addresses: Vec<_> = found.with_context(|| format!("{place} cannot be looked up"))?.collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_nonsense_is_refused() {
        assert_eq!("8000-8010".parse::<Ports>().unwrap().iptables(), "8000:8010");
        assert!(["", "0", "9-8", "http", "70000"].iter().all(|text| text.parse::<Ports>().is_err()));
    }
}
