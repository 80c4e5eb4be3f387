//! Envoy's metrics of HTTP connection managers, by `stat_prefix` (Envoy, HTTP connection manager statistics).

use super::exposition::{Exposition, label};
use super::value::{Counter, Gauge, Histogram};
use crate::http::message::Version;

/// `envoy_http_*`.
#[derive(Debug, Default)]
pub struct HttpStats {
    pub cx_total: Counter,
    pub cx_active: Gauge,
    pub cx_destroy: Counter,
    pub cx_http1_total: Counter,
    pub cx_http2_total: Counter,
    pub cx_protocol_error: Counter,
    pub rq_total: Counter,
    pub rq_active: Gauge,
    pub rq_http1_total: Counter,
    pub rq_http2_total: Counter,
    pub rq_completed: Counter,
    /// By class: index 0 is 1xx.
    pub rq_xx: [Counter; 5],
    /// Requests whose client left before it had the whole answer.
    pub rq_rx_reset: Counter,
    pub rq_idle_timeout: Counter,
    pub rq_time: Histogram,
    pub no_route: Counter,
    pub no_cluster: Counter,
    pub rq_direct_response: Counter,
    pub rq_redirect: Counter,
}

impl HttpStats {
    pub fn began(&self, version: Version) {
        self.rq_total.add(1);
        self.rq_active.up();
        let of_version = if version == Version::Http2 { &self.rq_http2_total } else { &self.rq_http1_total };
        of_version.add(1);
    }

    /// A request is over; `None` has no answer.
    pub fn ended(&self, status: Option<u16>, milliseconds: u64) {
        self.rq_active.down();
        self.rq_time.observe(milliseconds);
        if let Some(status) = status {
            self.rq_completed.add(1);
            self.rq_xx[usize::from(status / 100).clamp(1, 5) - 1].add(1);
        }
    }
}

pub fn write(prefix: &str, stats: &HttpStats, out: &mut Exposition) {
    let mut labels = String::new();
    label(&mut labels, "envoy_http_conn_manager_prefix", prefix);
    for (metric, counter) in [
        ("envoy_http_downstream_cx_total", &stats.cx_total),
        ("envoy_http_downstream_cx_destroy", &stats.cx_destroy),
        ("envoy_http_downstream_cx_http1_total", &stats.cx_http1_total),
        ("envoy_http_downstream_cx_http2_total", &stats.cx_http2_total),
        ("envoy_http_downstream_cx_protocol_error", &stats.cx_protocol_error),
        ("envoy_http_downstream_rq_total", &stats.rq_total),
        ("envoy_http_downstream_rq_http1_total", &stats.rq_http1_total),
        ("envoy_http_downstream_rq_http2_total", &stats.rq_http2_total),
        ("envoy_http_downstream_rq_completed", &stats.rq_completed),
        ("envoy_http_downstream_rq_rx_reset", &stats.rq_rx_reset),
        ("envoy_http_downstream_rq_idle_timeout", &stats.rq_idle_timeout),
        ("envoy_http_no_route", &stats.no_route),
        ("envoy_http_no_cluster", &stats.no_cluster),
        ("envoy_http_rq_direct_response", &stats.rq_direct_response),
        ("envoy_http_rq_redirect", &stats.rq_redirect),
        ("envoy_http_rq_total", &stats.rq_total),
    ] {
        out.counter(metric, &labels, counter.get());
    }
    out.gauge("envoy_http_downstream_cx_active", &labels, stats.cx_active.get());
    out.gauge("envoy_http_downstream_rq_active", &labels, stats.rq_active.get());
    out.histogram("envoy_http_downstream_rq_time", &labels, stats.rq_time.read());
    for (index, class) in stats.rq_xx.iter().enumerate() {
        let mut labels = labels.clone();
        label(&mut labels, "envoy_response_code_class", &(index + 1).to_string());
        out.counter("envoy_http_downstream_rq_xx", &labels, class.get());
    }
}
