//! The connected proxies and what each has of its configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use api::SpiffeId;
use tokio::sync::watch;

use super::Caller;
use super::events::{Events, Happened};
use crate::diagnostic::Diagnostic;
use crate::inputs::{Inputs, Mark};
use crate::node::{Node, NodeKind};
use crate::resource::Snapshot;

/// One connected proxy.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    /// The name people know it by: `reviews-v1.default`.
    pub id: String,
    /// The whole node id.
    pub node: String,
    pub kind: NodeKind,
    pub namespace: String,
    pub workload: String,
    /// Its user agent: `weft/0.1.0`.
    pub version: String,
    /// Where its connection comes from, if known.
    pub address: Option<SocketAddr>,
    pub connected_at: SystemTime,
    pub identity: Option<SpiffeId>,
    /// By short name: CDS, EDS, LDS, RDS.
    pub types: BTreeMap<&'static str, TypeStatus>,
    /// What the compile had to say of its configuration.
    pub diagnostics: Arc<[Diagnostic]>,
    /// Whether something changed since its configuration was compiled, so that more may follow.
    pub behind: bool,
}

/// How far a proxy is with one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeStatus {
    pub state: SyncState,
    /// The proxy's words, when it refused.
    pub error: Option<String>,
    /// How many resources it was given.
    pub resources: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncState {
    /// It did not ask, or nothing was sent yet.
    #[default]
    NotSent,
    /// Everything sent was accepted.
    Synced,
    /// The last was sent and not yet answered.
    Stale,
    /// It refused something that has not been replaced since.
    Nacked,
}

impl SyncState {
    /// As Istio's `proxy-status` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "NOT SENT",
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Nacked => "NACKED",
        }
    }
}

#[derive(Default)]
pub(super) struct Proxies {
    next: AtomicU64,
    connected: Mutex<BTreeMap<u64, Entry>>,
    pub events: Events,
    /// Grows with whatever changes in the list.
    changes: watch::Sender<u64>,
}

struct Entry {
    status: ProxyStatus,
    node: Arc<Node>,
    snapshot: Arc<Snapshot>,
    /// Of what the types were last compiled from.
    mark: Option<Mark>,
}

/// A proxy's place in the list, given up when dropped.
pub(super) struct Place<'a> {
    proxies: &'a Proxies,
    key: u64,
}

impl Proxies {
    pub fn enter(&self, node: &Node, caller: &Caller, types: BTreeMap<&'static str, TypeStatus>) -> Place<'_> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let status = ProxyStatus {
            id: node.name.clone(),
            node: node.id.clone(),
            kind: node.kind,
            namespace: node.namespace.clone(),
            workload: node.workload.clone(),
            version: node.user_agent.clone(),
            address: caller.address,
            connected_at: SystemTime::now(),
            identity: caller.identity.clone(),
            types,
            diagnostics: Arc::new([]),
            behind: true,
        };
        let entry = Entry { status, node: Arc::new(node.clone()), snapshot: Arc::default(), mark: None };
        self.lock().insert(key, entry);
        self.events.add(&node.name, Happened::Connected, None, None);
        self.changed();
        Place { proxies: self, key }
    }

    /// A number that is another whenever the list is.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Who each connected proxy says it is, with its latest snapshot; the newest connection where it has several.
    pub fn nodes(&self) -> Vec<(Arc<Node>, Arc<Snapshot>)> {
        let connected = self.lock();
        let newest: BTreeMap<&str, &Entry> =
            connected.values().map(|entry| (entry.status.node.as_str(), entry)).collect();
        newest.into_values().map(|entry| (entry.node.clone(), entry.snapshot.clone())).collect()
    }

    pub fn connected(&self) -> usize {
        self.lock().len()
    }

    /// `latest` is what they will have sooner or later.
    pub fn list(&self, latest: &Inputs) -> Vec<ProxyStatus> {
        let status = |entry: &Entry| {
            let behind = entry.mark.as_ref().is_none_or(|mark| !mark.is_of(latest));
            ProxyStatus { behind, ..entry.status.clone() }
        };
        let mut all: Vec<_> = self.lock().values().map(status).collect();
        all.sort_by(|a, b| (&a.id, a.connected_at).cmp(&(&b.id, b.connected_at)));
        all
    }

    /// The newest connection's, where a proxy has several.
    pub fn snapshot(&self, proxy: &str) -> Option<Arc<Snapshot>> {
        let connected = self.lock();
        let mut newest_first = connected.values().rev();
        newest_first.find(|entry| entry.status.id == proxy || entry.status.node == proxy).map(|e| e.snapshot.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    pub fn compiled(&self, snapshot: Arc<Snapshot>, diagnostics: Arc<[Diagnostic]>) {
        if let Some(entry) = self.proxies.lock().get_mut(&self.key) {
            entry.snapshot = snapshot;
            entry.status.diagnostics = diagnostics;
        }
        self.proxies.changed();
    }

    /// Takes over what is known of the proxy now.
    pub fn known(&self, node: &Node) {
        if let Some(entry) = self.proxies.lock().get_mut(&self.key) {
            entry.node = Arc::new(node.clone());
        }
    }

    /// `mark` is of what the types were last compiled from.
    pub fn types(&self, types: BTreeMap<&'static str, TypeStatus>, mark: &Option<Mark>) {
        let mut connected = self.proxies.lock();
        let Some(entry) = connected.get_mut(&self.key) else { return };
        entry.mark.clone_from(mark);
        if entry.status.types != types {
            entry.status.types = types;
            drop(connected);
            self.proxies.changed();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let gone = self.proxies.lock().remove(&self.key);
        if let Some(entry) = gone {
            self.proxies.events.add(&entry.status.id, Happened::Disconnected, None, None);
        }
        self.proxies.changed();
    }
}
