//! A worker: one thread with everything it needs for the traffic it carries, shared with no other worker but for the
//! snapshot it reads.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};

use crate::access_log::{LogExporters, LogSink};
use crate::config::{Direction, Listener, Snapshot, WorkloadRef};
use crate::connection_limit::{ConnectionLimit, Permit};
use crate::drain::{self, Drain, DrainTrigger};
use crate::filter::StatsCache;
use crate::filter::jwt_authn::{self, KeyStore};
use crate::health_check::Board;
use crate::listener::{self, Chains, Handed};
use crate::series::SeriesCache;
use crate::stats::{PeerCache, Shard, VirtualClusters};
use crate::tap::{Shown, Taps};
use crate::telemetry::Extra;
use crate::tls::TlsSettings;
use crate::trace::Exporters;
use crate::upstream::{ClusterReport, Clusters};

/// What a worker is made of.
pub struct Parts {
    pub shard: Arc<Shard>,
    pub tls: Arc<TlsSettings>,
    pub log: LogSink,
    /// Who this proxy stands for.
    pub own: Arc<WorkloadRef>,
    /// What it tells other proxies of the mesh about that.
    pub own_header: Option<Arc<str>>,
    pub limit: ConnectionLimit,
    pub health: Arc<Board>,
    pub failing: Failing,
    /// To the control plane, where there is one.
    pub reports: Option<mpsc::Sender<Extra>>,
}

/// The state of one worker. Never leaves its thread.
pub struct Worker {
    snapshot: RefCell<Arc<Snapshot>>,
    pub clusters: Clusters,
    pub chains: Chains,
    pub peers: PeerCache,
    /// Keys of those who sign tokens.
    pub keys: KeyStore,
    pub series: SeriesCache,
    pub exporters: Exporters,
    pub log_exporters: LogExporters,
    pub filter_stats: StatsCache,
    pub virtual_clusters: VirtualClusters,
    pub shard: Arc<Shard>,
    pub log: LogSink,
    pub own: Arc<WorkloadRef>,
    pub own_header: Option<Arc<str>>,
    own_principal: Option<Arc<str>>,
    pub tls: Arc<TlsSettings>,
    random: Cell<u64>,
    accepting: RefCell<HashMap<SocketAddr, (DrainTrigger, JoinHandle<()>)>>,
    drain: DrainTrigger,
    limit: ConnectionLimit,
    connections: Rc<Cell<usize>>,
    /// Whether health checks of this proxy are to fail, as the admin interface was told.
    pub failing: Failing,
    pub reports: Option<mpsc::Sender<Extra>>,
    taps: RefCell<Option<Arc<Taps>>>,
    pub shown: Shown,
}

/// A connection, counted for as long as this lives.
pub struct Counted(Option<Rc<Cell<usize>>>, #[expect(dead_code, reason = "held for its drop")] Permit);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.set(count.get() - 1);
        }
    }
}

/// Set for the whole proxy by `/healthcheck/fail`, and cleared by `/healthcheck/ok`. While it is set, connections end
/// with their next answer.
pub type Failing = Arc<AtomicBool>;

/// What the control thread asks of a worker.
pub enum Command {
    /// Closes the sockets of listeners that go or move.
    Release { addresses: Vec<SocketAddr>, done: oneshot::Sender<()> },
    /// Puts a snapshot in force, with the sockets of listeners that are new.
    Apply { snapshot: Arc<Snapshot>, sockets: Vec<(SocketAddr, std::net::TcpListener)>, done: oneshot::Sender<()> },
    /// Serves a connection that somebody else accepted.
    Take(Handed),
    /// Which requests to show to those who look.
    Tap(Option<Arc<Taps>>),
    /// Takes no new connections, and ends those there are as soon as they can.
    Drain,
    /// Ends at once, whatever is under way.
    Stop,
    /// How many connections there are.
    Connections(oneshot::Sender<usize>),
    /// How its upstream hosts are.
    Hosts(oneshot::Sender<Vec<ClusterReport>>),
}

/// Runs a worker until its commands end.
pub fn run(parts: Parts, commands: mpsc::UnboundedReceiver<Command>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, Rc::new(Worker::new(parts)).serve(commands));
    Ok(())
}

const HOUSEKEEPING: Duration = Duration::from_secs(15);
/// How long an idle connection of a filter chain that is gone may still bring a request.
const IDLE_OF_A_CHAIN_THAT_WENT: Duration = Duration::from_secs(5);

