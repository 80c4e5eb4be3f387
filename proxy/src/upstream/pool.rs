//! The connections kept to a host. HTTP/1.1 connections wait until they are wanted again; HTTP/2 connections are
//! shared, and while one is being made others wait for it rather than make their own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::connect::ConnectError;
use super::host::{Host, UpstreamError};
use crate::config::Cluster;
use crate::http::{Via, h1, h2};

#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    attempts: RefCell<Vec<Rc<Attempt>>>,
    /// Counts how often all connections were given up: one that is older does not come back.
    given_up: Cell<u32>,
    /// Set when the host left the cluster: connections are not kept any more.
    retired: Cell<bool>,
    /// Whether the host, asked for HTTP/2 by ALPN, chose HTTP/1.1.
    pub declined_h2: Cell<bool>,
    /// Whether a task waits to close connections that have been idle.
    watched: Cell<bool>,
}

/// A connection's own past.
#[derive(Clone)]
pub struct Origin {
    pub via: Rc<Via>,
    opened: Instant,
    given_up: u32,
}

struct Idle {
    client: h1::Client,
    origin: Origin,
    since: Instant,
}

#[derive(Clone)]
struct Shared {
    client: h2::Client,
    origin: Origin,
}

/// A connection that is being made.
#[derive(Default)]
struct Attempt {
    waiting: Cell<u32>,
    over: Notify,
    failed: RefCell<Option<ConnectError>>,
}

/// More idle connections than this are closed rather than kept, per host and worker.
const MAX_IDLE: usize = 1024;

/// Idle connections are looked after in any case from time to time; a shorter time gets a timer of its own.
const SHORT: Duration = Duration::from_secs(30);

impl Pool {
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// Gives up all connections: what is under way on them ends in peace.
    pub fn give_up(&self) {
        self.given_up.set(self.given_up.get().wrapping_add(1));
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Gives up all, and keeps nothing from now on.
    pub fn retire(&self) {
        self.retired.set(true);
        self.give_up();
    }

    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    pub fn origin(&self, via: Rc<Via>) -> Origin {
        Origin { via, opened: Instant::now(), given_up: self.given_up.get() }
    }

    fn keeps(&self, origin: &Origin, served: u32, cluster: &Cluster) -> bool {
        let (most, longest) = (cluster.max_requests_per_connection, cluster.max_connection_duration);
        !self.retired.get()
            && origin.given_up == self.given_up.get()
            && (most == 0 || served < most)
            && longest.is_none_or(|longest| origin.opened.elapsed() < longest)
    }

    /// Closes connections that were idle, or that have lasted, for longer than the cluster allows.
    pub fn expire(&self, cluster: &Cluster) {
        let fresh = |since: Instant| cluster.idle_timeout.is_zero() || since.elapsed() < cluster.idle_timeout;
        self.idle
            .borrow_mut()
            .retain(|idle| fresh(idle.since) && self.keeps(&idle.origin, idle.client.served, cluster));
        self.shared.borrow_mut().retain_mut(|Shared { client, origin }| {
            !client.is_closed()
                && (client.active() > 0 || fresh(client.idle_since()))
                && self.keeps(origin, client.served(), cluster)
        });
    }

    /// An HTTP/1.1 connection that waits, the one used last first.
    pub fn reuse_h1(&self, cluster: &Cluster) -> Option<(h1::Client, Origin)> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { client, origin, since }) = idle.pop() {
            let expired = !cluster.idle_timeout.is_zero() && since.elapsed() >= cluster.idle_timeout;
            if !expired && !client.is_stale() && self.keeps(&origin, client.served, cluster) {
                return Some((client, origin));
            }
        }
        None
    }

    /// An HTTP/2 connection that takes another stream.
    pub fn reuse_h2(&self, cluster: &Cluster) -> Option<(h2::Client, Origin)> {
        let mut shared = self.shared.borrow_mut();
        let limit = cluster.http2.max_concurrent_streams;
        loop {
            let at = shared.iter().position(|shared| shared.client.has_room(limit))?;
            let Shared { client, origin } = &mut shared[at];
            if !client.is_closed() && self.keeps(origin, client.served(), cluster) {
                return Some((client.clone(), origin.clone()));
            }
            shared.remove(at);
        }
    }

    /// The attempt that still has room for another stream.
    fn attempt(&self, cluster: &Cluster) -> Option<Rc<Attempt>> {
        let mut room = cluster.http2.max_concurrent_streams;
        if cluster.max_requests_per_connection > 0 {
            room = room.min(cluster.max_requests_per_connection);
        }
        let peer = self.shared.borrow().iter().map(|shared| shared.client.peer_limit()).min();
        let room = room.min(peer.unwrap_or(u32::MAX));
        self.attempts.borrow().iter().find(|attempt| attempt.waiting.get() + 1 < room).cloned()
    }
}

