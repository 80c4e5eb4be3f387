//! A cluster as one worker runs it: its hosts, the balancer's place among them, its limits.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::dns;
use super::host::{Host, InFlight};
use super::limits::Limits;
use super::names::Names;
use super::original_dst::Originals;
use super::outlier::Summary;
use super::tls::{ClientTls, same_secrets};
use crate::config::{self, Discovery, Endpoint, HealthStatus, LoadAssignment, ServiceRef, Snapshot, UpstreamTls};
use crate::health_check::ClusterHealth;
use crate::load_balancer::{Health, HostSet, Rules, Subsets};
use crate::stats::ClusterStats;
use crate::tls::TlsSettings;

pub struct Cluster {
    pub config: Arc<config::Cluster>,
    pub stats: Arc<ClusterStats>,
    pub(super) limits: Limits,
    /// Once a request came whose route has priority HIGH.
    pub(super) high_limits: OnceCell<Box<Limits>>,
    pub(super) originals: Originals,
    pub(super) names: Rc<Names>,
    pub(super) judged_at: Cell<Option<Instant>>,
    /// The success rates of the last interval, of answers and of connections.
    pub(super) rates: Cell<[Summary; 2]>,
    hosts: RefCell<Rc<Hosts>>,
    /// The assignment that the hosts were made from, before names were resolved.
    assignment: RefCell<Arc<LoadAssignment>>,
    resolved_at: Cell<Option<Instant>>,
    refused: dns::Refused,
    around: Around,
    /// The last change of health that was read.
    seen: Cell<u32>,
    secrets: RefCell<Arc<Snapshot>>,
    service: Option<Arc<ServiceRef>>,
}

/// What a cluster shares with others.
pub(super) struct Around {
    pub tls: Arc<TlsSettings>,
    /// What active health checks found.
    pub checked: Option<Arc<ClusterHealth>>,
}

pub(super) struct Hosts {
    pub hosts: Vec<Rc<Host>>,
    pub set: HostSet,
    pub subsets: Option<Box<Subsets>>,
    /// Since when the host has been healthy that has been so for the shortest time, where that matters.
    pub newest: Option<Instant>,
}

fn assignment_of(config: &config::Cluster, snapshot: &Snapshot) -> Arc<LoadAssignment> {
    match &config.discovery {
        Discovery::Static(assignment) | Discovery::StrictDns(assignment) | Discovery::LogicalDns(assignment) => {
            Arc::clone(assignment)
        }
        Discovery::Eds { service_name } => snapshot.endpoints.get(service_name).cloned().unwrap_or_default(),
        Discovery::OriginalDst(_) | Discovery::DynamicForwardProxy(_) => Arc::default(),
    }
}

impl Cluster {
    pub(super) fn new(
        config: Arc<config::Cluster>,
        snapshot: &Arc<Snapshot>,
        around: Around,
        stats: Arc<ClusterStats>,
        before: Option<&Rc<Cluster>>,
    ) -> Self {
        let assignment = assignment_of(&config, snapshot);
        let same_names =
            before.filter(|before| before.config.discovery == config.discovery && before.config.reach == config.reach);
        let cluster = Self {
            stats,
            limits: Limits::new(&config, &config.circuit_breakers),
            high_limits: OnceCell::new(),
            judged_at: Cell::new(None),
            rates: Cell::default(),
            originals: Originals::default(),
            names: same_names.map(|before| Rc::clone(&before.names)).unwrap_or_default(),
            hosts: RefCell::new(Rc::new(Hosts::empty(&config))),
            assignment: RefCell::new(Arc::clone(&assignment)),
            resolved_at: Cell::new(None),
            refused: dns::Refused::default(),
            seen: Cell::new(around.checked.as_ref().map_or(0, |checked| checked.version())),
            around,
            secrets: RefCell::new(Arc::clone(snapshot)),
            service: config.service.clone().map(Arc::new),
            config,
        };
        let old = before.map(|before| Rc::clone(&before.hosts.borrow()));
        // Connections made under other TLS settings do not fit.
        let old = old.filter(|_| before.is_some_and(|before| cluster.same_transport(before)));
        if cluster.config.outlier_detection.is_some() {
            cluster.stats.outliers.get_or_init(Box::default);
        }
        before.iter().flat_map(|before| before.originals.hosts()).for_each(|host| host.retire());
        if let (Some(before), None) = (before, &old) {
            before.retire();
        }
        if !cluster.is_dns() {
            cluster.adopt(assignment, old.as_deref());
        }
        cluster
    }