impl Worker {
    fn new(parts: Parts) -> Self {
        let clusters = Clusters::new(Arc::clone(&parts.shard), Arc::clone(&parts.tls), parts.health);
        let chains = Chains::new(Arc::clone(&parts.tls), Arc::clone(&parts.shard));
        Self {
            snapshot: RefCell::default(),
            clusters,
            chains,
            peers: PeerCache::default(),
            keys: KeyStore::default(),
            series: SeriesCache::new(Arc::clone(&parts.shard)),
            exporters: Exporters::default(),
            log_exporters: LogExporters::default(),
            filter_stats: StatsCache::default(),
            virtual_clusters: VirtualClusters::default(),
            shard: parts.shard,
            log: parts.log,
            own: parts.own,
            own_header: parts.own_header,
            own_principal: parts.tls.identity.as_ref().map(|identity| identity.current().id().to_string().into()),
            tls: parts.tls,
            random: Cell::new(rand::random::<u64>() | 1),
            accepting: RefCell::default(),
            drain: DrainTrigger::or_while(Arc::clone(&parts.failing)),
            limit: parts.limit,
            connections: Rc::default(),
            failing: parts.failing,
            reports: parts.reports,
            taps: RefCell::default(),
            shown: Shown::default(),
        }
    }

    async fn serve(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = housekeeping.tick() => {
                    self.clusters.expire();
                    runtime::memory::release();
                    continue;
                }
            };
            match command {
                None | Some(Command::Stop) => return self.exporters.end(&self),
                Some(Command::Release { addresses, done }) => {
                    self.release(addresses).await;
                    let _ = done.send(());
                }
                Some(Command::Apply { snapshot, sockets, done }) => {
                    self.apply(snapshot, sockets);
                    let _ = done.send(());
                }
                Some(Command::Take(handed)) => listener::take(&self, handed),
                Some(Command::Tap(taps)) => *self.taps.borrow_mut() = taps,
                Some(Command::Drain) => self.wind_down().await,
                Some(Command::Connections(answer)) => drop(answer.send(self.connections.get())),
                Some(Command::Hosts(answer)) => drop(answer.send(self.clusters.report())),
            }
        }
    }

    fn apply(self: &Rc<Self>, snapshot: Arc<Snapshot>, sockets: Vec<(SocketAddr, std::net::TcpListener)>) {
        *self.snapshot.borrow_mut() = Arc::clone(&snapshot);
        self.clusters.follow(&snapshot);
        let gone = self.chains.follow(&snapshot);
        if !gone.is_empty() {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(IDLE_OF_A_CHAIN_THAT_WENT).await;
                gone.iter().for_each(|leaving| leaving.start());
            });
        }
        jwt_authn::prefetch(self, &snapshot);
        self.filter_stats.clear();
        self.virtual_clusters.clear();
        for (address, socket) in sockets {
            let (trigger, stop) = drain::pair();
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    let task = tokio::task::spawn_local(listener::accept(Rc::clone(self), socket, address, stop));
                    self.accepting.borrow_mut().insert(address, (trigger, task));
                }
                Err(error) => tracing::error!(%address, %error, "a listener could not be taken up"),
            }
        }
    }

    /// Closes sockets, and returns when they are closed.
    async fn release(&self, addresses: Vec<SocketAddr>) {
        for address in addresses {
            let accepting = self.accepting.borrow_mut().remove(&address);
            if let Some((stop, task)) = accepting {
                stop.start();
                let _ = task.await;
            }
        }
    }

    /// Takes no new work, but for what this proxy's own application still asks of others: without that it could not
    /// finish what it is at.
    async fn wind_down(&self) {
        let outbound = |address: &SocketAddr| {
            self.chains.at(*address).is_some_and(|active| active.listener.direction == Direction::Outbound)
        };
        self.drain.start();
        let others = self.accepting.borrow().keys().copied().filter(|address| !outbound(address)).collect();
        self.release(others).await;
    }

    /// The configuration in force. Load it once per request or connection and keep it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Which requests are to be shown, if anybody looks.
    pub fn taps(&self) -> Option<Arc<Taps>> {
        self.taps.borrow().clone()
    }

    /// Fresh random bits; good for balancing, not for secrets.
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// This proxy's own SPIFFE ID, which does not change when its certificate does.
    pub fn own_principal(&self) -> Option<Arc<str>> {
        self.own_principal.clone()
    }

    /// Whether the whole proxy drains. What comes then is served to its end, and nothing waits for it.
    pub fn is_draining(&self) -> bool {
        self.drain.has_started()
    }

    /// Told when the whole proxy drains.
    pub fn drain(&self) -> Drain {
        self.drain.subscribe()
    }

    /// Why a program of this machine may not use a way out, if it may not. Captured connections are anybody's who was
    /// captured.
    pub fn turns_away(&self, listener: &Listener, tcp: &TcpStream, peer: SocketAddr) -> Option<String> {
        let users = self.limit.users()?;
        if listener.direction != Direction::Outbound || listener.use_original_dst {
            return None;
        }
        users.check(peer, tcp.local_addr()).err()
    }

    /// Counts a connection for as long as the guard lives; `None` if there are as many as there may be. One that is
    /// exempt is let in all the same, and takes nobody's place.
    pub fn connection(&self, exempt: bool) -> Option<Counted> {
        let permit = if exempt { Permit::exempt() } else { self.limit.admit()? };
        let counted = (!self.is_draining()).then(|| {
            self.connections.set(self.connections.get() + 1);
            Rc::clone(&self.connections)
        });
        Some(Counted(counted, permit))
    }
}
