//! What is counted where a cluster judges its hosts (Envoy, cluster statistics: outlier detection and health checks).
//! A cluster that does not has none of it.

use super::exposition::Exposition;
use super::value::{Counter, Gauge};
use crate::upstream::Cause;

/// `cluster.<name>.outlier_detection.*`.
#[derive(Debug, Default)]
pub struct OutlierStats {
    pub active: Gauge,
    /// Ejections that the limit of their number stood in the way of.
    pub overflow: Counter,
    pub enforced_total: Counter,
    /// By [`Cause`].
    pub detected: [Counter; Cause::ALL.len()],
    pub enforced: [Counter; Cause::ALL.len()],
}

/// `cluster.<name>.health_check.*`.
#[derive(Debug, Default)]
pub struct CheckStats {
    pub attempt: Counter,
    pub success: Counter,
    pub failure: Counter,
    /// Failures without an answer.
    pub network_failure: Counter,
    pub healthy: Gauge,
    pub degraded: Gauge,
}

impl OutlierStats {
    pub fn write(&self, labels: &str, out: &mut Exposition) {
        const PREFIX: &str = "envoy_cluster_outlier_detection_ejections";
        // Every worker ejects for itself.
        out.level(format!("{PREFIX}_active"), labels, self.active.get());
        out.counter(format!("{PREFIX}_overflow"), labels, self.overflow.get());
        out.counter(format!("{PREFIX}_enforced_total"), labels, self.enforced_total.get());
        for (cause, (detected, enforced)) in Cause::ALL.iter().zip(self.detected.iter().zip(&self.enforced)) {
            out.counter(format!("{PREFIX}_detected_{}", cause.as_str()), labels, detected.get());
            out.counter(format!("{PREFIX}_enforced_{}", cause.as_str()), labels, enforced.get());
        }
    }
}

impl CheckStats {
    pub fn write(&self, labels: &str, out: &mut Exposition) {
        for (name, counter) in [
            ("envoy_cluster_health_check_attempt", &self.attempt),
            ("envoy_cluster_health_check_success", &self.success),
            ("envoy_cluster_health_check_failure", &self.failure),
            ("envoy_cluster_health_check_network_failure", &self.network_failure),
        ] {
            out.counter(name, labels, counter.get());
        }
        out.gauge("envoy_cluster_health_check_healthy", labels, self.healthy.get());
        out.gauge("envoy_cluster_health_check_degraded", labels, self.degraded.get());
    }
}
