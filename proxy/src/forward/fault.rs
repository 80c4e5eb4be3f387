//! Fault injection (Envoy `envoy.filters.http.fault`): a delay, an answer in place of the upstream's, or both.

use std::sync::Arc;

use super::finish::Exchange;
use super::local::Reply;
use crate::access_log::ResponseFlags;
use crate::config::{Abort, Fault};
use crate::worker::Worker;

/// Holds the request up if it is to be delayed; the reply if it is to be aborted.
pub async fn inject(fault: Option<&Arc<Fault>>, worker: &Worker, exchange: &mut Exchange) -> Option<Reply> {
    let fault = fault?;
    if let Some((delay, share)) = fault.delay
        && share.hits(worker.random())
    {
        exchange.info.flags |= ResponseFlags::DELAY_INJECTED;
        tokio::time::sleep(delay).await;
    }
    let (abort, share) = fault.abort?;
    share.hits(worker.random()).then(|| {
        let mut reply =
            Reply::new(200, "fault filter abort").flagged(ResponseFlags::FAULT_INJECTED, "fault_filter_abort");
        match abort {
            Abort::Http(status) => reply.status = status,
            Abort::Grpc(status) => reply.grpc_status = Some(status),
        }
        reply
    })
}
