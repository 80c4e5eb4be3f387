//! Upstream: clusters as a worker runs them, their hosts, and the connections kept to those.

mod cluster;
mod clusters;
mod connect;
mod dns;
mod host;
mod limits;
mod outlier;
mod pick;
mod tls;

<<<<<<< HEAD
pub use cluster::Cluster;
pub use clusters::Clusters;
pub use connect::ConnectError;
=======
pub use cluster::{Cluster, Clusters, Permit};
pub use connect::{ConnectError, connect};
pub use dns::resolve;
>>>>>>> c6e1eaa (Take listeners, clusters and secrets from a server or from files)
pub use host::{Host, InFlight, UpstreamError};
pub use limits::Permit;
pub use outlier::Verdict;
<<<<<<< HEAD
pub use pick::Wanted;
=======
pub use tls::ClientTls;
>>>>>>> c6e1eaa (Take listeners, clusters and secrets from a server or from files)
