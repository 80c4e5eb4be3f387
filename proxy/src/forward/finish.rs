//! What a request leaves behind: when the last byte of its answer has gone, or the client has, it is counted and
//! logged, and the places it held are given back.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::local::Reply;
use super::{Connection, answer_rules, local_reply};
use crate::access_log::{LogContext, LogKind, RequestInfo, ResponseFlags};
use crate::config::WorkloadRef;
use crate::http::Response;
use crate::http::body::{Body, BodyError, Observer};
use crate::http::headers::Headers;
use crate::http::message::RequestHead;
use crate::route::RouteTable;
use crate::series::{Ended, Ends, host_of_cluster, host_of_virtual_host};
use crate::stats::{ClusterStats, Reporter, Shape};
use crate::tap;
use crate::trace::Active;
use crate::upstream::{Cluster, Host, InFlight, Permit};

/// A request and its answer while they are under way.
pub struct Exchange {
    pub info: RequestInfo,
    pub ends: Ends,
    pub span: Option<Box<Active>>,
    connection: Rc<Connection>,
    received: Rc<Receipt>,
    /// Of the cluster that was chosen.
    cluster: Option<Arc<ClusterStats>>,
    permit: Option<Permit>,
    in_flight: Option<InFlight>,
}

/// How a request's body came.
#[derive(Default)]
pub struct Receipt {
    pub bytes: Cell<u64>,
    /// When its last byte came, from the start.
    end: Cell<Option<Duration>>,
    failed: Cell<Option<RequestFailure>>,
}

impl Receipt {
    /// Whether the request has come to its end.
    pub fn is_whole(&self) -> bool {
        self.end.get().is_some()
    }
}

/// A request that has no answer yet. A client that leaves before there is one is counted and logged too.
pub struct Underway<'a> {
    pub exchange: &'a mut Exchange,
    pub head: &'a mut RequestHead,
    answered: bool,
}

impl<'a> Underway<'a> {
    pub fn new(exchange: &'a mut Exchange, head: &'a mut RequestHead) -> Self {
        Self { exchange, head, answered: false }
    }

    pub fn answered(mut self, response: Response) -> Response {
        self.answered = true;
        response
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let exchange = &mut *self.exchange;
        exchange.info.flags |= ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
        exchange.info.response_code_details = Some("downstream_remote_disconnect".into());
        exchange.info.bytes_received = exchange.received.bytes.get();
        exchange.info.request_duration = exchange.received.end.get();
        exchange.info.duration = Some(exchange.info.start.elapsed());
        let span = exchange.span.take();
        let context = LogContext::of_request(&exchange.info, self.head).of_kind(LogKind::DownstreamEnd);
        exchange.count(self.head.is_grpc(), &context);
        show(exchange, &context);
        leave_traces(&exchange.connection, span, &context);
    }
}

impl Exchange {
    pub fn new(connection: &Rc<Connection>, info: RequestInfo, peer: Option<Arc<WorkloadRef>>) -> Self {
        Self {
            info,
            ends: connection.ends(peer),
            span: None,
            connection: Rc::clone(connection),
            received: Rc::default(),
            cluster: None,
            permit: None,
            in_flight: None,
        }
    }

