//! The clusters of one worker, made when first used and kept in step with the snapshot.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::cluster::{Around, Cluster};
use crate::config::{self, Snapshot};
use crate::health_check::Board;
use crate::stats::Shard;
use crate::tls::TlsSettings;

pub struct Clusters {
    /// Of names that the configuration gives; no client adds to them.
    known: RefCell<HashMap<String, Rc<Cluster>, foldhash::fast::RandomState>>,
    shard: Arc<Shard>,
    tls: Arc<TlsSettings>,
    health: Arc<Board>,
}

impl Clusters {
    pub fn new(shard: Arc<Shard>, tls: Arc<TlsSettings>, health: Arc<Board>) -> Self {
        Self { known: RefCell::default(), shard, tls, health }
    }

    /// The cluster of that name, if the snapshot has it.
    pub fn get(&self, name: &str, snapshot: &Arc<Snapshot>) -> Option<Rc<Cluster>> {
        if let Some(cluster) = self.known.borrow().get(name) {
            return Some(Rc::clone(cluster));
        }
        let config = snapshot.clusters.get(name)?;
        let around = self.around(config);
        let cluster = Rc::new(Cluster::new(Arc::clone(config), snapshot, around, self.shard.cluster(name), None));
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
            if *config == cluster.config && cluster.has_the_secrets_of(snapshot) {
                cluster.follow(snapshot);
            } else {
                let stats = Arc::clone(&cluster.stats);
                let around = self.around(config);
                *cluster = Rc::new(Cluster::new(Arc::clone(config), snapshot, around, stats, Some(cluster)));
            }
            true
        });
    }

    fn around(&self, config: &config::Cluster) -> Around {
        let checked = config.health_check.as_ref().map(|_| self.health.cluster(&config.name));
        Around { tls: Arc::clone(&self.tls), checked }
    }

    /// Those that were used so far.
    pub(super) fn known(&self) -> Vec<(String, Rc<Cluster>)> {
        self.known.borrow().iter().map(|(name, cluster)| (name.clone(), Rc::clone(cluster))).collect()
    }

    /// Closes connections that have been idle for too long, in all clusters.
    pub fn expire(&self) {
        for cluster in self.known.borrow().values() {
            cluster.expire();
        }
    }
}
