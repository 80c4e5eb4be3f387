//! Upstream: clusters as a worker runs them, their hosts, and the connections kept to those.

mod carried;
mod cluster;
mod clusters;
mod connect;
mod dns;
mod host;
mod judgement;
mod limits;
mod names;
mod original_dst;
mod outlier;
mod pick;
mod pool;
mod report;
mod tls;
mod tried;

pub use carried::Carried;
pub use cluster::{Cluster, client_tls};
pub use clusters::Clusters;
pub use connect::{ConnectError, Counted, Target, connect};
pub use dns::{Refused, resolve};
pub use host::{Host, InFlight, UpstreamError};
pub use limits::Permit;
pub use names::NotFound;
pub use outlier::{Cause, Verdict};
pub use pick::Wanted;
pub use report::ClusterReport;
pub use tls::ClientTls;
pub use tried::Tried;