impl Host {
    /// Keeps an HTTP/1.1 connection that has served.
    pub(super) fn keep_h1(self: &Rc<Self>, client: h1::Client, origin: Origin, cluster: &Arc<Cluster>) {
        let pool = &self.pool;
        if pool.keeps(&origin, client.served, cluster) && pool.idle.borrow().len() < MAX_IDLE {
            pool.idle.borrow_mut().push(Idle { client, origin, since: Instant::now() });
            self.watch_idle(cluster);
        }
    }

    /// Keeps an HTTP/2 connection that was made.
    pub(super) fn keep_h2(self: &Rc<Self>, client: &h2::Client, origin: &Origin, cluster: &Arc<Cluster>) {
        if self.pool.keeps(origin, 0, cluster) {
            self.pool.shared.borrow_mut().push(Shared { client: client.clone(), origin: origin.clone() });
            self.watch_idle(cluster);
        }
    }

    /// A short time of idleness ends on time.
    fn watch_idle(self: &Rc<Self>, cluster: &Arc<Cluster>) {
        let longest = [Some(cluster.idle_timeout).filter(|time| !time.is_zero()), cluster.max_connection_duration];
        let Some(shortest) = longest.into_iter().flatten().min().filter(|time| *time < SHORT) else { return };
        if self.pool.watched.replace(true) {
            return;
        }
        let (host, cluster) = (Rc::downgrade(self), Arc::clone(cluster));
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(shortest / 4 + Duration::from_millis(1)).await;
                let Some(host) = host.upgrade() else { return };
                host.pool.expire(&cluster);
                if host.pool.is_empty() {
                    host.pool.watched.set(false);
                    return;
                }
            }
        });
    }

    /// An HTTP/2 connection: one that there is, one that is being made, or a new one that `make` makes. `None` where
    /// the host does not speak HTTP/2.
    pub(super) async fn share_h2<F>(
        self: &Rc<Self>,
        cluster: &Cluster,
        make: impl FnOnce() -> F,
    ) -> Result<Option<(h2::Client, Origin)>, UpstreamError>
    where
        F: Future<Output = Result<Option<(h2::Client, Origin)>, UpstreamError>>,
    {
        loop {
            if let Some(found) = self.pool.reuse_h2(cluster) {
                return Ok(Some(found));
            }
            if self.pool.declined_h2.get() {
                return Ok(None);
            }
            let Some(attempt) = self.pool.attempt(cluster) else { break };
            attempt.waiting.set(attempt.waiting.get() + 1);
            attempt.over.notified().await;
            if let Some(error) = &*attempt.failed.borrow() {
                return Err(error.again().into());
            }
        }
        let making = Making { pool: &self.pool, attempt: Rc::default() };
        self.pool.attempts.borrow_mut().push(Rc::clone(&making.attempt));
        let made = make().await;
        if let Err(UpstreamError::Connect(error)) = &made {
            *making.attempt.failed.borrow_mut() = Some(error.again());
        }
        made
    }
}

/// Tells those who wait that the attempt is over, even if its own request was given up: then one of them makes the next.
struct Making<'a> {
    pool: &'a Pool,
    attempt: Rc<Attempt>,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.pool.attempts.borrow_mut().retain(|attempt| !Rc::ptr_eq(attempt, &self.attempt));
        self.attempt.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
