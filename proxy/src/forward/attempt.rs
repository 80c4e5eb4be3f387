//! Sends a request upstream, again if it failed in a way that the retry policy covers, and gives its answer.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::balance::Balance;
use super::finish::{Exchange, grpc_status};
use super::limits::Limits;
use super::local::{self, Reply};
use super::{Connection, mirror};
use crate::access_log::ResponseFlags;
use crate::alarm::Alarm;
use crate::config::Snapshot;
use crate::http::Response;
use crate::http::body::{Body, Replay};
use crate::http::message::{RequestHead, ResponseHead};
use crate::http::tunnel::Tunnel;
use crate::io::Prefixed;
use crate::route::{Found, Outcome, RetryPolicy, RouteAction};
use crate::stats::PEER_HEADER;
use crate::upstream::{Carried, Cluster, ConnectError, Host, Tried, UpstreamError, Verdict, Wanted};

/// What of a request's body is kept for a retry (Envoy `per_request_buffer_limit_bytes`: 1 MiB).
const REPLAY_LIMIT: usize = 1024 * 1024;

pub async fn forward(
    connection: &Connection,
    snapshot: &Arc<Snapshot>,
    found: &Found<'_>,
    action: &RouteAction,
    head: &mut RequestHead,
    body: Body,
    exchange: &mut Exchange,
) -> Response {
    let mut response = match send(connection, snapshot, found, action, head, body, exchange).await {
        Ok(response) => response,
        Err(reply) => exchange.reply(reply, head),
    };
    if found.virtual_host.include_attempt_count_in_response && exchange.info.attempts > 0 && !exchange.is_cut() {
        response.head.headers.set("x-envoy-attempt-count", exchange.info.attempts.to_string());
    }
    response
}

async fn send(
    connection: &Connection,
    snapshot: &Arc<Snapshot>,
    found: &Found<'_>,
    action: &RouteAction,
    head: &mut RequestHead,
    body: Body,
    exchange: &mut Exchange,
) -> Result<Response, Reply> {
    let worker = &connection.downstream.worker;
    let cluster = worker.clusters.get(found.cluster(&head.headers), snapshot);
    let Some(cluster) = cluster else {
        exchange.misses_cluster(found.cluster(&head.headers));
        return Err(local::no_cluster(action.cluster_not_found_code));
    };
    let balance = Balance::of(connection, &cluster, (action, found.weighted), head, &exchange.info);
    exchange.chose_cluster(&cluster);
    let switch = if head.method == "CONNECT" { Some("connect") } else { head.upgrade.as_deref() };
    if switch.is_some_and(|protocol| !action.allows_upgrade(protocol, &connection.manager.upgrades)) {
        return Err(Reply::new(403, "").flagged(ResponseFlags::NONE, "upgrade_failed"));
    }
    let retry = found.retry().map(|retry| &**retry);
    let limits = Limits::of(connection, action, retry, head, Instant::from_std(exchange.info.start));
    let mut alarm = Alarm::default();
    let received = exchange.received_watch();
    let admitted = async {
        cluster.ready().await;
        cluster
            .admit(action.high_priority)
            .await
            .map_err(|_| local::overflow(!connection.manager.suppress_envoy_headers))
    };
    exchange.admitted(limits.hold(&mut alarm, pin!(admitted), &received).await??);
    limits.tell(head);
    found.finalize_request(head, &exchange.info, !connection.manager.suppress_envoy_headers);
    exchange.inject_trace(head);
    if head.method == "CONNECT" {
        return Box::pin(tunnel(connection, &cluster, balance.wanted, exchange)).await;
    }
    let retry = retry.filter(|policy| policy.num_retries > 0 && policy.applies_to(head));
    let body = match body.is_end() || (retry.is_none() && action.mirrors.is_empty()) {
        true => Source::Once(Some(body)),
        false => Source::Again(Replay::new(body, REPLAY_LIMIT)),
    };
    let mut tries = Tries {
        connection,
        cluster: &cluster,
        balance,
        retry,
        limits: &limits,
        body,
        now: None,
        high: action.high_priority,
    };
    let answer = {
        let trying = pin!(tries.run(found, head, exchange));
        limits.hold(&mut alarm, trying, &received).await
    };
    let answer = answer.unwrap_or_else(|reply| {
        cluster.stats.rq_timeout.add(1);
        // A host that keeps a client waiting so long counts as one that failed.
        tries.blame();
        Err(reply)
    });
    let answer = answer.map(|mut response| {
        response.body = response.body.limited(limits.end(), limits.idle);
        response.idle = Some(limits.idle);
        response
    });
    mirror::send(connection, snapshot, action, head, &tries.body);
    answer
}

