//! A cluster as one worker runs it: its hosts, the balancer's place among them, its limits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::dns;
use super::host::{Host, InFlight};
use super::outlier::{Verdict, may_eject};
use super::tls::ClientTls;
use crate::config::{self, Discovery, Endpoint, LoadAssignment, ServiceRef, Snapshot, UpstreamProtocol, UpstreamTls};
use crate::load_balancer::{HostSet, LbState};
use crate::stats::{ClusterStats, Shard};
use crate::tls::TlsSettings;

/// The clusters of one worker, made when first used and kept in step with the snapshot.
pub struct Clusters {
    known: RefCell<HashMap<String, Rc<Cluster>>>,
    shard: Arc<Shard>,
    tls: Arc<TlsSettings>,
}

pub struct Cluster {
    pub config: Arc<config::Cluster>,
    pub stats: Arc<ClusterStats>,
    hosts: RefCell<Rc<Hosts>>,
    /// The assignment that the hosts were made from, before names were resolved.
    assignment: RefCell<Arc<LoadAssignment>>,
    resolved_at: Cell<Option<Instant>>,
    tls: Arc<TlsSettings>,
    secrets: RefCell<Arc<Snapshot>>,
    service: Option<Arc<ServiceRef>>,
    requests: Cell<u32>,
    retries: Cell<u32>,
    pending: Cell<u32>,
    /// Where the number of connections is limited.
    connections: Option<Arc<Semaphore>>,
}

struct Hosts {
    assignment: Arc<LoadAssignment>,
    hosts: Vec<Rc<Host>>,
    set: HostSet,
    state: LbState,
}

/// There is no host to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no healthy upstream")]
pub struct PickError;

/// A circuit breaker stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("overflow")]
pub struct Overflow;

/// A place under the cluster's limits, given back on drop.
pub struct Permit {
    cluster: Rc<Cluster>,
    _connection: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.cluster.requests.set(self.cluster.requests.get().saturating_sub(1));
        self.cluster.stats.rq_active.down();
    }
}

impl Clusters {
    pub fn new(shard: Arc<Shard>, tls: Arc<TlsSettings>) -> Self {
        Self { known: RefCell::default(), shard, tls }
    }

    /// The cluster of that name, if the snapshot has it.
    pub fn get(&self, name: &str, snapshot: &Arc<Snapshot>) -> Option<Rc<Cluster>> {
        if let Some(cluster) = self.known.borrow().get(name) {
            return Some(Rc::clone(cluster));
        }
        let config = snapshot.clusters.get(name)?;
        let cluster = Rc::new(Cluster::new(Arc::clone(config), snapshot, &self.tls, self.shard.cluster(name), None));
        self.known.borrow_mut().insert(name.to_owned(), Rc::clone(&cluster));
        Some(cluster)
    }

    /// Follows a new snapshot: what is gone is retired, what changed is made anew with the connections that still fit.
    pub fn follow(&self, snapshot: &Arc<Snapshot>) {
        self.known.borrow_mut().retain(|name, cluster| {
            let Some(config) = snapshot.clusters.get(name) else {
                cluster.retire();
                return false;
            };
            *cluster.secrets.borrow_mut() = Arc::clone(snapshot);
            if *config == cluster.config {
                cluster.follow(snapshot);
            } else {
                let stats = Arc::clone(&cluster.stats);
                *cluster = Rc::new(Cluster::new(Arc::clone(config), snapshot, &self.tls, stats, Some(cluster)));
            }
            true
        });
    }

    /// Closes connections that have been idle for too long, in all clusters.
    pub fn expire(&self) {
        for cluster in self.known.borrow().values() {
            for host in &cluster.hosts.borrow().hosts {
                host.expire(cluster.config.idle_timeout);
            }
        }
    }
}

fn assignment_of(config: &config::Cluster, snapshot: &Snapshot) -> Arc<LoadAssignment> {
    match &config.discovery {
        Discovery::Static(assignment) | Discovery::StrictDns(assignment) | Discovery::LogicalDns(assignment) => {
            Arc::clone(assignment)
        }
        Discovery::Eds { service_name } => snapshot.endpoints.get(service_name).cloned().unwrap_or_default(),
        Discovery::OriginalDst => Arc::default(),
    }
}

