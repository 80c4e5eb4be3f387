//! The names that requests ask a dynamic forward proxy for, as one worker keeps them (Envoy, DNS cache): looked up when
//! first asked for, again in the background while they are, and forgotten when nobody has asked for a while.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::dns;
use crate::config::{self, Discovery, DnsCache};

/// Why there is no address to go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("as many names are known as may be")]
    TooManyNames,
    #[error("as many requests wait for names as may")]
    TooManyWaiting,
    #[error("{0}")]
    Unresolved(Arc<str>),
    /// Whatever it stands for is out of the cluster's reach.
    #[error("the address is out of reach")]
    OutOfReach,
}

/// A host, in lower case, and a port.
type Asked = (Box<str>, u16);

#[derive(Default)]
pub struct Names {
    known: RefCell<HashMap<Asked, Rc<Name>>>,
    waiting: Cell<u32>,
}

struct Name {
    /// `None` until the first lookup is over.
    found: RefCell<Option<Result<SocketAddr, NotFound>>>,
    /// From when on it is looked up again.
    due: Cell<Instant>,
    used: Cell<Instant>,
    failures: Cell<u32>,
    looking: Cell<bool>,
    over: Notify,
}

impl Cluster {
    /// Waits until it is known where the host of an authority is. At once for other clusters.
    pub async fn look_up(&self, authority: &str) -> Result<(), NotFound> {
        let Discovery::DynamicForwardProxy(cache) = &self.config.discovery else { return Ok(()) };
        let Some((host, port)) = self.asked(authority) else {
            return Err(NotFound::Unresolved("no host and port".into()));
        };
        if let Ok(ip) = host.parse() {
            return permitted(&self.config, cache, SocketAddr::new(ip, port)).map(drop);
        }
        let name = self.names.name((host, port), cache)?;
        name.used.set(Instant::now());
        self.renew(&name, host, port, cache);
        // What was found before serves meanwhile.
        if let Some(Ok(_)) = &*name.found.borrow() {
            return Ok(());
        }
        if name.looking.get() {
            let _waiting = self.names.wait(cache)?;
            while name.looking.get() {
                name.over.notified().await;
            }
        }
        match &*name.found.borrow() {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Where the host of an authority is, as far as that is known.
    pub(super) fn named(&self, authority: &str) -> Option<SocketAddr> {
        let Discovery::DynamicForwardProxy(cache) = &self.config.discovery else { return None };
        let (host, port) = self.asked(authority)?;
        if let Ok(ip) = host.parse() {
            return permitted(&self.config, cache, SocketAddr::new(ip, port)).ok();
        }
        let known = self.names.known.borrow();
        let name = known.get(&(host.to_ascii_lowercase().into(), port))?;
        name.found.borrow().as_ref()?.as_ref().ok().copied()
    }

    /// The host and port of an authority; without one that of the protocol.
    fn asked<'a>(&self, authority: &'a str) -> Option<(&'a str, u16)> {
        let usual = if self.config.tls.is_some() { 443 } else { 80 };
        split(authority, usual)
    }

    /// Forgets what nobody asked for, and looks up anew what is known for long enough.
    pub(super) fn renew_names(&self) {
        let Discovery::DynamicForwardProxy(cache) = &self.config.discovery else { return };
        let now = Instant::now();
        let wanted = |name: &Name| name.looking.get() || now.duration_since(name.used.get()) < cache.host_ttl;
        self.names.known.borrow_mut().retain(|_, name| wanted(name));
        for ((host, port), name) in &*self.names.known.borrow() {
            self.renew(name, host, *port, cache);
        }
    }

    /// Looks a name up, if it is due and nobody does.
    fn renew(&self, name: &Rc<Name>, host: &str, port: u16, cache: &Arc<DnsCache>) {
        if name.due.get() <= Instant::now() && !name.looking.replace(true) {
            let (cluster, cache, name) = (Arc::clone(&self.config), Arc::clone(cache), Rc::clone(name));
            let host = host.to_ascii_lowercase();
            tokio::task::spawn_local(async move { name.resolve(&host, port, &cluster, &cache).await });
        }
    }
}

impl Names {
    fn name(&self, (host, port): (&str, u16), cache: &DnsCache) -> Result<Rc<Name>, NotFound> {
        let mut known = self.known.borrow_mut();
        let room = known.len() < cache.max_hosts;
        match known.entry((host.to_ascii_lowercase().into(), port)) {
            Entry::Occupied(name) => Ok(Rc::clone(name.get())),
            Entry::Vacant(place) if room => Ok(Rc::clone(place.insert(Rc::new(Name::new())))),
            Entry::Vacant(_) => Err(NotFound::TooManyNames),
        }
    }

