//! Fault injection (Envoy `envoy.filters.http.fault`): a delay, an answer in place of the upstream's, or both.

use std::sync::Arc;
use std::time::Duration;

use super::{HttpFilter, Settings, Stream};
use crate::access_log::ResponseFlags;
use crate::config::Fraction;
use crate::forward::Reply;

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub delay: Option<(Duration, Fraction)>,
    pub abort: Option<(Abort, Fraction)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    Http(u16),
    Grpc(u32),
}

/// Holds the request up if it is to be delayed; the reply if it is to be aborted.
pub async fn request(own: &Arc<Fault>, filter: &HttpFilter, stream: &mut Stream<'_>) -> Result<(), Box<Reply>> {
    let fault = match stream.settings(filter) {
        Some(Settings::Fault(fault)) => fault,
        _ => own,
    };
    if let Some((delay, share)) = fault.delay
        && share.hits(stream.worker().random())
    {
        stream.info().flags |= ResponseFlags::DELAY_INJECTED;
        Box::pin(tokio::time::sleep(delay)).await;
    }
    let Some((abort, share)) = fault.abort else { return Ok(()) };
    if !share.hits(stream.worker().random()) {
        return Ok(());
    }
    let mut reply = Reply::new(200, "fault filter abort").flagged(ResponseFlags::FAULT_INJECTED, "fault_filter_abort");
    match abort {
        Abort::Http(status) => reply.status = status,
        Abort::Grpc(status) => reply.grpc_status = Some(status),
    }
    Err(Box::new(reply))
}