impl Cluster {
    fn new(
        config: Arc<config::Cluster>,
        snapshot: &Arc<Snapshot>,
        tls: &Arc<TlsSettings>,
        stats: Arc<ClusterStats>,
        before: Option<&Rc<Cluster>>,
    ) -> Self {
        let assignment = assignment_of(&config, snapshot);
        let limit = config.circuit_breakers.max_connections;
        let unlimited = limit as usize > Semaphore::MAX_PERMITS >> 8 || limit == u32::MAX;
        let cluster = Self {
            stats,
            hosts: RefCell::new(Rc::new(Hosts::empty())),
            assignment: RefCell::new(Arc::clone(&assignment)),
            resolved_at: Cell::new(None),
            tls: Arc::clone(tls),
            secrets: RefCell::new(Arc::clone(snapshot)),
            service: config.service.clone().map(Arc::new),
            requests: Cell::new(0),
            retries: Cell::new(0),
            pending: Cell::new(0),
            // Requests share a connection in HTTP/2, so that their number does not tell that of connections.
            connections: (!unlimited && config.protocol != UpstreamProtocol::Http2)
                .then(|| Arc::new(Semaphore::new(limit as usize))),
            config,
        };
        let old = before.map(|before| Rc::clone(&before.hosts.borrow()));
        // Connections made under other TLS settings do not fit.
        let old = old.filter(|_| before.is_some_and(|before| cluster.same_transport(&before.config)));
        if let (Some(before), None) = (before, &old) {
            before.retire();
        }
        if !cluster.is_dns() {
            cluster.adopt(assignment, old.as_deref());
        }
        cluster
    }

    fn same_transport(&self, other: &config::Cluster) -> bool {
        self.config.tls == other.tls
            && self.config.transport_socket_matches == other.transport_socket_matches
            && self.config.protocol == other.protocol
    }