/// The body of a request, once or as often as it takes.
pub enum Source {
    Once(Option<Body>),
    Again(Replay),
}

impl Source {
    fn take(&mut self) -> Body {
        match self {
            Self::Once(body) => body.take().unwrap_or(Body::Empty),
            Self::Again(replay) => replay.reader(),
        }
    }

    pub fn can_restart(&self) -> bool {
        match self {
            // A body that is still there, or none at all, can be sent.
            Self::Once(body) => body.as_ref().is_none_or(Body::is_end),
            Self::Again(replay) => replay.can_restart(),
        }
    }
}

struct Tries<'a> {
    connection: &'a Connection,
    cluster: &'a Rc<Cluster>,
    balance: Balance<'a>,
    retry: Option<&'a RetryPolicy>,
    limits: &'a Limits,
    body: Source,
    /// The host that is being tried.
    now: Option<Rc<Host>>,
    high: bool,
}

/// How one try ended.
enum Try {
    Answer(Response),
    Failed(UpstreamError),
    TimedOut,
}

impl Tries<'_> {
    async fn run(
        &mut self,
        found: &Found<'_>,
        head: &mut RequestHead,
        exchange: &mut Exchange,
    ) -> Result<Response, Reply> {
        let worker = &self.connection.downstream.worker;
        let mut tried: Vec<Rc<Host>> = Vec::new();
        let priorities = self.retry.and_then(|retry| retry.leave_priorities_after).map(Tried::new);
        let mut _retrying = None;
        loop {
            let host = self.pick(&tried, priorities.as_ref())?;
            exchange.trying(self.cluster, &host);
            exchange.info.upstream_send = Some(exchange.info.start.elapsed());
            self.now = Some(Rc::clone(&host));
            self.connection.tell_peer(head, host.is_mutual_tls());
            if self.connection.manager.scheme_of_upstream {
                head.scheme = host.scheme();
            }
            if found.virtual_host.include_request_attempt_count {
                head.headers.set("x-envoy-attempt-count", exchange.info.attempts.to_string());
            }
            let tried_now = self.one(&host, head).await;
            let (outcome, verdict) = judge(&tried_now);
            self.cluster.report(&host, verdict);
            let counted =
                if self.may_retry(outcome, &tried_now, exchange) { self.cluster.begin_retry(self.high) } else { None };
            if counted.is_none() {
                return self.conclude(tried_now, head, exchange);
            }
            _retrying = counted;
            if let Some(retry) = self.retry {
                tokio::time::sleep(retry.back_off.delay(exchange.info.attempts, worker.random())).await;
            }
            self.limits.tell(head);
            if let Some(priorities) = &priorities {
                priorities.add(&host);
            }
            tried.push(host);
        }
    }

    fn blame(&self) {
        if let Some(host) = &self.now {
            self.cluster.report(host, Verdict::GatewayError);
        }
    }

    fn pick(&self, tried: &[Rc<Host>], priorities: Option<&Tried>) -> Result<Rc<Host>, Reply> {
        let worker = &self.connection.downstream.worker;
        let avoid = self.retry.filter(|retry| retry.avoid_previous_hosts && !tried.is_empty());
        let tries = avoid.map_or(1, |retry| retry.host_selection_attempts + 1);
        let was_tried = |host: &Rc<Host>| avoid.is_some() && tried.iter().any(|known| Rc::ptr_eq(known, host));
        let wanted = Wanted { tried: priorities, ..self.balance.wanted };
        self.cluster.pick(wanted, || worker.random(), tries, was_tried).map_err(|_| {
            self.cluster.stats.none_healthy.add(1);
            local::no_healthy_upstream()
        })
    }

    async fn one(&mut self, host: &Rc<Host>, head: &RequestHead) -> Try {
        let body = self.body.take();
        let from = Some(&*self.connection.downstream.info);
        let sent = host.send_from(from, &self.cluster.config, head, body, head.version);
        let sent = match self.limits.per_try {
            Duration::ZERO => sent.await,
            limit => match tokio::time::timeout(limit, sent).await {
                Ok(sent) => sent,
                Err(_) => return Try::TimedOut,
            },
        };
        match sent {
            Ok(response) => Try::Answer(response),
            Err(error) => Try::Failed(error),
        }
    }

    fn may_retry(&self, outcome: Outcome, tried: &Try, exchange: &mut Exchange) -> bool {
        let Some(retry) = self.retry else { return false };
        let (headers, status) = match tried {
            Try::Answer(response) => (Some(&response.head.headers), grpc_status(&response.head.headers)),
            _ => (None, None),
        };
        if !retry.should_retry(outcome, headers, status) || !self.body.can_restart() {
            return false;
        }
        let left = exchange.info.attempts <= retry.num_retries;
        if !left {
            self.cluster.stats.rq_retry_limit_exceeded.add(1);
            exchange.info.flags |= ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        }
        left
    }

    fn conclude(&self, tried: Try, head: &RequestHead, exchange: &mut Exchange) -> Result<Response, Reply> {
        match tried {
            Try::Answer(mut response) => {
                if exchange.info.attempts > 1 && response.head.status < 500 {
                    self.cluster.stats.rq_retry_success.add(1);
                }
                exchange.info.response_code_details = Some("via_upstream".into());
                let elapsed = exchange.info.start.elapsed();
                exchange.info.response_duration = Some(elapsed);
                exchange.info.upstream_protocol = Some(response.head.version);
                if let Some(via) = &response.via {
                    exchange.info.upstream_local_address = via.local_address;
                    exchange.info.upstream_connection_id = Some(via.id);
                }
                if head.upgrade.is_none() && !self.connection.manager.suppress_envoy_headers {
                    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                    response.head.headers.set_number("x-envoy-upstream-service-time", milliseconds);
                }
                response.head.headers.remove(PEER_HEADER);
                if let Some(cookie) = &self.balance.cookie {
                    response.head.headers.append("set-cookie", cookie);
                }
                Ok(response)
            }
            Try::TimedOut => {
                self.cluster.stats.rq_per_try_timeout.add(1);
                Err(local::timeout("upstream_per_try_timeout"))
            }
            Try::Failed(UpstreamError::RequestBody) => Err(exchange.cut_request()),
            Try::Failed(error) => {
                if matches!(error, UpstreamError::Reset(_) | UpstreamError::RefusedStream) {
                    self.cluster.stats.rq_rx_reset.add(1);
                }
                if let UpstreamError::Connect(cause) = &error {
                    self.cluster.stats.cx_connect_fail.add(1);
                    let reason = match cause {
                        ConnectError::Refused(cause) => refused(cause),
                        other => other.to_string(),
                    };
                    exchange.info.upstream_transport_failure_reason = Some(reason.into());
                }
                Err(failure(&error, exchange.info.attempts))
            }
        }
    }
}

