//! The life of a request: made fit for routing, routed, held up or turned away by filters, sent upstream with
//! retries, and answered. Each step is a file; this one is the order in which they come.

mod answer_rules;
mod attempt;
mod balance;
mod client_cert;
mod finish;
mod limits;
mod local;
mod local_reply;
mod mirror;
mod prepare;
mod proxy_status;
mod refused;
mod request_rules;
mod trust;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::access_log::{RequestInfo, ResponseFlags};
use crate::config::{Direction, HttpManager, RouteSource, Snapshot};
use crate::downstream::Downstream;
use crate::filter::local_rate_limit::{Buckets, LocalRateLimit, OwnBuckets};
use crate::filter::{self, FilterStats, Stream};
use crate::http::body::Body;
use crate::http::message::RequestHead;
use crate::http::{Request, Response};
use crate::listener::Bounds;
use crate::route::{Action, RouteTable, VirtualHost};
use crate::series::Ends;
use crate::stats::{HttpStats, Reporter};

use crate::trace;
use finish::Underway;

pub use finish::Exchange;
pub use local::Reply;
pub use prepare::STRIPS_FRAGMENTS;

/// An HTTP connection and the rules it came in under.
pub struct Connection {
    pub downstream: Downstream,
    pub manager: Arc<HttpManager>,
    filter_stats: Option<Rc<[FilterStats]>>,
    stats: Arc<HttpStats>,
    buckets: RefCell<OwnBuckets>,
    streams: Cell<u64>,
    /// What is told of the client's certificate, once it is asked for.
    client_cert: OnceCell<String>,
    /// Where the connection lasts only so long.
    pub bounds: Option<Box<Bounds>>,
}

impl Connection {
    pub fn new(downstream: Downstream, manager: Arc<HttpManager>) -> Self {
        let worker = &downstream.worker;
        let filter_stats = worker.filter_stats.of(&manager, &worker.shard);
        let stats = worker.shard.http(&manager.stat_prefix);
        stats.cx_total.add(1);
        stats.cx_active.up();
        Self {
            bounds: manager.lifetime.map(|lifetime| Box::new(Bounds::new(lifetime, &downstream.worker.failing))),
            downstream,
            manager,
            filter_stats,
            stats,
            buckets: RefCell::default(),
            streams: Cell::new(0),
            client_cert: OnceCell::new(),
        }
    }

    /// The connection turned out to carry this version of HTTP.
    pub fn speaks(&self, http2: bool) {
        let of_version = if http2 { &self.stats.cx_http2_total } else { &self.stats.cx_http1_total };
        of_version.add(1);
    }

    /// Most requests raise no flag.
    fn count_flags(&self, flags: ResponseFlags) {
        if flags.is_empty() {
            return;
        }
        for (flag, counter) in [
            (ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, &self.stats.rq_rx_reset),
            (ResponseFlags::STREAM_IDLE_TIMEOUT, &self.stats.rq_idle_timeout),
            (ResponseFlags::NO_ROUTE_FOUND, &self.stats.no_route),
            (ResponseFlags::NO_CLUSTER_FOUND, &self.stats.no_cluster),
        ] {
            if flags.contains(flag) {
                counter.add(1);
            }
        }
    }

    /// What the filter at this place of the chain counts.
    pub fn filter_stats(&self, place: usize) -> Option<&FilterStats> {
        self.filter_stats.as_ref()?.get(place)
    }

    /// The rate limits that this connection has for itself.
    pub fn own_buckets(&self, limit: &Arc<LocalRateLimit>) -> Rc<Buckets> {
        self.buckets.borrow_mut().of(limit)
    }

    fn next_info(&self) -> RequestInfo {
        let stream = self.streams.get();
        self.streams.set(stream + 1);
        if let Some(bounds) = &self.bounds {
            bounds.count(stream + 1);
        }
        RequestInfo::new(Arc::clone(&self.downstream.info), stream)
    }

    /// Answers one request.
    pub async fn handle(self: Rc<Self>, request: Request) -> Response {
        let Request { mut head, body } = request;
        let mut info = self.next_info();
        info.protocol = Some(head.version);
        self.stats.began(head.version);
        let peer = prepare::take_peer(&self, &mut head);
        let prepared = prepare::prepare(&self, &mut head, &mut info);
        let mut exchange = Exchange::new(&self, info, peer);
        let body = exchange.observe_request(body);
        let underway = Underway::new(&mut exchange, &mut head);
        let response = match prepared {
            Err(reply) => underway.exchange.reply(reply, underway.head),
            Ok(()) => self.route(underway.head, body, underway.exchange).await,
        };
        let mut response = underway.answered(response);
        if exchange.lacks_service() {
            let table = self.table(&self.downstream.worker.snapshot());
            exchange.tell_meant(table.as_deref(), &head.authority);
        }
        response.close |= self.bounds.as_ref().is_some_and(|bounds| bounds.closes());
        exchange.finish(response, head)
    }

