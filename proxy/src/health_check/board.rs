//! Where the checker writes down what it found, and the workers read it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::EndpointAddress;
use crate::load_balancer::Health;

/// By the cluster's name.
#[derive(Debug, Default)]
pub struct Board(Mutex<HashMap<String, Arc<ClusterHealth>>>);

/// What is known of the hosts of a cluster.
#[derive(Debug, Default)]
pub struct ClusterHealth {
    /// Counts changes: a worker that has seen this one has nothing new to read.
    version: AtomicU32,
    used: AtomicBool,
    hosts: Mutex<HashMap<EndpointAddress, Finding>>,
}

/// What was found of a host.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    pub health: Health,
    /// Since when it has been healthy.
    pub since: Option<Instant>,
    /// When it last passed.
    pub passed: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub fn cluster(&self, name: &str) -> Arc<ClusterHealth> {
        Arc::clone(lock(&self.0).entry(name.to_owned()).or_default())
    }

    pub fn forget(&self, name: &str) {
        lock(&self.0).remove(name);
    }
}

impl ClusterHealth {
    pub fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// What is known of a host; `None` until it was checked.
    pub fn of(&self, address: &EndpointAddress) -> Option<Finding> {
        lock(&self.hosts).get(address).copied()
    }

    /// Notes that requests go to the cluster.
    pub fn set_used(&self) {
        if !self.is_used() {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub fn write(&self, address: &EndpointAddress, health: Health, now: Instant) {
        let well = health != Health::Unhealthy;
        let mut hosts = lock(&self.hosts);
        let before = hosts.get(address).copied();
        let since = before.and_then(|before| before.since).or(Some(now)).filter(|_| well);
        let passed = if well { Some(now) } else { before.and_then(|before| before.passed) };
        hosts.insert(address.clone(), Finding { health, since, passed });
        if before.is_none_or(|before| before.health != health) {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// How many hosts are healthy, and how many degraded.
    pub fn count(&self) -> [u64; 2] {
        let hosts = lock(&self.hosts);
        [Health::Healthy, Health::Degraded]
            .map(|health| hosts.values().filter(|finding| finding.health == health).count() as u64)
    }

    pub fn forget(&self, address: &EndpointAddress) {
        lock(&self.hosts).remove(address);
    }
}