    fn is_dns(&self) -> bool {
        matches!(self.config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_))
    }

    fn retire(&self) {
        for host in &self.hosts.borrow().hosts {
            host.retire();
        }
    }

    fn follow(&self, snapshot: &Snapshot) {
        let assignment = assignment_of(&self.config, snapshot);
        if Arc::ptr_eq(&assignment, &self.assignment.borrow()) {
            return;
        }
        *self.assignment.borrow_mut() = Arc::clone(&assignment);
        if self.is_dns() {
            self.resolved_at.set(None);
        } else {
            let old = Rc::clone(&self.hosts.borrow());
            self.adopt(assignment, Some(&old));
        }
    }

    /// Makes the hosts of an assignment, keeping those that were there before.
    fn adopt(&self, assignment: Arc<LoadAssignment>, old: Option<&Hosts>) {
        let mut known: HashMap<_, Vec<&Rc<Host>>> = HashMap::new();
        for host in old.map_or(&[][..], |old| &old.hosts) {
            known.entry(host.endpoint().address.clone()).or_default().push(host);
        }
        let mut hosts = Vec::new();
        for endpoint in assignment.localities.iter().flat_map(|locality| &locality.endpoints) {
            let same = known.get_mut(&endpoint.address).and_then(|hosts| {
                let at = hosts.iter().position(|host| host.endpoint().transport_labels == endpoint.transport_labels)?;
                Some(hosts.swap_remove(at))
            });
            hosts.push(match same {
                Some(host) => {
                    host.describe(endpoint);
                    Rc::clone(host)
                }
                None => Rc::new(Host::new(Arc::clone(endpoint), self.client_tls(endpoint))),
            });
        }
        for host in known.into_values().flatten() {
            host.retire();
        }
        self.publish(assignment, hosts);
    }

    fn publish(&self, assignment: Arc<LoadAssignment>, hosts: Vec<Rc<Host>>) {
        let set = HostSet::build(&assignment, self.config.panic_threshold, self.config.locality_weighted, |host| {
            hosts[host].health().is_ejected()
        });
        let state = set.state();
        *self.hosts.borrow_mut() = Rc::new(Hosts { assignment, hosts, set, state });
    }

    /// The TLS that an endpoint wants: the first match of its labels, else the cluster's own.
    fn client_tls(&self, endpoint: &Endpoint) -> Option<Arc<ClientTls>> {
        let labels = &endpoint.transport_labels;
        let fits = |wanted: &config::TransportSocketMatch| {
            wanted.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        let matched = self.config.transport_socket_matches.iter().find(|matched| fits(matched));
        let tls: Option<&Arc<UpstreamTls>> = match matched {
            Some(matched) => matched.tls.as_ref(),
            None => self.config.tls.as_ref(),
        };
        ClientTls::build(tls?, &self.tls, &self.secrets.borrow())
    }

    /// Waits until names are resolved; at once for clusters without names.
    pub async fn ready(self: &Rc<Self>) {
        if !self.is_dns() {
            return;
        }
        match self.resolved_at.get() {
            Some(at) if at.elapsed() < self.config.dns_refresh_rate => {}
            Some(_) => {
                // The old addresses serve meanwhile.
                self.resolved_at.set(Some(Instant::now()));
                let cluster = Rc::clone(self);
                tokio::task::spawn_local(async move { cluster.resolve().await });
            }
            None => self.resolve().await,
        }
    }

    async fn resolve(&self) {
        let assignment = Arc::clone(&self.assignment.borrow());
        let logical = matches!(self.config.discovery, Discovery::LogicalDns(_));
        let resolved = dns::resolve(&assignment, logical).await;
        self.resolved_at.set(Some(Instant::now()));
        let old = Rc::clone(&self.hosts.borrow());
        let found = resolved.localities.iter().any(|locality| !locality.endpoints.is_empty());
        // A failed lookup leaves what was found before.
        if *old.assignment != resolved && (found || old.hosts.is_empty()) {
            self.adopt(Arc::new(resolved), Some(&old));
        }
    }

    /// Picks a host. One for which `avoid` holds is taken only if `tries` picks find no other.
    pub fn pick(
        &self,
        random: impl Fn() -> u64,
        tries: u32,
        avoid: impl Fn(&Rc<Host>) -> bool,
    ) -> Result<Rc<Host>, PickError> {
        self.readmit();
        let hosts = Rc::clone(&self.hosts.borrow());
        let active = |host: usize| hosts.hosts[host].active();
        let mut picked = None;
        for _ in 0..tries.max(1) {
            let host = hosts.set.pick(&hosts.state, self.config.lb_policy, &random, active).ok_or(PickError)?;
            let host = &hosts.hosts[host];
            if !avoid(host) {
                return Ok(Rc::clone(host));
            }
            picked = Some(host);
        }
        picked.cloned().ok_or(PickError)
    }

    /// The service that the cluster stands for.
    pub fn service(&self) -> Option<Arc<ServiceRef>> {
        self.service.clone()
    }

    /// A place for a request, waiting for a connection if the cluster limits those.
    pub async fn admit(self: &Rc<Self>) -> Result<Permit, Overflow> {
        let limits = self.config.circuit_breakers;
        if self.requests.get() >= limits.max_requests {
            self.stats.rq_pending_overflow.add(1);
            return Err(Overflow);
        }
        let connection = match &self.connections {
            None => None,
            Some(connections) => Some(self.connection(connections, limits.max_pending_requests).await?),
        };
        self.requests.set(self.requests.get() + 1);
        self.stats.rq_active.up();
        Ok(Permit { cluster: Rc::clone(self), _connection: connection })
    }

    async fn connection(&self, all: &Arc<Semaphore>, max_pending: u32) -> Result<OwnedSemaphorePermit, Overflow> {
        if let Ok(permit) = Arc::clone(all).try_acquire_owned() {
            return Ok(permit);
        }
        if self.pending.get() >= max_pending {
            self.stats.rq_pending_overflow.add(1);
            return Err(Overflow);
        }
        let _waiting = Held::on(&self.pending);
        Arc::clone(all).acquire_owned().await.map_err(|_| Overflow)
    }

    /// Counts a retry under way; `None` if there are too many.
    pub fn begin_retry(&self) -> Option<impl Drop + '_> {
        (self.retries.get() < self.config.circuit_breakers.max_retries).then(|| {
            self.stats.rq_retry.add(1);
            Held::on(&self.retries)
        })
    }

    pub fn begin(&self, host: &Rc<Host>) -> InFlight {
        self.stats.rq_total.add(1);
        host.begin()
    }

    /// Learns how a host did.
    pub fn report(&self, host: &Rc<Host>, verdict: Verdict) {
        let Some(settings) = &self.config.outlier_detection else { return };
        if !host.health().record(verdict, settings) || host.health().is_ejected() {
            return;
        }
        let hosts = Rc::clone(&self.hosts.borrow());
        let ejected = hosts.hosts.iter().filter(|host| host.health().is_ejected()).count();
        if may_eject(ejected, hosts.hosts.len(), settings) {
            host.health().eject(settings, Instant::now());
            self.publish(Arc::clone(&hosts.assignment), hosts.hosts.clone());
        }
    }

    /// Takes back hosts whose ejection is over.
    fn readmit(&self) {
        if self.config.outlier_detection.is_none() {
            return;
        }
        let hosts = Rc::clone(&self.hosts.borrow());
        let now = Instant::now();
        if hosts.hosts.iter().filter(|host| host.health().readmit(now)).count() > 0 {
            self.publish(Arc::clone(&hosts.assignment), hosts.hosts.clone());
        }
    }
}

impl Hosts {
    fn empty() -> Self {
        let set = HostSet::build(&LoadAssignment::default(), 0.0, false, |_| false);
        let state = set.state();
        Self { assignment: Arc::default(), hosts: Vec::new(), set, state }
    }
}

/// Adds one to a count for as long as it lives.
struct Held<'a>(&'a Cell<u32>);

impl<'a> Held<'a> {
    fn on(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