    fn count(&self, grpc: bool, context: &LogContext<'_>) {
        let info = &self.info;
        let grpc_status = info.grpc_status.filter(|_| grpc);
        let code = info.response_code.unwrap_or(0);
        let shape = self.connection.manager.metrics.as_ref().map(|rules| Shape::new(rules, context));
        let known = &self.connection.downstream.worker.series;
        let reached = info.attempts > 0 && !info.flags.contains(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        let series = known.request(&self.ends, Ended { flags: info.flags, code, grpc, grpc_status, reached }, shape);
        series.total.add(1);
        if matches!(code, 401 | 403) && info.is_denied() {
            series.denied.add(1);
        }
        let taken = info.duration.unwrap_or_default();
        let microseconds = taken.as_secs().wrapping_mul(1_000_000).wrapping_add(taken.subsec_micros().into());
        series.latency.observe(microseconds);
        let milliseconds = microseconds / 1000;
        series.duration_milliseconds.observe(milliseconds);
        self.connection.stats.ended(info.response_code, milliseconds);
        self.connection.count_flags(info.flags);
        if let (Some(cluster), Some(status)) = (&self.cluster, info.response_code) {
            cluster.answered(status);
            if info.response_duration.is_some() {
                cluster.took(milliseconds);
            }
        }
        series.request_bytes.observe(info.bytes_received);
        series.response_bytes.observe(info.bytes_sent);
        if let Some(messages) = &info.grpc_messages {
            series.request_messages.add(messages.requests.get());
            series.response_messages.add(messages.responses.get());
        }
    }

    /// Counts the bytes of the request's body as they pass, and holds it to the time a request may take.
    pub fn observe_request(&self, body: Body) -> Body {
        if body.is_end() {
            self.received.end.set(Some(Duration::ZERO));
            return body;
        }
        let limit = self.connection.manager.request_timeout;
        let body = body.limited((!limit.is_zero()).then(|| Instant::now() + limit), Duration::ZERO);
        body.observed(Box::new(Received { receipt: Rc::clone(&self.received), start: self.info.start }))
    }

    /// Whether the request failed on its way here.
    pub fn is_cut(&self) -> bool {
        self.received.failed.get().is_some()
    }

    /// The answer to a client whose request did not come whole.
    pub fn cut_request(&self) -> Reply {
        match self.received.failed.get() {
            Some(RequestFailure::Late) => {
                let mut reply = Reply::new(408, "request timeout");
                reply.close = true;
                reply.flagged(ResponseFlags::NONE, "request_overall_timeout")
            }
            Some(RequestFailure::Malformed) => {
                Reply::new(400, "Bad Request").flagged(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, "http1.codec_error")
            }
            None => Reply::new(400, "")
                .flagged(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect"),
        }
    }

    /// Body bytes that came so far.
    pub fn received_watch(&self) -> Rc<Receipt> {
        Rc::clone(&self.received)
    }

    /// Answers from here.
    pub fn reply(&mut self, reply: Reply, request: &RequestHead) -> Response {
        self.info.flags |= reply.flags;
        self.info.response_code_details = Some(reply.details.clone());
        match &self.connection.manager.local_replies {
            None => reply.into_response(request),
            Some(rules) => local_reply::rewrite(rules, reply, Some(request), &mut self.info).into_response(request),
        }
    }

    /// The cluster is chosen, and the request has its place there.
    pub fn admitted(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    pub fn chose_cluster(&mut self, cluster: &Cluster) {
        self.leads_to(cluster);
        self.cluster = Some(Arc::clone(&cluster.stats));
    }

    /// The route leads to this cluster, whether or not the request gets as far (Envoy, the cluster of the cached route).
    pub fn leads_to(&mut self, cluster: &Cluster) {
        self.info.upstream_cluster = Some(Arc::clone(&cluster.config));
        self.ends.service = cluster.service();
    }

    /// The route leads to a cluster of this name, which is not there.
    pub fn misses_cluster(&mut self, name: &str) {
        if let Some(host) = host_of_cluster(name) {
            self.ends.service = Some(self.connection.downstream.worker.series.service(host));
        }
    }

    /// Figures tell which service was meant by a request that this proxy answered before there was a cluster.
    pub fn tell_meant(&mut self, table: Option<&RouteTable>, authority: &str) {
        let virtual_host = table.and_then(|table| table.virtual_host(authority));
        if let Some(host) = virtual_host.and_then(|found| host_of_virtual_host(&found.name)) {
            self.ends.service = Some(self.connection.downstream.worker.series.service(host));
        }
    }

    /// Whether it is of a caller's proxy, and nothing is known of whom it was for.
    pub fn lacks_service(&self) -> bool {
        self.ends.reporter == Reporter::Source && self.ends.service.is_none() && self.cluster.is_none()
    }

    /// A host is about to be tried.
    pub fn trying(&mut self, cluster: &Cluster, host: &Rc<Host>) {
        self.info.attempts += 1;
        self.in_flight = Some(cluster.begin(host));
        let endpoint = host.endpoint();
        self.info.upstream_address = host.socket_address();
        if self.ends.reporter == Reporter::Source {
            self.ends.destination = endpoint.workload.clone();
            self.ends.mutual_tls = host.is_mutual_tls();
        }
        self.info.upstream_endpoint = Some(endpoint);
    }

    /// Writes the line of a request that has just come.
    pub fn log_start(&self, head: &RequestHead) {
        let context = LogContext::of_request(&self.info, head).of_kind(LogKind::DownstreamStart);
        leave_traces(&self.connection, None, &context);
    }

    /// Tells the next on the way which trace the request belongs to.
    pub fn inject_trace(&self, head: &mut RequestHead) {
        if let Some(span) = &self.span {
            span.inject(&mut head.headers);
        }
    }

    /// Completes the answer and sees it off.
    pub fn finish(mut self, mut response: Response, request: RequestHead) -> Response {
        let manager = &self.connection.manager;
        match &manager.answer_rules {
            None => response.head.headers.set("server", &manager.server_name),
            Some(rules) => answer_rules::apply(rules, manager, &mut response.head, Some(&request), &self.info),
        }
        if !response.head.headers.contains("date") {
            response.head.headers.append("date", httpdate::fmt_http_date(SystemTime::now()));
        }
        if response.via.is_none() && response.body.length() > Some(0) && !response.head.headers.contains("content-type")
        {
            // What the route takes off answers is taken off before this one is finished (Envoy, local replies).
            response.head.headers.append("content-type", "text/plain");
        }
        self.info.response_code = Some(response.head.status);
        self.info.grpc_status = grpc_status(&response.head.headers);
        if let Some(span) = &mut self.span {
            span.answered(&mut response.head.headers);
        }
        let logged = !manager.access_logs.is_empty() || self.span.is_some();
        self.info.downstream_send = logged.then(|| self.info.start.elapsed());
        if manager.logs_tunnels && response.tunnel.is_some() {
            let context = LogContext::of_request(&self.info, &request).with_response(&response.head.headers, None);
            let context = context.of_kind(LogKind::DownstreamTunnelSuccessfullyEstablished);
            leave_traces(&self.connection, None, &context);
        }
        let departure = Departure {
            response: (logged || manager.metrics.is_some()).then(|| response.head.headers.clone()),
            trailers: None,
            grpc: request.is_grpc(),
            request,
            exchange: self,
        };
        response.body = response.body.observed(Box::new(departure));
        response
    }
}

pub fn grpc_status(headers: &Headers) -> Option<u32> {
    headers.get_str("grpc-status")?.parse().ok()
}

/// Why a request's body did not come whole, where it was not that the client left.
#[derive(Clone, Copy)]
enum RequestFailure {
    Late,
    Malformed,
}

struct Received {
    receipt: Rc<Receipt>,
    start: std::time::Instant,
}

impl Observer for Received {
    fn data(&mut self, bytes: usize) {
        self.receipt.bytes.set(self.receipt.bytes.get() + bytes as u64);
    }

    fn end(&mut self, outcome: Option<Result<Option<&Headers>, &BodyError>>) {
        if let Some(Ok(_)) = outcome {
            self.receipt.end.set(Some(self.start.elapsed()));
        }
        self.receipt.failed.set(match outcome {
            Some(Err(BodyError::Late | BodyError::Idle)) => Some(RequestFailure::Late),
            Some(Err(BodyError::Framing(_))) => Some(RequestFailure::Malformed),
            _ => None,
        });
    }
}

/// Watches the answer leave.
struct Departure {
    exchange: Exchange,
    request: RequestHead,
    /// Kept for the log, the span and labels of metrics only.
    response: Option<Headers>,
    trailers: Option<Headers>,
    grpc: bool,
}

impl Observer for Departure {
    fn data(&mut self, bytes: usize) {
        self.exchange.info.bytes_sent += bytes as u64;
    }

    fn end(&mut self, outcome: Option<Result<Option<&Headers>, &BodyError>>) {
        let info = &mut self.exchange.info;
        match outcome {
            Some(Ok(trailers)) => {
                if let Some(trailers) = trailers {
                    info.grpc_status = grpc_status(trailers).or(info.grpc_status);
                    self.trailers = self.response.is_some().then(|| trailers.clone());
                }
            }
            Some(Err(BodyError::Reset(_))) => info.flags |= ResponseFlags::UPSTREAM_REMOTE_RESET,
            Some(Err(BodyError::Framing(_) | BodyError::Truncated)) => {
                info.flags |= ResponseFlags::UPSTREAM_PROTOCOL_ERROR;
                info.response_code_details = Some("upstream_reset_after_response_started{protocol_error}".into());
            }
            Some(Err(BodyError::Idle)) => info.flags |= ResponseFlags::STREAM_IDLE_TIMEOUT,
            Some(Err(BodyError::Late)) => info.flags |= ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
            Some(Err(_)) => info.flags |= ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
            None => info.flags |= ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
        }
        info.bytes_received = self.exchange.received.bytes.get();
        info.request_duration = self.exchange.received.end.get();
        let end = info.start.elapsed();
        info.upstream_end = info.response_duration.map(|_| end);
        info.duration = Some(end);
        self.leave();
        self.exchange.in_flight = None;
        self.exchange.permit = None;
    }
}

impl Departure {
    /// It is counted and told of.
    fn leave(&mut self) {
        let span = self.exchange.span.take();
        let context = LogContext {
            info: &self.exchange.info,
            request: Some(&self.request),
            response: self.response.as_ref(),
            trailers: self.trailers.as_ref(),
            kind: LogKind::DownstreamEnd,
            local_reply_body: b"",
        };
        self.exchange.count(self.grpc, &context);
        show(&self.exchange, &context);
        leave_traces(&self.exchange.connection, span, &context);
    }
}

/// Shows the request to those who look at it right now.
fn show(exchange: &Exchange, context: &LogContext<'_>) {
    let worker = &exchange.connection.downstream.worker;
    if let Some(taps) = worker.taps() {
        tap::show(&taps, &exchange.ends, context, worker);
    }
}

/// The request is over: its span is told of, and its line written.
fn leave_traces(connection: &Connection, span: Option<Box<Active>>, context: &LogContext<'_>) {
    let worker = &connection.downstream.worker;
    if let (Some(span), Some(tracing)) = (span, &connection.manager.tracing) {
        span.end(tracing, context, worker);
    }
    for log in &connection.manager.access_logs {
        log.log(context, worker);
    }
}

#[cfg(test)]
mod tests;
