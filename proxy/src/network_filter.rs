//! Network filters that stand before the one that ends a chain: they let a connection through, hold it up or turn it
//! away. Each is a file here, listed in one closed enum.

mod connection_limit;
mod ext_authz;
mod local_rate_limit;
mod rbac;

pub use connection_limit::{ConnectionLimit, Held};
pub use ext_authz::NetworkExtAuthz;
pub use local_rate_limit::LocalRateLimit;
pub use rbac::NetworkRbac;

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;

use crate::access_log::RequestInfo;
use crate::downstream::Downstream;
use crate::drain::Drain;
use crate::filter::DynamicMetadata;
use crate::io::Io;

/// The filters there are.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionFilter {
    /// `envoy.filters.network.connection_limit`
    ConnectionLimit(Arc<ConnectionLimit>),
    /// `envoy.filters.network.ext_authz`
    ExtAuthz(Arc<NetworkExtAuthz>),
    /// `envoy.filters.network.local_ratelimit`
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `envoy.filters.network.rbac`
    Rbac(Arc<NetworkRbac>),
}

/// What became of a connection.
pub enum Verdict {
    /// It goes on, with what filters left for logs; its places are kept for as long as it lasts.
    Goes(Vec<Held>, Option<Box<DynamicMetadata>>),
    /// It is closed, for the reason that stands there.
    Closed(Box<RequestInfo>),
}

/// Asks the filters of a chain, in Envoy's order: first those that judge a new connection, then those that judge what
/// comes on it. Nobody waits for an answer about a connection whose chain, or whose worker, is `leaving`.
pub async fn admit(
    filters: &[ConnectionFilter],
    downstream: &Downstream,
    io: &mut Io,
    read: &mut BytesMut,
    leaving: &Drain,
) -> io::Result<Verdict> {
    let mut held = Vec::new();
    let shard = &downstream.worker.shard;
    let mut info = Box::new(RequestInfo::new(Arc::clone(&downstream.info), 0));
    for filter in filters {
        match filter {
            ConnectionFilter::ConnectionLimit(limit) => match limit.admit(shard).await {
                Some(place) => held.push(place),
                None => {
                    info.connection_termination_details = Some("connection_limit".into());
                    return Ok(Verdict::Closed(info));
                }
            },
            ConnectionFilter::LocalRateLimit(limit) if !limit.admit(shard) => {
                info.connection_termination_details = Some("local_ratelimit_close".into());
                return Ok(Verdict::Closed(info));
            }
            ConnectionFilter::LocalRateLimit(_) | ConnectionFilter::ExtAuthz(_) | ConnectionFilter::Rbac(_) => {}
        }
    }
    for filter in filters {
        match filter {
            ConnectionFilter::Rbac(rbac) => {
                let Some(denied) = rbac.judge(downstream, &mut info) else { continue };
                // Rules are enforced when the first byte comes; until then a client cannot tell.
                if read.is_empty() && io.read_buf(read).await? == 0 {
                    return Ok(Verdict::Closed(info));
                }
                rbac.deny(shard).await;
                info.connection_termination_details = Some(denied.into());
                return Ok(Verdict::Closed(info));
            }
            ConnectionFilter::ExtAuthz(asks) => {
                let answer = tokio::select! {
                    answer = asks.ask(downstream, &info) => answer,
                    // Who is gone needs no answer, however long it takes.
                    () = gone(io, read) => return Ok(Verdict::Closed(info)),
                    () = leaving.draining() => {
                        info.connection_termination_details = Some("draining".into());
                        return Ok(Verdict::Closed(info));
                    }
                };
                if !asks.goes_on(answer, downstream, &mut info) {
                    return Ok(Verdict::Closed(info));
                }
            }
            ConnectionFilter::ConnectionLimit(_) | ConnectionFilter::LocalRateLimit(_) => {}
        }
    }
    Ok(Verdict::Goes(held, info.metadata))
}

/// What a client says while it waits is kept for whoever serves it, up to this.
const KEPT: usize = 16 << 10;

/// Returns once a client has gone: its connection is broken, or it ended it and never said anything. One that has said
/// what it wants may end its side and wait for the answer.
async fn gone(io: &mut Io, read: &mut BytesMut) {
    while read.len() < KEPT {
        match io.read_buf(read).await {
            Ok(0) if read.is_empty() => return,
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return,
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