    /// Whether the certificates and roots that come by name are those that connections were made with.
    pub(super) fn has_the_secrets_of(&self, snapshot: &Snapshot) -> bool {
        same_secrets(&self.config, &self.secrets.borrow(), snapshot)
    }

    fn same_transport(&self, before: &Self) -> bool {
        let other = &before.config;
        before.has_the_secrets_of(&self.secrets.borrow())
            && self.config.tls == other.tls
            && self.config.transport_socket_matches == other.transport_socket_matches
            && self.config.protocol == other.protocol
    }

    fn is_dns(&self) -> bool {
        matches!(self.config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_))
    }

    pub(super) fn retire(&self) {
        for host in self.all_hosts() {
            host.retire();
        }
    }

    pub(super) fn expire(&self) {
        for host in self.all_hosts() {
            host.expire(&self.config);
        }
        self.originals.sweep();
        self.renew_names();
    }

    pub(super) fn all_hosts(&self) -> Vec<Rc<Host>> {
        let mut hosts = self.hosts.borrow().hosts.clone();
        hosts.extend(self.originals.hosts());
        hosts
    }

    pub(super) fn follow(&self, snapshot: &Arc<Snapshot>) {
        *self.secrets.borrow_mut() = Arc::clone(snapshot);
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
        let (mut hosts, mut fresh) = (Vec::new(), false);
        for endpoint in assignment.endpoints() {
            let same = known.get_mut(&endpoint.address).and_then(|hosts| {
                let at = hosts.iter().position(|host| host.endpoint().transport_labels == endpoint.transport_labels)?;
                Some(hosts.swap_remove(at))
            });
            hosts.push(match same {
                Some(host) => {
                    host.describe(endpoint);
                    Rc::clone(host)
                }
                None => {
                    fresh = true;
                    Rc::new(Host::new(Arc::clone(endpoint), self.client_tls(endpoint)).counted_in(&self.stats))
                }
            });
        }
        let gone: Vec<_> = known.into_values().flatten().collect();
        if fresh || !gone.is_empty() {
            self.stats.membership_change.add(1);
        }
        gone.into_iter().for_each(|host| host.retire());
        self.publish(&assignment, hosts);
    }

    pub(super) fn publish(&self, assignment: &Arc<LoadAssignment>, hosts: Vec<Rc<Host>>) {
        let rules = rules(&self.config);
        let health: Vec<Health> = hosts.iter().map(|host| self.health(host)).collect();
        self.stats.membership_total.set(hosts.len() as u64);
        if let Some(outliers) = self.stats.outliers.get() {
            outliers.active.set(hosts.iter().filter(|host| host.health().is_ejected()).count() as u64);
        }
        let healthy = health.iter().filter(|health| **health == Health::Healthy).count();
        self.stats.membership_healthy.set(healthy as u64);
        let health = |host: usize| health[host];
        if self.config.close_on_host_change {
            hosts.iter().for_each(|host| host.disconnect());
        }
        let set = HostSet::build(assignment, rules, health, |_| true);
        let subsets = self.config.subsets.as_ref();
        let subsets = subsets.map(|subsets| Box::new(Subsets::build(assignment, subsets, rules, health)));
        let newest = match self.config.lb_policy.slow_start() {
            Some(_) => hosts.iter().map(|host| host.healthy_since()).max(),
            None => None,
        };
        *self.hosts.borrow_mut() = Rc::new(Hosts { hosts, set, subsets, newest });
    }

    /// How many hosts there are, and how many of them take requests.
    pub fn membership(&self) -> (usize, usize) {
        let hosts = Rc::clone(&self.hosts.borrow());
        let healthy = hosts.hosts.iter().filter(|host| self.health(host) != Health::Unhealthy).count();
        (hosts.hosts.len(), healthy)
    }

    /// What discovery, active checks and this worker's own experience say together.
    fn health(&self, host: &Host) -> Health {
        let endpoint = host.endpoint();
        if host.health().is_ejected() || endpoint.health == HealthStatus::Unhealthy {
            return Health::Unhealthy;
        }
        let of_discovery = match endpoint.health {
            HealthStatus::Degraded => Health::Degraded,
            _ => Health::Healthy,
        };
        let unchecked = endpoint.check.as_ref().is_some_and(|check| check.disabled);
        let Some(checked) = self.around.checked.as_ref().filter(|_| !unchecked) else { return of_discovery };
        match checked.of(&endpoint.address) {
            None if self.config.ignore_unchecked_hosts => Health::Pending,
            None => Health::Unhealthy,
            Some(finding) => {
                finding.since.inspect(|since| host.set_healthy_since(*since));
                if finding.health == Health::Healthy { of_discovery } else { finding.health }
            }
        }
    }

    pub(super) fn client_tls(&self, endpoint: &Endpoint) -> Option<Arc<ClientTls>> {
        client_tls(&self.config, endpoint, &self.around.tls, &self.secrets.borrow())
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
        let resolved = dns::resolve(&assignment, logical, &self.config, &self.refused).await;
        self.resolved_at.set(Some(Instant::now()));
        let old = Rc::clone(&self.hosts.borrow());
        let found = resolved.endpoints().next().is_some();
        // A failed lookup leaves what was found before.
        if **old.set.assignment() != resolved && (found || old.hosts.is_empty()) {
            self.adopt(Arc::new(resolved), Some(&old));
        }
    }

    /// The hosts as of now.
    pub(super) fn hosts(&self) -> Rc<Hosts> {
        self.read_health();
        self.readmit();
        Rc::clone(&self.hosts.borrow())
    }

    pub(super) fn current(&self) -> Rc<Hosts> {
        Rc::clone(&self.hosts.borrow())
    }

    /// When a host last passed an active health check.
    pub(super) fn passed(&self, host: &Host) -> Option<Instant> {
        self.around.checked.as_ref()?.of(&host.endpoint().address)?.passed
    }

    /// Takes in what active checks have found since.
    fn read_health(&self) {
        let Some(checked) = &self.around.checked else { return };
        let version = checked.version();
        if self.seen.replace(version) != version {
            let hosts = Rc::clone(&self.hosts.borrow());
            self.publish(hosts.set.assignment(), hosts.hosts.clone());
        }
    }

    /// The service that the cluster stands for.
    pub fn service(&self) -> Option<Arc<ServiceRef>> {
        self.service.clone()
    }

    pub fn begin(&self, host: &Rc<Host>) -> InFlight {
        if let Some(checked) = &self.around.checked {
            checked.set_used();
        }
        self.stats.rq_total.add(1);
        host.begin()
    }
}

fn rules(config: &config::Cluster) -> Rules {
    Rules {
        policy: config.lb_policy,
        panic_threshold: config.panic_threshold,
        locality_weighted: config.locality_weighted,
    }
}

/// The TLS that an endpoint wants: the first match of its labels, else the cluster's own.
pub fn client_tls(
    config: &config::Cluster,
    endpoint: &Endpoint,
    settings: &TlsSettings,
    snapshot: &Snapshot,
) -> Option<Arc<ClientTls>> {
    let labels = &endpoint.transport_labels;
    let fits = |wanted: &config::TransportSocketMatch| {
        wanted.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    let matched = config.transport_socket_matches.iter().find(|matched| fits(matched));
    let tls: Option<&Arc<UpstreamTls>> = match matched {
        Some(matched) => matched.tls.as_ref(),
        None => config.tls.as_ref(),
    };
    ClientTls::build(tls?, settings, snapshot)
}

impl Hosts {
    fn empty(config: &config::Cluster) -> Self {
        let set = HostSet::build(&Arc::default(), rules(config), |_| Health::Pending, |_| false);
        Self { hosts: Vec::new(), set, subsets: None, newest: None }
    }
}
