//! The life of a request: made fit for routing, routed, held up or turned away by filters, sent upstream with
//! retries, and answered. Each step is a file; this one is the order in which they come.

mod attempt;
mod cors;
mod fault;
mod finish;
mod local;
mod mirror;
mod prepare;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::access_log::{LogContext, RequestInfo, ResponseFlags};
use crate::config::{Direction, HttpFilter, HttpManager, RouteSource, Snapshot};
use crate::downstream::Downstream;
use crate::http::message::RequestHead;
use crate::http::{Request, Response, h1};
use crate::route::{Action, Found, RouteTable};
use crate::series::Ends;
use crate::stats::Reporter;

use finish::Exchange;
use local::Reply;

/// An HTTP connection and the rules it came in under.
pub struct Connection {
    pub downstream: Downstream,
    pub manager: Arc<HttpManager>,
    streams: Cell<u64>,
}

impl Connection {
    pub fn new(downstream: Downstream, manager: Arc<HttpManager>) -> Self {
        Self { downstream, manager, streams: Cell::new(0) }
    }

    fn next_info(&self) -> RequestInfo {
        let stream = self.streams.get();
        self.streams.set(stream + 1);
        RequestInfo::new(Arc::clone(&self.downstream.info), stream)
    }

    /// Answers one request.
    pub async fn handle(self: Rc<Self>, request: Request) -> Response {
        let Request { mut head, body } = request;
        let mut info = self.next_info();
        info.protocol = Some(head.version);
        let peer = prepare::take_peer(&self, &mut head);
        let prepared = prepare::prepare(&self, &mut head, &mut info);
        let mut exchange = Exchange::new(&self, info, peer);
        let body = exchange.observe_request(body);
        let response = match prepared {
            Err(reply) => exchange.reply(reply, &head),
            Ok(()) => self.route(&mut head, body, &mut exchange).await,
        };
        exchange.finish(response, head)
    }

    /// Finds the route and does what it says.
    async fn route(&self, head: &mut RequestHead, body: crate::http::body::Body, exchange: &mut Exchange) -> Response {
        let worker = &self.downstream.worker;
        let snapshot = worker.snapshot();
        let Some(table) = self.table(&snapshot) else { return exchange.reply(local::no_route(), head) };
        let Some(found) = table.find(head, worker.random()) else { return exchange.reply(local::no_route(), head) };
        exchange.info.route = Some(Arc::clone(found.route));
        let origin = match cors::check(&found, head, self.has_cors(), worker.random()) {
            cors::Verdict::Preflight(reply) => return exchange.reply(reply, head),
            cors::Verdict::Goes(origin) => origin,
        };
        if let Some(reply) = fault::inject(self.fault(&found), worker, exchange).await {
            return exchange.reply(reply, head);
        }
        let mut response = match &found.route.action {
            Action::Redirect(redirect) => {
                let mut reply = Reply::new(redirect.code, "");
                reply.headers.append("location", redirect.location(head));
                reply.details = "direct_response";
                exchange.reply(reply, head)
            }
            Action::DirectResponse(direct) => {
                let mut reply = Reply::new(direct.status, "");
                reply.body = direct.body.clone().into();
                reply.details = "direct_response";
                exchange.reply(reply, head)
            }
            Action::Forward(action) => attempt::forward(self, &snapshot, &found, action, head, body, exchange).await,
        };
        let mutation = exchange.cluster_mutation.take();
        crate::route::apply_response_mutations(&found, mutation.as_ref(), &mut response.head, head, &exchange.info);
        if let Some(origin) = origin {
            origin.write(&mut response.head.headers);
        }
        response
    }

    fn table<'a>(&'a self, snapshot: &'a Snapshot) -> Option<Arc<RouteTable>> {
        match &self.manager.routes {
            RouteSource::Inline(table) => Some(Arc::clone(table)),
            RouteSource::Rds(name) => snapshot.routes.get(name).cloned(),
        }
    }

    fn has_cors(&self) -> bool {
        self.manager.filters.contains(&HttpFilter::Cors)
    }

    fn fault<'a>(&'a self, found: &Found<'a>) -> Option<&'a Arc<crate::config::Fault>> {
        let filter = self.manager.filters.iter().find_map(|filter| match filter {
            HttpFilter::Fault(fault) => Some(fault.as_ref()),
            HttpFilter::Cors => None,
        });
        found.fault(filter?)
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

    /// Logs a request that could not even be parsed.
    pub fn log_refused(&self, error: h1::ParseError) {
        let mut info = self.next_info();
        info.response_code = Some(error.status);
        info.response_code_details = Some(error.detail.into());
        info.flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
        for log in &self.manager.access_logs {
            log.log(&LogContext::of_connection(&info), &self.downstream.worker.log);
        }
    }
}

#[cfg(test)]
mod tests;
