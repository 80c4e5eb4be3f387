//! The workers as one: binds the sockets of a snapshot's listeners, hands the snapshot to every worker, drains them
//! together.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::access_log::LogSink;
use crate::config::{Direction, Listener, Snapshot, SocketSettings, WorkloadRef};
use crate::connection_limit::ConnectionLimit;
use crate::health_check::{ClusterHealth, HealthChecks};
use crate::listener::{self, Handed};
use crate::stats::{Server, Stats, encode_peer};
use crate::tap::Taps;
use crate::telemetry::{EXTRAS, Extra};
use crate::tls::TlsSettings;
use crate::upstream::ClusterReport;
use crate::worker::{self, Command, Failing, Parts};

/// The workers of a proxy.
pub struct DataPlane {
    workers: Vec<mpsc::UnboundedSender<Command>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    bound: tokio::sync::Mutex<HashMap<SocketAddr, SocketSettings>>,
    in_force: watch::Sender<Arc<Snapshot>>,
    pub stats: Stats,
    /// Whether health checks of this proxy are to fail.
    pub failing: Failing,
    draining: AtomicBool,
    /// Whose the next connection is that is handed over.
    turn: AtomicUsize,
    /// Which listeners bind no more, whatever a snapshot says.
    stopped: Mutex<Option<Stopped>>,
    log: LogSink,
    health: HealthChecks,
    /// What workers have for the control plane.
    extras: Mutex<Option<mpsc::Receiver<Extra>>>,
    started: Instant,
}

/// Listeners that were told to stop taking connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    All,
    Inbound,
}

impl Stopped {
    fn covers(self, listener: &Listener) -> bool {
        self == Self::All || listener.direction == Direction::Inbound
    }
}