    /// A place among those who wait, given back on drop.
    fn wait(&self, cache: &DnsCache) -> Result<impl Drop + '_, NotFound> {
        struct Waiting<'a>(&'a Cell<u32>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        if self.waiting.get() >= cache.max_pending_requests {
            return Err(NotFound::TooManyWaiting);
        }
        self.waiting.set(self.waiting.get() + 1);
        Ok(Waiting(&self.waiting))
    }
}

impl Name {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            found: RefCell::default(),
            due: Cell::new(now),
            used: Cell::new(now),
            failures: Cell::new(0),
            looking: Cell::new(false),
            over: Notify::new(),
        }
    }

    async fn resolve(&self, host: &str, port: u16, cluster: &config::Cluster, cache: &DnsCache) {
        let looked_up = match cache.query_timeout {
            None => dns::lookup(host, port).await,
            Some(limit) => match tokio::time::timeout(limit, dns::lookup(host, port)).await {
                Ok(looked_up) => looked_up,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the lookup took too long")),
            },
        };
        self.learn(looked_up, cluster, cache);
        self.looking.set(false);
        self.over.notify_waiters();
    }

    /// A failure leaves the address that was found before.
    fn learn(&self, looked_up: io::Result<Vec<SocketAddr>>, cluster: &config::Cluster, cache: &DnsCache) {
        let before = self.found.borrow().as_ref().and_then(|found| found.as_ref().ok()).copied();
        let found = looked_up.map_err(|error| NotFound::Unresolved(error.to_string().into()));
        let found = found.and_then(|all| choose(cache.family.choose(all), before, cluster, cache));
        let again = match &found {
            Ok(_) => {
                self.failures.set(0);
                cache.refresh
            }
            Err(error) => {
                tracing::debug!(%error, "a name that a request asks for leads nowhere");
                self.failures.set(self.failures.get().saturating_add(1));
                delay(cache.failure_refresh, self.failures.get())
            }
        };
        self.due.set(Instant::now() + again);
        match (&found, before) {
            (Err(NotFound::Unresolved(_)), Some(_)) => {}
            _ => *self.found.borrow_mut() = Some(found),
        }
    }
}

/// The address that was taken before, if it is still one of them, else the first; of those within reach.
fn choose(
    all: Vec<SocketAddr>,
    before: Option<SocketAddr>,
    cluster: &config::Cluster,
    cache: &DnsCache,
) -> Result<SocketAddr, NotFound> {
    let first = *all.first().ok_or_else(|| NotFound::Unresolved("no address".into()))?;
    let mut within = all.into_iter().filter(|address| permitted(cluster, cache, *address).is_ok()).peekable();
    let next = within.peek().copied();
    let same = before.filter(|before| within.any(|address| address == *before));
    same.or(next).map_or_else(|| permitted(cluster, cache, first), Ok)
}

fn permitted(cluster: &config::Cluster, cache: &DnsCache, address: SocketAddr) -> Result<SocketAddr, NotFound> {
    let refused = || cache.refused.as_ref().is_some_and(|refused| refused.takes(address.ip()));
    match &cluster.reach {
        Some(reach) if !reach.permits(address) => Err(NotFound::OutOfReach),
        _ if refused() => Err(NotFound::Unresolved("every address is refused".into())),
        _ => Ok(address),
    }
}

/// Twice as long after each failure.
fn delay((first, most): (Duration, Duration), failures: u32) -> Duration {
    let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(doubled).min(most)
}

/// `None` where the port is no port.
fn split(authority: &str, usual: u16) -> Option<(&str, u16)> {
    if let Some((inner, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = if rest.is_empty() { Some(usual) } else { rest.strip_prefix(':')?.parse().ok() };
        return Some((inner, port?));
    }
    if authority.parse::<IpAddr>().is_ok() {
        return Some((authority, usual));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty()),
        None => Some((authority, usual)),
    }
}

#[cfg(test)]
mod tests;
