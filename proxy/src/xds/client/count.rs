//! Counts updates as Envoy does for each subscription: `cluster_manager.cds.*`, `listener_manager.lds.*`, and by name
//! `cluster.<name>.*` for endpoints, `http.<stat_prefix>.rds.<name>.*` and `sds.<name>.*`.

use xxhash_rust::xxh64::xxh64;

use super::Client;
use crate::config::ResourceKind as Kind;
use crate::stats::label;

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Success,
    Rejected,
    /// The source is out of reach.
    Failure,
}

impl Client {
    /// Counts an update of a resource; of clusters and listeners all come as one, which has no name.
    pub(super) fn count(&self, kind: Kind, name: &str, ended: Ended, version: &str) {
        let outcome = match ended {
            Ended::Success => "update_success",
            Ended::Rejected => "update_rejected",
            Ended::Failure => "update_failure",
        };
        let stats = &self.options.stats;
        for (prefix, labels) in self.places(kind, name) {
            stats.counter(&format!("{prefix}_update_attempt"), &labels).add(1);
            stats.counter(&format!("{prefix}_{outcome}"), &labels).add(1);
            if ended == Ended::Success {
                stats.gauge(&format!("{prefix}_version"), &labels).set(xxh64(version.as_bytes(), 0));
            }
        }
    }

    /// Counts the stream to the server as a connection of its cluster. Istio's dashboards select it by `cluster_name`.
    pub(super) fn count_stream(&self, stands: bool) {
        let (Some(cluster), stats) = (self.options.counted_as, &self.options.stats) else { return };
        let mut labels = String::new();
        ["envoy_cluster_name", "cluster_name"].iter().for_each(|name| label(&mut labels, name, cluster));
        let active = stats.gauge("envoy_cluster_upstream_cx_active", &labels);
        match (active.get(), stands) {
            (0, true) => stats.counter("envoy_cluster_upstream_cx_total", &labels).add(1),
            (1, false) => stats.counter("envoy_cluster_upstream_cx_destroy", &labels).add(1),
            _ => return,
        }
        active.set(stands.into());
    }

    /// What the metrics of a subscription begin with, and their labels.
    fn places(&self, kind: Kind, name: &str) -> Vec<(&'static str, String)> {
        let labelled = |labels: &[(&str, &str)]| {
            let mut all = String::new();
            labels.iter().for_each(|(name, value)| label(&mut all, name, value));
            all
        };
        let owners = || self.resources.owners(kind, name);
        match kind {
            Kind::Cluster => vec![("envoy_cluster_manager_cds", String::new())],
            Kind::Listener => vec![("envoy_listener_manager_lds", String::new())],
            Kind::Secret => vec![("envoy_sds", labelled(&[("envoy_sds_secret", name)]))],
            Kind::Endpoint => {
                let one = |cluster: String| ("envoy_cluster", labelled(&[("envoy_cluster_name", &cluster)]));
                owners().into_iter().map(one).collect()
            }
            Kind::Route => {
                let labels = |prefix: &str| {
                    labelled(&[("envoy_http_conn_manager_prefix", prefix), ("envoy_rds_route_config", name)])
                };
                owners().iter().map(|prefix| ("envoy_http_rds", labels(prefix))).collect()
            }
            _ => Vec::new(),
        }
    }
}
