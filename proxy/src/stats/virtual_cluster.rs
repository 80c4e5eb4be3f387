//! What is counted of virtual clusters (Envoy, `vhost.<name>.vcluster.<name>.*`). What none of them takes is counted
//! under `other`, if a virtual host has any.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::exposition::label;
use super::{Counter, Shard};
use crate::access_log::ResponseFlags;
use crate::route::VirtualHost;

const OTHER: &str = "other";

#[derive(Debug)]
pub struct VirtualClusterStats {
    shard: Arc<Shard>,
    labels: String,
    completed: Arc<Counter>,
    total: Arc<Counter>,
    retry: Arc<Counter>,
    retry_limit_exceeded: Arc<Counter>,
    timeout: Arc<Counter>,
    /// By status: of its class, and its own.
    codes: RefCell<Vec<(u16, [Arc<Counter>; 2])>>,
}

type Known = HashMap<(usize, usize), (Arc<VirtualHost>, Rc<VirtualClusterStats>), foldhash::fast::RandomState>;

/// Those of one worker, by virtual host and place in it; the virtual host is kept, so that no other comes to lie at
/// its address.
#[derive(Debug, Default)]
pub struct VirtualClusters {
    known: RefCell<Known>,
}

impl VirtualClusters {
    /// Of the virtual cluster at a place; of the rest without one.
    pub fn of(&self, host: &Arc<VirtualHost>, place: Option<usize>, shard: &Arc<Shard>) -> Rc<VirtualClusterStats> {
        let key = (Arc::as_ptr(host).addr(), place.unwrap_or(usize::MAX));
        let mut known = self.known.borrow_mut();
        let (_, stats) = known.entry(key).or_insert_with(|| {
            let name = place.and_then(|place| host.virtual_clusters.get(place)).map_or(OTHER, |found| &found.name);
            (Arc::clone(host), Rc::new(VirtualClusterStats::new(&host.name, name, shard)))
        });
        Rc::clone(stats)
    }

    /// Forgets all, which may be gone, when the configuration changes.
    pub fn clear(&self) {
        self.known.borrow_mut().clear();
    }
}

impl VirtualClusterStats {
    fn new(host: &str, name: &str, shard: &Arc<Shard>) -> Self {
        let mut labels = String::new();
        label(&mut labels, "envoy_virtual_cluster", name);
        label(&mut labels, "envoy_virtual_host", host);
        let counter = |name: &str| shard.counter(&format!("envoy_vhost_vcluster_upstream_rq_{name}"), &labels);
        Self {
            completed: counter("completed"),
            total: counter("total"),
            retry: counter("retry"),
            retry_limit_exceeded: counter("retry_limit_exceeded"),
            timeout: counter("timeout"),
            codes: RefCell::default(),
            shard: Arc::clone(shard),
            labels,
        }
    }

    /// A request was answered after so many attempts.
    pub fn count(&self, status: u16, attempts: u32, flags: ResponseFlags) {
        self.completed.add(1);
        self.total.add(u64::from(attempts));
        self.retry.add(u64::from(attempts.saturating_sub(1)));
        if flags.contains(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED) {
            self.retry_limit_exceeded.add(1);
        }
        if flags.contains(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT) {
            self.timeout.add(1);
        }
        let mut codes = self.codes.borrow_mut();
        let place = codes.iter().position(|(known, _)| *known == status).unwrap_or_else(|| {
            codes.push((status, self.counters(status)));
            codes.len() - 1
        });
        codes[place].1.iter().for_each(|counter| counter.add(1));
    }

    fn counters(&self, status: u16) -> [Arc<Counter>; 2] {
        let with = |metric: &str, name: &str, value: u16| {
            let mut labels = String::new();
            label(&mut labels, name, &value.to_string());
            labels.push(',');
            labels.push_str(&self.labels);
            self.shard.counter(metric, &labels)
        };
        [
            with("envoy_vhost_vcluster_upstream_rq_xx", "envoy_response_code_class", status / 100),
            with("envoy_vhost_vcluster_upstream_rq", "envoy_response_code", status),
        ]
    }
}
