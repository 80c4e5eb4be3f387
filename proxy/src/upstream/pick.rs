//! How a request gets its host.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Hosts};
use super::host::Host;
use super::tried::Tried;
use crate::config::{Discovery, LbMetadata};
use crate::load_balancer::Ask;

/// What of a request or connection decides where it goes.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// For policies that hash.
    pub hash: Option<u64>,
    /// The subset.
    pub metadata: Option<&'a LbMetadata>,
    /// Where it was meant to go, for clusters that go there.
    pub original: Option<SocketAddr>,
    /// What was tried before, where that decides over priorities.
    pub tried: Option<&'a Tried>,
}

/// There is no host to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no healthy upstream")]
pub struct PickError;

impl Cluster {
    /// Picks a host. One for which `avoid` holds is taken only if `tries` picks find no other.
    pub fn pick(
        &self,
        wanted: Wanted<'_>,
        random: impl Fn() -> u64,
        tries: u32,
        avoid: impl Fn(&Rc<Host>) -> bool,
    ) -> Result<Rc<Host>, PickError> {
        if matches!(self.config.discovery, Discovery::OriginalDst(_) | Discovery::DynamicForwardProxy(_)) {
            return self.pick_original(wanted.original);
        }
        let hosts = self.hosts();
        let set = match &hosts.subsets {
            None => &hosts.set,
            Some(subsets) => subsets.find(wanted.metadata, &hosts.set).ok_or(PickError)?,
        };
        let loads = wanted.tried.and_then(|tried| tried.loads(&hosts, set));
        let ask = Asking { hosts: &hosts, random };
        let mut picked = None;
        for attempt in 0..tries.max(1) {
            let host = &hosts.hosts[set.pick(wanted.hash, attempt, loads.as_deref(), &ask).ok_or(PickError)?];
            if !avoid(host) {
                return Ok(Rc::clone(host));
            }
            picked = Some(host);
        }
        picked.cloned().ok_or(PickError)
    }
}

struct Asking<'a, R> {
    hosts: &'a Hosts,
    random: R,
}

impl<R: Fn() -> u64> Ask for Asking<'_, R> {
    fn random(&self) -> u64 {
        (self.random)()
    }

    fn active(&self, host: usize) -> u32 {
        self.hosts.hosts[host].active()
    }

    fn healthy_for(&self, host: usize) -> Duration {
        self.hosts.hosts[host].healthy_since().elapsed()
    }

    fn newest(&self) -> Duration {
        self.hosts.newest.map_or(Duration::MAX, |since: Instant| since.elapsed())
    }
}
