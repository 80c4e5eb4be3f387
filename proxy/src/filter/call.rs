//! Requests of a filter's own: to an authorization service, a rate limit service, a server of keys.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::http::body::{Body, BodyError, Frame};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead, Version};
use crate::upstream::{UpstreamError, Verdict, Wanted};
use crate::worker::Worker;

/// More than this is no answer to a filter.
const LARGEST: usize = 1024 * 1024;

/// What the service said.
#[derive(Debug)]
pub struct Answer {
    pub head: ResponseHead,
    pub body: Bytes,
    /// Where there are any (gRPC's status).
    pub trailers: Option<Headers>,
}

/// Why a service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("there is no cluster {0}")]
    NoCluster(String),
    #[error("no host of the cluster is healthy")]
    NoHealthyHost,
    #[error("the cluster has as many requests as it may")]
    Overflow,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the answer broke off: {0}")]
    Body(#[from] BodyError),
    #[error("the answer has more than {LARGEST} bytes")]
    TooLarge,
}

/// Sends a request to a cluster and reads the whole answer. A timeout of zero is none.
pub async fn call(
    worker: &Rc<Worker>,
    cluster: &str,
    head: &RequestHead,
    body: Bytes,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let answer = exchange(worker, cluster, head, body);
    if timeout.is_zero() {
        return answer.await;
    }
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(CallError::Timeout(timeout)))
}

async fn exchange(worker: &Rc<Worker>, name: &str, head: &RequestHead, body: Bytes) -> Result<Answer, CallError> {
    let cluster = worker.clusters.get(name, &worker.snapshot());
    let cluster = cluster.ok_or_else(|| CallError::NoCluster(name.to_owned()))?;
    cluster.ready().await;
    let _permit = cluster.admit(false).await.map_err(|_| CallError::Overflow)?;
    let host =
        cluster.pick(Wanted::default(), || worker.random(), 1, |_| false).map_err(|_| CallError::NoHealthyHost)?;
    let _in_flight = cluster.begin(&host);
    let version = if head.is_grpc() { Version::Http2 } else { Version::Http11 };
    let response = host.send(&cluster.config, head, Body::Full(body), version).await.inspect_err(|error| {
        if matches!(error, UpstreamError::Connect(_)) {
            cluster.stats.cx_connect_fail.add(1);
        }
        cluster.report(&host, Verdict::LocalOrigin);
    })?;
    let head = response.head;
    cluster.report(&host, Verdict::of_status(head.status));
    cluster.stats.answered(head.status);
    let (body, trailers) = whole(response.body).await?;
    Ok(Answer { head, body, trailers })
}

async fn whole(mut body: Body) -> Result<(Bytes, Option<Headers>), CallError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame? {
            Frame::Data(data) if all.len() + data.len() > LARGEST => return Err(CallError::TooLarge),
            Frame::Data(data) => all.extend_from_slice(&data),
            Frame::Trailers(trailers) => return Ok((all.freeze(), Some(*trailers))),
        }
    }
    Ok((all.freeze(), None))
}
