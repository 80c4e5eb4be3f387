//! Active health checks: one checker for the whole process, on a thread of its own, whatever the number of workers. It
//! writes down what it finds; workers read that when something has changed. Without clusters that are checked there is
//! no thread.

mod board;
mod probe;
mod record;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::config::Snapshot;
use crate::stats::Shard;
use crate::tls::TlsSettings;

pub use board::{Board, ClusterHealth};

type Orders = mpsc::UnboundedSender<(Arc<Snapshot>, oneshot::Sender<()>)>;

/// The checker, started when it is first needed.
pub struct HealthChecks {
    pub board: Arc<Board>,
    tls: Arc<TlsSettings>,
    /// The checker's own counters.
    shard: Arc<Shard>,
    orders: Mutex<Option<Orders>>,
}

impl HealthChecks {
    pub fn new(tls: Arc<TlsSettings>, shard: Arc<Shard>) -> Self {
        Self { board: Arc::default(), tls, shard, orders: Mutex::default() }
    }

    /// Checks what a snapshot says, and waits until every host that is new has been checked once (Envoy, cluster
    /// warming).
    pub async fn follow(&self, snapshot: &Arc<Snapshot>) -> std::io::Result<()> {
        let Some(orders) = self.orders(snapshot)? else { return Ok(()) };
        let (done, over) = oneshot::channel();
        let _ = orders.send((Arc::clone(snapshot), done));
        let _ = over.await;
        Ok(())
    }

    fn orders(&self, snapshot: &Snapshot) -> std::io::Result<Option<Orders>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_none() && snapshot.clusters.values().any(|cluster| cluster.health_check.is_some()) {
            *orders = Some(self.start()?);
        }
        Ok(orders.clone())
    }

    /// The thread ends with the last sender of orders.
    fn start(&self) -> std::io::Result<Orders> {
        let (sender, mut orders) = mpsc::unbounded_channel::<(Arc<Snapshot>, oneshot::Sender<()>)>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (board, tls, shard) = (Arc::clone(&self.board), Arc::clone(&self.tls), Arc::clone(&self.shard));
        std::thread::Builder::new().name("health-checks".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                let mut watches = watch::Watches::new(board, tls, shard);
                while let Some((snapshot, done)) = orders.recv().await {
                    watches.follow(&snapshot, done);
                }
            });
        })?;
        Ok(sender)
    }
}

#[cfg(test)]
mod tests;
