//! What filters count: the counters of a chain, found once for each connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::local_rate_limit::{self, LocalRateLimit};
use super::{Filter, fault, grpc_stats, health_check, rbac};
use crate::config::HttpManager;
use crate::stats::Shard;

/// The counters of one filter of a chain.
#[derive(Debug)]
pub enum FilterStats {
    None,
    Fault(fault::Stats),
    HealthCheck(health_check::Stats),
    GrpcStats(grpc_stats::Stats),
    Rbac(rbac::Stats),
}

/// Counters by the address of what they belong to; that is kept, so that no other comes to lie there.
type Known<T, S> = RefCell<HashMap<usize, (Arc<T>, Rc<S>)>>;

/// The counters of the chains of one worker.
#[derive(Debug, Default)]
pub struct StatsCache {
    chains: Known<HttpManager, [FilterStats]>,
    /// Routes may have limits of their own, which count for themselves.
    local_rate_limits: Known<LocalRateLimit, local_rate_limit::Stats>,
}

impl StatsCache {
    /// The counters of a chain by the places of its filters; `None` if none counts.
    pub fn of(&self, manager: &Arc<HttpManager>, shard: &Arc<Shard>) -> Option<Rc<[FilterStats]>> {
        if manager.filters.is_empty() {
            return None;
        }
        let mut chains = self.chains.borrow_mut();
        let made = || {
            let stats = manager.filters.iter().map(|entry| match &entry.filter {
                Filter::Rbac(rbac) => FilterStats::Rbac(rbac::Stats::new(rbac, &manager.stat_prefix, shard)),
                Filter::GrpcStats(config) => FilterStats::GrpcStats(grpc_stats::Stats::new(config, shard)),
                Filter::Fault(_) => FilterStats::Fault(fault::Stats::new(&manager.stat_prefix, shard)),
                Filter::HealthCheck(_) => {
                    FilterStats::HealthCheck(health_check::Stats::new(&manager.stat_prefix, shard))
                }
                _ => FilterStats::None,
            });
            (Arc::clone(manager), stats.collect())
        };
        let (_, stats) = chains.entry(Arc::as_ptr(manager).addr()).or_insert_with(made);
        Some(Rc::clone(stats))
    }

    pub fn local_rate_limit(&self, limit: &Arc<LocalRateLimit>, shard: &Shard) -> Rc<local_rate_limit::Stats> {
        let mut limits = self.local_rate_limits.borrow_mut();
        let made = || (Arc::clone(limit), Rc::new(local_rate_limit::Stats::new(&limit.stat_prefix, shard)));
        Rc::clone(&limits.entry(Arc::as_ptr(limit).addr()).or_insert_with(made).1)
    }

    /// Forgets chains, which may be gone, when the configuration changes. Connections keep theirs.
    pub fn clear(&self) {
        self.chains.borrow_mut().clear();
        self.local_rate_limits.borrow_mut().clear();
    }
}