impl DataPlane {
    /// Starts workers that do nothing yet.
    pub fn start(workers: usize, own: WorkloadRef, tls: TlsSettings, limit: ConnectionLimit) -> std::io::Result<Self> {
        let (stats, tls) = (Stats::default(), Arc::new(tls));
        let (log, _writer) = LogSink::start()?;
        let in_mesh = tls.identity.is_some();
        let (own_header, own) = (in_mesh.then(|| Arc::from(encode_peer(&own))), Arc::new(own));
        let health = HealthChecks::new(Arc::clone(&tls), stats.shard());
        let failing = Failing::default();
        let (reports, extras) = mpsc::channel(EXTRAS);
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for index in 0..workers.max(1) {
            let (sender, commands) = mpsc::unbounded_channel();
            let parts = Parts {
                shard: stats.shard(),
                tls: Arc::clone(&tls),
                log: log.clone(),
                own: Arc::clone(&own),
                own_header: own_header.clone(),
                limit: limit.clone(),
                health: Arc::clone(&health.board),
                failing: Arc::clone(&failing),
                reports: in_mesh.then(|| reports.clone()),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                if let Err(error) = worker::run(parts, commands) {
                    tracing::error!(%error, "a worker could not start");
                }
            })?);
            senders.push(sender);
        }
        let in_force = watch::Sender::new(Arc::default());
        let (bound, stopped, draining, turn) = Default::default();
        Ok(Self {
            workers: senders,
            threads: Mutex::new(threads),
            bound,
            in_force,
            stats,
            failing,
            draining,
            turn,
            stopped,
            log,
            health,
            extras: Mutex::new(Some(extras)),
            started: Instant::now(),
        })
    }

    /// All metrics, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let snapshot = self.in_force.borrow().clone();
        self.stats.exposition_of(Some(&Server {
            started: self.started,
            concurrency: self.workers.len(),
            listeners: snapshot.listeners.len(),
            clusters: snapshot.clusters.len(),
        }))
    }

    /// What workers have for the control plane; whoever asks first gets it.
    pub fn extras(&self) -> mpsc::Receiver<Extra> {
        let first = self.extras.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Gives a connection that somebody else accepted to a worker, to each in turn.
    pub fn hand_over(&self, handed: Handed) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        let _ = self.workers[turn].send(Command::Take(handed));
    }

    /// Which requests workers show from now on.
    pub fn set_taps(&self, taps: Option<Arc<Taps>>) {
        for worker in &self.workers {
            let _ = worker.send(Command::Tap(taps.clone()));
        }
    }

    /// Opens the files of access logs anew.
    pub fn reopen_logs(&self) {
        self.log.reopen();
    }

    /// Puts a snapshot in force and returns when every worker has it. The error names listeners that could not bind;
    /// everything else is in force.
    pub async fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), String> {
        let mut bound = self.bound.lock().await;
        let mut errors = Vec::new();
        if let Err(error) = self.health.follow(&snapshot).await {
            errors.push(format!("health checks cannot start: {error}"));
        }
        let mut fresh: Vec<Vec<(SocketAddr, std::net::TcpListener)>> =
            self.workers.iter().map(|_| Vec::new()).collect();
        let stopped = *self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let binds = |listener: &&Arc<Listener>| listener.binds && stopped.is_none_or(|what| !what.covers(listener));
        let binding = || snapshot.listeners.values().filter(binds);
        let all = binding().flat_map(|listener| listener.addresses().map(move |address| (address, listener)));
        let wanted: HashMap<SocketAddr, &Arc<Listener>> = all.collect();
        // First let go: an address may move to one that overlaps it.
        let stays = |address: &SocketAddr, settings: &SocketSettings| {
            wanted.get(address).is_some_and(|listener| listener.socket == *settings)
        };
        let gone = bound.iter().filter(|(address, settings)| !stays(address, settings));
        let gone: Vec<SocketAddr> = gone.map(|(address, _)| *address).collect();
        if !gone.is_empty() {
            self.tell(|done| Command::Release { addresses: gone.clone(), done }).await;
            bound.retain(|address, _| !gone.contains(address));
        }
        for (address, listener) in &wanted {
            if bound.contains_key(address) {
                continue;
            }
            match listener::bind(*address, &listener.socket, self.workers.len()) {
                Ok(sockets) => {
                    bound.insert(*address, listener.socket.clone());
                    for (worker, socket) in fresh.iter_mut().zip(sockets) {
                        worker.push((*address, socket));
                    }
                }
                Err(error) => errors.push(format!("{}: cannot listen on {address}: {error}", listener.name)),
            }
        }
        let mut fresh = fresh.into_iter();
        self.tell(|done| Command::Apply {
            snapshot: Arc::clone(&snapshot),
            sockets: fresh.next().unwrap_or_default(),
            done,
        })
        .await;
        self.in_force.send_replace(snapshot);
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    /// Sends every worker a command and waits until all have carried it out.
    async fn tell(&self, mut command: impl FnMut(oneshot::Sender<()>) -> Command) {
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (done, told) = oneshot::channel();
            let _ = worker.send(command(done));
            waiting.push(told);
        }
        for told in waiting {
            let _ = told.await;
        }
    }

    /// The snapshot in force, now and after each change.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.in_force.subscribe()
    }

    /// Closes the sockets of listeners for good; connections go on.
    pub async fn stop_listening(&self, what: Stopped) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
        let snapshot = self.in_force.borrow().clone();
        // What it says of binding cannot fail: it binds less than before.
        let _ = self.apply(snapshot).await;
    }

    /// Takes no new connections, and asks those there are to end.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        for worker in &self.workers {
            let _ = worker.send(Command::Drain);
        }
    }

    /// Whether the end has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How the clusters and their hosts are, one report for each worker that knows one.
    pub async fn clusters(&self) -> Vec<ClusterReport> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let (ask, answer) = oneshot::channel();
            let _ = worker.send(Command::Hosts(ask));
            all.extend(answer.await.unwrap_or_default());
        }
        all
    }

    /// What active health checks found of the hosts of a cluster.
    pub fn checked(&self, cluster: &str) -> Arc<ClusterHealth> {
        self.health.board.cluster(cluster)
    }

    /// Takes no new connections and waits until those there are have ended, at most for `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.begin_drain();
        let ended = async {
            while self.connections().await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(patience, ended).await;
    }

    /// Downstream connections of all workers.
    pub async fn connections(&self) -> usize {
        let mut sum = 0;
        for worker in &self.workers {
            let (ask, answer) = oneshot::channel();
            let _ = worker.send(Command::Connections(ask));
            sum += answer.await.unwrap_or(0);
        }
        sum
    }

    /// Ends the workers, whatever they are doing, and writes out the access log. Blocks for as long as that takes.
    pub fn stop(&self) {
        for worker in &self.workers {
            let _ = worker.send(Command::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        self.log.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::test_kit::{self, free};

    fn snapshot(listeners: impl IntoIterator<Item = Listener>) -> Arc<Snapshot> {
        let named = listeners.into_iter().map(|listener| (listener.name.clone(), Arc::new(listener)));
        Arc::new(Snapshot { listeners: named.collect(), ..Snapshot::default() })
    }

    fn at(addresses: &[SocketAddr]) -> Arc<Snapshot> {
        snapshot(addresses.iter().map(|address| test_kit::listener(*address, vec![])))
    }

    fn own() -> WorkloadRef {
        WorkloadRef {
            name: String::new(),
            namespace: String::new(),
            canonical_service: String::new(),
            canonical_revision: String::new(),
            cluster: String::new(),
        }
    }

    fn plane() -> DataPlane {
        DataPlane::start(2, own(), TlsSettings { identity: None }, ConnectionLimit::default()).unwrap()
    }

    #[tokio::test]
    async fn a_listener_moves_to_an_address_that_overlaps_its_own_and_back() {
        let (plane, one) = (plane(), free());
        let any = SocketAddr::new([0, 0, 0, 0].into(), one.port());
        for _ in 0..20 {
            assert_eq!(plane.apply(at(&[any])).await, Ok(()));
            assert_eq!(plane.apply(at(&[one])).await, Ok(()));
        }
        assert!(std::net::TcpStream::connect(one).is_ok());
        plane.stop();
    }

    #[tokio::test]
    async fn a_listener_is_at_all_its_addresses_or_at_none_if_it_does_not_bind() {
        let (plane, one, two) = (plane(), free(), free());
        let both = Listener { additional_addresses: vec![two], ..test_kit::listener(one, vec![]) };
        assert_eq!(plane.apply(snapshot([both.clone()])).await, Ok(()));
        assert!(std::net::TcpStream::connect(one).is_ok() && std::net::TcpStream::connect(two).is_ok());
        assert_eq!(plane.apply(snapshot([Listener { binds: false, ..both }])).await, Ok(()));
        assert!(std::net::TcpStream::connect(one).is_err() && std::net::TcpStream::connect(two).is_err());
        plane.stop();
    }

    #[tokio::test]
    async fn other_socket_settings_are_put_in_force_on_the_same_address() {
        let (plane, one) = (plane(), free());
        for shared in [true, false, true] {
            let socket = SocketSettings { shared, backlog: Some(7), ..SocketSettings::default() };
            let listener = Listener { socket, ..test_kit::listener(one, vec![]) };
            assert_eq!(plane.apply(snapshot([listener])).await, Ok(()));
            assert!(std::net::TcpStream::connect(one).is_ok());
        }
        plane.stop();
    }
}
