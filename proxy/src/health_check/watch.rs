//! Which hosts are checked: those of the snapshot's clusters, each by a task of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::board::{Board, ClusterHealth};
use super::probe::Prober;
use super::record::{Outcome, Record, part};
use crate::config::{self, Discovery, Endpoint, EndpointAddress, HealthCheck, LoadAssignment, Snapshot};
use crate::stats::{ClusterStats, Shard};
use crate::tls::TlsSettings;
use crate::upstream::{self, Host};

/// The checks of all clusters.
pub struct Watches {
    board: Arc<Board>,
    tls: Arc<TlsSettings>,
    shard: Arc<Shard>,
    clusters: HashMap<String, Rc<Watched>>,
}

/// Ends a task with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Watched {
    config: Arc<config::Cluster>,
    check: Arc<HealthCheck>,
    health: Arc<ClusterHealth>,
    stats: Arc<ClusterStats>,
    tls: Arc<TlsSettings>,
    snapshot: RefCell<Arc<Snapshot>>,
    hosts: RefCell<HashMap<EndpointAddress, (Arc<Endpoint>, Task)>>,
    names: RefCell<Option<Task>>,
}

/// Held by a host until it was checked once.
type First = mpsc::Sender<()>;

impl Watches {
    pub fn new(board: Arc<Board>, tls: Arc<TlsSettings>, shard: Arc<Shard>) -> Self {
        Self { board, tls, shard, clusters: HashMap::new() }
    }

    /// `done` is told when every host that is new was checked once.
    pub fn follow(&mut self, snapshot: &Arc<Snapshot>, done: oneshot::Sender<()>) {
        let board = &self.board;
        self.clusters.retain(|name, _| {
            let keep = snapshot.clusters.get(name).is_some_and(|config| config.health_check.is_some());
            if !keep {
                board.forget(name);
            }
            keep
        });
        let (first, mut checked) = mpsc::channel(1);
        for (name, config) in &snapshot.clusters {
            let Some(check) = &config.health_check else { continue };
            let known = self.clusters.get(name).filter(|known| known.config == *config).cloned();
            let watched = known.unwrap_or_else(|| {
                let fresh = Rc::new(Watched {
                    config: Arc::clone(config),
                    check: Arc::clone(check),
                    health: board.cluster(name),
                    stats: self.shard.cluster(name),
                    tls: Arc::clone(&self.tls),
                    snapshot: RefCell::new(Arc::clone(snapshot)),
                    hosts: RefCell::default(),
                    names: RefCell::default(),
                });
                self.clusters.insert(name.clone(), Rc::clone(&fresh));
                fresh
            });
            watched.follow(snapshot, &first);
        }
        drop(first);
        tokio::task::spawn_local(async move {
            checked.recv().await;
            let _ = done.send(());
        });
    }
}

impl Watched {
    fn follow(self: &Rc<Self>, snapshot: &Arc<Snapshot>, first: &First) {
        *self.snapshot.borrow_mut() = Arc::clone(snapshot);
        let logical = matches!(self.config.discovery, Discovery::LogicalDns(_));
        match &self.config.discovery {
            Discovery::Static(assignment) => self.check_all(assignment, first),
            Discovery::Eds { service_name } => {
                let found = snapshot.endpoints.get(service_name).cloned().unwrap_or_default();
                self.check_all(&found, first);
            }
            Discovery::OriginalDst(_) | Discovery::DynamicForwardProxy(_) => {}
            Discovery::StrictDns(assignment) | Discovery::LogicalDns(assignment) => {
                if self.names.borrow().is_none() {
                    let names = Rc::clone(self).resolve(Arc::clone(assignment), logical, first.clone());
                    let task = tokio::task::spawn_local(names).abort_handle();
                    *self.names.borrow_mut() = Some(Task(task));
                }
            }
        }
    }

    async fn resolve(self: Rc<Self>, assignment: Arc<LoadAssignment>, logical: bool, first: First) {
        let (mut first, refused) = (Some(first), upstream::Refused::default());
        loop {
            let found = upstream::resolve(&assignment, logical, &self.config, &refused).await;
            let (later, _) = mpsc::channel(1);
            self.check_all(&found, first.as_ref().unwrap_or(&later));
            first = None;
            tokio::time::sleep(self.config.dns_refresh_rate).await;
        }
    }

    /// Checks these hosts and no others.
    fn check_all(self: &Rc<Self>, assignment: &LoadAssignment, first: &First) {
        let mut before = std::mem::take(&mut *self.hosts.borrow_mut());
        let mut hosts = HashMap::new();
        for endpoint in assignment.endpoints() {
            if hosts.contains_key(&endpoint.address) || endpoint.check.as_ref().is_some_and(|check| check.disabled) {
                continue;
            }
            let same = before.remove(&endpoint.address);
            let same = same.filter(|(known, _)| {
                known.check == endpoint.check && known.transport_labels == endpoint.transport_labels
            });
            let watch = same.unwrap_or_else(|| {
                let watch = Rc::clone(self).watch(Arc::clone(endpoint), first.clone());
                (Arc::clone(endpoint), Task(tokio::task::spawn_local(watch).abort_handle()))
            });
            hosts.insert(endpoint.address.clone(), watch);
        }
        for address in before.keys().filter(|address| !hosts.contains_key(*address)) {
            self.health.forget(address);
        }
        *self.hosts.borrow_mut() = hosts;
        self.count_hosts();
    }

    fn count_hosts(&self) {
        let [healthy, degraded] = self.health.count();
        let stats = self.stats.checks.get_or_init(Box::default);
        stats.healthy.set(healthy + degraded);
        stats.degraded.set(degraded);
    }

    fn count(&self, outcome: Outcome) {
        let stats = self.stats.checks.get_or_init(Box::default);
        stats.attempt.add(1);
        if matches!(outcome, Outcome::Passed { .. }) {
            return stats.success.add(1);
        }
        stats.failure.add(1);
        if outcome == Outcome::Failed {
            stats.network_failure.add(1);
        }
    }

    fn prober(&self, endpoint: &Arc<Endpoint>) -> Prober {
        let target = endpoint.check.as_deref().cloned().unwrap_or_default();
        let mut checked = Endpoint::clone(endpoint);
        if let (EndpointAddress::Socket(address), Some(port)) =
            (&mut checked.address, target.port.or(self.check.alt_port))
        {
            address.set_port(port);
        }
        let tls = upstream::client_tls(&self.config, endpoint, &self.tls, &self.snapshot.borrow());
        let secure = tls.is_some();
        let host = Rc::new(Host::new(Arc::new(checked), tls));
        Prober::new(host, &self.config, &self.check, &target.hostname, secure)
    }

    async fn watch(self: Rc<Self>, endpoint: Arc<Endpoint>, first: First) {
        let prober = self.prober(&endpoint);
        tokio::time::sleep(part(self.check.initial_jitter, rand::random())).await;
        let (mut record, mut first) = (Record::new(), Some(first));
        loop {
            let outcome = tokio::time::timeout(self.check.timeout, prober.check()).await.unwrap_or(Outcome::Failed);
            record.take(outcome, &self.check);
            self.health.write(&endpoint.address, record.health(), Instant::now());
            self.count(outcome);
            self.count_hosts();
            drop(first.take());
            let pause = record.pause(outcome, &self.check.intervals, self.health.is_used(), rand::random());
            tokio::time::sleep(pause).await;
        }
    }
}
