//! Active health checks.

use std::ops::Range;
use std::time::Duration;

/// `envoy.config.core.v3.HealthCheck`.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub probe: Probe,
    /// For one check.
    pub timeout: Duration,
    /// A random part of this goes before the first check.
    pub initial_jitter: Duration,
    pub intervals: Intervals,
    /// Checks that a host must fail, or pass, to change sides.
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
    pub reuse_connection: bool,
    /// Checked instead of the endpoint's own port.
    pub alt_port: Option<u16>,
}

/// How long to wait between checks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intervals {
    pub healthy: Duration,
    pub unhealthy: Duration,
    /// While a host is about to change sides, and once it has.
    pub healthy_edge: Duration,
    pub unhealthy_edge: Duration,
    /// While nothing has been sent to the cluster.
    pub no_traffic: Duration,
    pub no_traffic_healthy: Duration,
    /// A random part of these is added.
    pub jitter: Duration,
    pub jitter_percent: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    Http(HttpProbe),
    /// Sends this and waits for those, one after the other, with anything between them. Without any the connection
    /// alone is enough.
    Tcp {
        send: Vec<u8>,
        receive: Vec<Vec<u8>>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        service: String,
        authority: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Empty: that of the endpoint, else the cluster's name.
    pub host: String,
    pub path: String,
    pub method: String,
    pub http2: bool,
    pub headers: Vec<(String, String)>,
    pub headers_to_remove: Vec<String>,
    /// Statuses that pass.
    pub expected: Vec<Range<u16>>,
    /// Statuses that count towards the threshold; any other fails the host at once.
    pub retriable: Vec<Range<u16>>,
}

/// `Endpoint.HealthCheckConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckTarget {
    pub port: Option<u16>,
    /// Empty: that of the probe.
    pub hostname: String,
    pub disabled: bool,
}
