//! Cells that one thread writes and another reads.

use api::latency;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts up. Only its worker adds, so an add is a load and a store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of Envoy's default histogram buckets.
pub const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Counts observations by bucket. Values are whole milliseconds or bytes, as the metric's name says.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last is everything above the last bound.
    buckets: [Counter; BUCKETS.len() + 1],
    sum: Counter,
}

impl Histogram {
    pub fn observe(&self, value: u64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < value as f64);
        self.buckets[bucket].add(1);
        self.sum.add(value);
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// Counts per bucket (not cumulative) and the sum.
    pub fn read(&self) -> ([u64; BUCKETS.len() + 1], u64) {
        (std::array::from_fn(|index| self.buckets[index].get()), self.sum.get())
    }
}

/// Counts durations by the buckets of `api::latency`.
#[derive(Debug)]
pub struct Sketch([Counter; latency::BUCKETS]);

impl Default for Sketch {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Sketch {
    pub fn observe(&self, microseconds: u64) {
        self.0[latency::bucket(microseconds)].add(1);
    }

    /// Adds the counts to those of the same buckets.
    pub fn add_to(&self, sums: &mut [u64; latency::BUCKETS]) {
        for (sum, counter) in sums.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(counter.get());
        }
    }
}
