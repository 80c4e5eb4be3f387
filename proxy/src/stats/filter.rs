//! What filters count, under names that their settings decide on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exposition::Exposition;
use super::value::{Counter, Gauge};

/// By metric and labels.
type Named<T> = Mutex<HashMap<(String, String), Arc<T>>>;

#[derive(Debug, Default)]
pub struct Table {
    counters: Named<Counter>,
    gauges: Named<Gauge>,
}

fn lock<T>(named: &Named<T>) -> MutexGuard<'_, HashMap<(String, String), Arc<T>>> {
    named.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entry<T: Default>(named: &Named<T>, metric: &str, labels: &str) -> Arc<T> {
    Arc::clone(lock(named).entry((metric.to_owned(), labels.to_owned())).or_default())
}

impl Table {
    pub fn counter(&self, metric: &str, labels: &str) -> Arc<Counter> {
        entry(&self.counters, metric, labels)
    }

    pub fn gauge(&self, metric: &str, labels: &str) -> Arc<Gauge> {
        entry(&self.gauges, metric, labels)
    }

    pub fn write(&self, out: &mut Exposition) {
        for ((metric, labels), counter) in lock(&self.counters).iter() {
            out.counter(metric.clone(), labels, counter.get());
        }
        for ((metric, labels), gauge) in lock(&self.gauges).iter() {
            out.gauge(metric.clone(), labels, gauge.get());
        }
    }
}