/// What a try means for the retry policy and for the host's record.
fn judge(tried: &Try) -> (Outcome, Verdict) {
    match tried {
        Try::Answer(response) => (Outcome::Response(response.head.status), Verdict::of_status(response.head.status)),
        Try::TimedOut => (Outcome::PerTryTimeout, Verdict::GatewayError),
        Try::Failed(UpstreamError::Connect(_)) => (Outcome::ConnectFailure, Verdict::LocalOrigin),
        Try::Failed(UpstreamError::RefusedStream) => (Outcome::RefusedStream, Verdict::LocalOrigin),
        Try::Failed(UpstreamError::RequestBody | UpstreamError::Malformed) => (Outcome::Overflow, Verdict::Good),
        Try::Failed(_) => (Outcome::Reset { request_started: true }, Verdict::LocalOrigin),
    }
}

/// The answer to a client whose request failed upstream, in Envoy's words.
fn failure(error: &UpstreamError, attempts: u32) -> Reply {
    let again = if attempts > 1 { "retried and the latest reset reason" } else { "reset reason" };
    let told = |reason: &str| format!("upstream connect error or disconnect/reset before headers. {again}: {reason}");
    match error {
        UpstreamError::Connect(ConnectError::Timeout(_)) => Reply::new(503, told("connection timeout")).flagged(
            ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            "upstream_reset_before_response_started{connection_timeout}",
        ),
        UpstreamError::Connect(ConnectError::Refused(cause)) => {
            let details =
                format!("upstream_reset_before_response_started{{remote_connection_failure|{}}}", refused(cause));
            Reply::new(503, told("remote connection failure"))
                .flagged(ResponseFlags::UPSTREAM_CONNECTION_FAILURE, details)
        }
        UpstreamError::Connect(cause) => {
            Reply::new(503, told(&format!("remote connection failure, transport failure reason: {cause}"))).flagged(
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
                "upstream_reset_before_response_started{remote_connection_failure}",
            )
        }
        UpstreamError::StreamReset(_) => Reply::new(503, told("remote reset"))
            .flagged(ResponseFlags::UPSTREAM_REMOTE_RESET, "upstream_reset_before_response_started{remote_reset}"),
        UpstreamError::ResetBeforeAnswer(_) | UpstreamError::Reset(_) => {
            Reply::new(503, told("connection termination")).flagged(
                ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
                "upstream_reset_before_response_started{connection_termination}",
            )
        }
        UpstreamError::RefusedStream => Reply::new(503, told("remote refused stream reset")).flagged(
            ResponseFlags::UPSTREAM_REMOTE_RESET,
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
        ),
        UpstreamError::Protocol(_) => Reply::new(502, told("protocol error"))
            .flagged(ResponseFlags::UPSTREAM_PROTOCOL_ERROR, "upstream_reset_before_response_started{protocol_error}"),
        UpstreamError::Malformed | UpstreamError::RequestBody => {
            Reply::new(400, "").flagged(ResponseFlags::NONE, "malformed_request")
        }
    }
}

