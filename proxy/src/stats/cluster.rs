//! Envoy's metrics of clusters (Envoy, cluster manager statistics).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use super::exposition::{Exposition, label};
use super::health::{CheckStats, OutlierStats};
use super::value::{Counter, Gauge, Histogram};

/// `envoy_cluster_*`.
#[derive(Debug, Default)]
pub struct ClusterStats {
    pub rq_total: Counter,
    pub rq_active: Gauge,
    pub rq_retry: Counter,
    pub rq_retry_overflow: Counter,
    pub rq_retry_limit_exceeded: Counter,
    pub rq_retry_success: Counter,
    pub rq_timeout: Counter,
    pub rq_per_try_timeout: Counter,
    pub rq_rx_reset: Counter,
    pub rq_pending_overflow: Counter,
    pub rq_pending_total: Counter,
    pub rq_pending_active: Gauge,
    /// Whether requests are turned away because there are as many as may be.
    pub rq_open: Gauge,
    pub cx_total: Counter,
    pub cx_active: Gauge,
    pub cx_destroy: Counter,
    pub cx_http1_total: Counter,
    pub cx_http2_total: Counter,
    pub cx_connect_fail: Counter,
    pub cx_connect_timeout: Counter,
    /// Requests that found as many connections as there may be.
    pub cx_overflow: Counter,
    pub none_healthy: Counter,
    /// The same in every worker.
    pub membership_total: Gauge,
    pub membership_healthy: Gauge,
    pub membership_change: Counter,
    /// Where outlier detection is configured, and where hosts are checked.
    pub outliers: OnceLock<Box<OutlierStats>>,
    pub checks: OnceLock<Box<CheckStats>>,
    /// Made when the first request is answered: most clusters of a large mesh carry none.
    answers: OnceLock<Box<Answers>>,
}

/// How requests ended.
#[derive(Debug, Default)]
struct Answers {
    completed: Counter,
    /// By class: index 0 is 1xx.
    classes: [Counter; 5],
    /// By status, in the order in which they were first seen. Those that find no place count by class alone.
    codes: [(AtomicU16, Counter); 16],
    time: Histogram,
}

impl ClusterStats {
    /// Counts the status that a request ended with, upstream's or one made here in its place.
    pub fn answered(&self, status: u16) {
        let answers = self.answers.get_or_init(Box::default);
        answers.completed.add(1);
        answers.classes[usize::from(status / 100).clamp(1, 5) - 1].add(1);
        for (code, count) in &answers.codes {
            let known = code.load(Relaxed);
            if known == 0 {
                code.store(status, Relaxed);
            }
            if known == 0 || known == status {
                return count.add(1);
            }
        }
    }

    /// Counts how long an answer took, in milliseconds.
    pub fn took(&self, milliseconds: u64) {
        self.answers.get_or_init(Box::default).time.observe(milliseconds);
    }
}

pub fn write(name: &str, stats: &ClusterStats, out: &mut Exposition) {
    let mut labels = String::new();
    label(&mut labels, "envoy_cluster_name", name);
    for (metric, counter) in [
        ("envoy_cluster_upstream_rq_total", &stats.rq_total),
        ("envoy_cluster_upstream_rq_retry", &stats.rq_retry),
        ("envoy_cluster_upstream_rq_retry_overflow", &stats.rq_retry_overflow),
        ("envoy_cluster_upstream_rq_retry_limit_exceeded", &stats.rq_retry_limit_exceeded),
        ("envoy_cluster_upstream_rq_retry_success", &stats.rq_retry_success),
        ("envoy_cluster_upstream_rq_timeout", &stats.rq_timeout),
        ("envoy_cluster_upstream_rq_per_try_timeout", &stats.rq_per_try_timeout),
        ("envoy_cluster_upstream_rq_rx_reset", &stats.rq_rx_reset),
        ("envoy_cluster_upstream_rq_pending_overflow", &stats.rq_pending_overflow),
        ("envoy_cluster_upstream_rq_pending_total", &stats.rq_pending_total),
        ("envoy_cluster_upstream_cx_total", &stats.cx_total),
        ("envoy_cluster_upstream_cx_destroy", &stats.cx_destroy),
        ("envoy_cluster_upstream_cx_http1_total", &stats.cx_http1_total),
        ("envoy_cluster_upstream_cx_http2_total", &stats.cx_http2_total),
        ("envoy_cluster_upstream_cx_connect_fail", &stats.cx_connect_fail),
        ("envoy_cluster_upstream_cx_connect_timeout", &stats.cx_connect_timeout),
        ("envoy_cluster_upstream_cx_none_healthy", &stats.none_healthy),
        ("envoy_cluster_upstream_cx_overflow", &stats.cx_overflow),
    ] {
        out.counter(metric, &labels, counter.get());
    }
    out.gauge("envoy_cluster_upstream_rq_active", &labels, stats.rq_active.get());
    out.gauge("envoy_cluster_upstream_rq_pending_active", &labels, stats.rq_pending_active.get());
    out.gauge("envoy_cluster_upstream_cx_active", &labels, stats.cx_active.get());
    out.level("envoy_cluster_circuit_breakers_default_rq_open", &labels, stats.rq_open.get());
    out.level("envoy_cluster_membership_total", &labels, stats.membership_total.get());
    out.level("envoy_cluster_membership_healthy", &labels, stats.membership_healthy.get());
    out.level_counter("envoy_cluster_membership_change", &labels, stats.membership_change.get());
    if let Some(outliers) = stats.outliers.get() {
        outliers.write(&labels, out);
    }
    if let Some(checks) = stats.checks.get() {
        checks.write(&labels, out);
    }
    if let Some(answers) = stats.answers.get() {
        write_answers(answers, &labels, out);
    }
}

fn write_answers(answers: &Answers, labels: &str, out: &mut Exposition) {
    out.counter("envoy_cluster_upstream_rq_completed", labels, answers.completed.get());
    for (index, class) in answers.classes.iter().enumerate() {
        let mut labels = labels.to_owned();
        label(&mut labels, "envoy_response_code_class", &(index + 1).to_string());
        out.counter("envoy_cluster_upstream_rq_xx", &labels, class.get());
    }
    for (code, count) in answers.codes.iter().filter(|(code, _)| code.load(Relaxed) != 0) {
        let mut labels = labels.to_owned();
        label(&mut labels, "envoy_response_code", &code.load(Relaxed).to_string());
        out.counter("envoy_cluster_upstream_rq", &labels, count.get());
    }
    out.histogram("envoy_cluster_upstream_rq_time", labels, answers.time.read());
}
