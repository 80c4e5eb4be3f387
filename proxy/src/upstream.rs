//! Upstream: clusters as a worker runs them, their hosts, and the connections kept to those.

mod cluster;
mod connect;
mod dns;
mod host;
mod outlier;
mod tls;

pub use cluster::{Cluster, Clusters, Permit};
pub use connect::ConnectError;
pub use host::{Host, InFlight, UpstreamError};
pub use outlier::Verdict;
