//! Network filters that stand before the one that ends a chain: they let a connection through, hold it up or turn it
//! away. Each is a file here, listed in one closed enum.

mod connection_limit;
mod local_rate_limit;
mod rbac;

pub use connection_limit::{ConnectionLimit, Held};
pub use local_rate_limit::LocalRateLimit;
pub use rbac::NetworkRbac;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;

use crate::downstream::Downstream;
use crate::io::Io;

/// The filters there are.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionFilter {
    /// `envoy.filters.network.connection_limit`
    ConnectionLimit(Arc<ConnectionLimit>),
    /// `envoy.filters.network.local_ratelimit`
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `envoy.filters.network.rbac`
    Rbac(Arc<NetworkRbac>),
}

/// What became of a connection.
pub enum Verdict {
    /// It goes on; its places are kept for as long as it lasts.
    Goes(Vec<Held>),
    /// It is closed, for this reason.
    Closed(Cow<'static, str>),
}

/// Asks the filters of a chain, in Envoy's order: first those that judge a new connection, then those that judge what
/// comes on it.
pub async fn admit(
    filters: &[ConnectionFilter],
    downstream: &Downstream,
    io: &mut Io,
    read: &mut BytesMut,
) -> io::Result<Verdict> {
    let mut held = Vec::new();
    let shard = &downstream.worker.shard;
    for filter in filters {
        match filter {
            ConnectionFilter::ConnectionLimit(limit) => match limit.admit(shard).await {
                Some(place) => held.push(place),
                None => return Ok(Verdict::Closed("connection_limit".into())),
            },
            ConnectionFilter::LocalRateLimit(limit) if !limit.admit(shard) => {
                return Ok(Verdict::Closed("local_ratelimit_close".into()));
            }
            ConnectionFilter::LocalRateLimit(_) | ConnectionFilter::Rbac(_) => {}
        }
    }
    for filter in filters {
        let ConnectionFilter::Rbac(rbac) = filter else { continue };
        if let Some(denied) = rbac.judge(downstream) {
            // Rules are enforced when the first byte comes; until then a client cannot tell.
            if read.is_empty() && io.read_buf(read).await? == 0 {
                return Ok(Verdict::Closed(Cow::Borrowed("")));
            }
            rbac.deny(shard).await;
            return Ok(Verdict::Closed(denied.into()));
        }
    }
    Ok(Verdict::Goes(held))
}

#[cfg(test)]
mod tests;