    /// Finds the route, lets the filters see the request, and does what the route says.
    async fn route(&self, head: &mut RequestHead, body: Body, exchange: &mut Exchange) -> Response {
        let snapshot = self.downstream.worker.snapshot();
        let table = self.table(&snapshot);
        let mut stream = Stream::new(self, table.as_deref(), head, body, exchange);
        if let Some(tracing) = &self.manager.tracing {
            trace::begin(tracing, &mut stream);
        }
        if self.manager.logs_new_requests {
            stream.exchange.log_start(stream.head);
        }
        let filters = &self.manager.filters;
        let mut response = match filter::request(filters, &mut stream).await {
            Ok(()) => self.follow(&snapshot, &mut stream).await,
            Err(reply) => {
                self.tell_cluster(&snapshot, &mut stream);
                stream.exchange.reply(*reply, stream.head)
            }
        };
        filter::response(filters, &mut stream, &mut response);
        response
    }

    /// Logs and figures tell where a request would have gone that a filter answered.
    fn tell_cluster(&self, snapshot: &Arc<Snapshot>, stream: &mut Stream<'_>) {
        let Some(found) = stream.found.filter(|found| matches!(found.route.action, Action::Forward(_))) else { return };
        let clusters = &self.downstream.worker.clusters;
        if let Some(cluster) = clusters.get(found.cluster(&stream.head.headers), snapshot) {
            stream.exchange.leads_to(&cluster);
        }
    }

    /// Does what the route says (Envoy, the router filter).
    async fn follow(&self, snapshot: &Arc<Snapshot>, stream: &mut Stream<'_>) -> Response {
        let Stream { head, exchange, .. } = stream;
        let Some(found) = stream.found else { return exchange.reply(local::no_route(), head) };
        let mut response = match &found.route.action {
            Action::Redirect(redirect) => {
                self.stats.rq_redirect.add(1);
                let mut reply = Reply::new(redirect.code, "");
                reply.headers.append("location", redirect.location(head));
                exchange.reply(reply, head)
            }
            Action::DirectResponse(direct) => {
                self.stats.rq_direct_response.add(1);
                let mut reply = Reply::new(direct.status, "");
                reply.body = direct.body.clone().into();
                exchange.reply(reply, head)
            }
            Action::Forward(action) => {
                let body = std::mem::replace(&mut stream.body, Body::Empty);
                let place = found.virtual_cluster(head);
                exchange.info.virtual_cluster = place.map(|place| (Arc::clone(found.virtual_host), place));
                let response = attempt::forward(self, snapshot, &found, action, head, body, exchange).await;
                self.count_virtual_cluster(found.virtual_host, place, &response, &exchange.info);
                response
            }
        };
        exchange.info.response_code = Some(response.head.status);
        crate::route::apply_response_mutations(&found, &mut response.head, head, &exchange.info);
        response
    }

    fn count_virtual_cluster(
        &self,
        host: &Arc<VirtualHost>,
        place: Option<usize>,
        response: &Response,
        info: &RequestInfo,
    ) {
        if host.virtual_clusters.is_empty() {
            return;
        }
        let worker = &self.downstream.worker;
        let stats = worker.virtual_clusters.of(host, place, &worker.shard);
        stats.count(response.head.status, info.attempts, info.flags);
    }

    fn table<'a>(&'a self, snapshot: &'a Snapshot) -> Option<Arc<RouteTable>> {
        match &self.manager.routes {
            RouteSource::Inline(table) => Some(Arc::clone(table)),
            RouteSource::Rds(name) => snapshot.routes.get(name).cloned(),
        }
    }

    /// Both ends of a call, as far as this side knows them before it goes upstream.
    fn ends(&self, peer: Option<Arc<crate::config::WorkloadRef>>) -> Ends {
        let worker = &self.downstream.worker;
        let own = Some(Arc::clone(&worker.own));
        let principal = self.downstream.peer.as_ref().map(|peer| Arc::clone(&peer.principal));
        match self.downstream.direction {
            Direction::Inbound => Ends {
                reporter: Reporter::Destination,
                source: peer,
                source_principal: principal,
                destination: own,
                destination_principal: worker.own_principal(),
                service: None,
                mutual_tls: self.downstream.peer.is_some(),
            },
            _ => Ends {
                reporter: Reporter::Source,
                source: own,
                source_principal: worker.own_principal(),
                destination: None,
                destination_principal: None,
                service: None,
                mutual_tls: false,
            },
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stats.cx_active.down();
        self.stats.cx_destroy.add(1);
    }
}

#[cfg(test)]
mod tests;