/// Why no connection came about, in Envoy's words and without spaces.
fn refused(cause: &std::io::Error) -> String {
    let cause = cause.to_string();
    let cause = cause.split(" (os error").next().unwrap_or_default();
    format!("delayed_connect_error:_{}", cause.replace(' ', "_"))
}

/// CONNECT that ends here (Envoy `connect_config`): bytes between the client and a connection to the cluster.
async fn tunnel(
    connection: &Connection,
    cluster: &Rc<Cluster>,
    wanted: Wanted<'_>,
    exchange: &mut Exchange,
) -> Result<Response, Reply> {
    let worker = &connection.downstream.worker;
    let host = cluster.pick(wanted, || worker.random(), 1, |_| false).map_err(|_| local::no_healthy_upstream())?;
    exchange.trying(cluster, &host);
    let carried = Carried::of(&cluster.config, Some(&connection.downstream.info), None);
    let (io, via) = host.open(&cluster.config, carried.as_deref()).await.map_err(|error| {
        cluster.report(&host, Verdict::LocalOrigin);
        cluster.stats.cx_connect_fail.add(1);
        failure(&error, 1)
    })?;
    exchange.info.upstream_local_address = via.local_address;
    let mut response = Response::new(ResponseHead::new(200), Body::Empty);
    response.tunnel = Some(Box::new(Tunnel::Connection(Prefixed { prefix: Bytes::new(), io })));
    response.via = Some(via);
    Ok(response)
}
