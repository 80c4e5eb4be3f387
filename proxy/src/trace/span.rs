//! The span of a request: begun once its route is found, told of when it is over, with the tags that Envoy gives it.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::context::Context;
use super::export::Queue;
use super::settings::{Side, Tag, TagValue, Tracing};
use crate::access_log::{LogContext, RequestInfo, grpc};
use crate::config::Direction;
use crate::filter::Stream;
use crate::http::headers::Headers;
use crate::http::message::RequestHead;
use crate::route::Route;
use crate::tap::shown_path;

/// A span that is under way.
pub struct Active {
    context: Context,
    side: Side,
    name: String,
    queue: Rc<Queue>,
    /// Whose decorator the caller is told with the answer.
    decorated: Option<Arc<Route>>,
    route: Option<Arc<Route>>,
}

/// A span that is over.
pub struct Finished {
    pub context: Context,
    pub side: Side,
    pub name: String,
    pub start: SystemTime,
    pub duration: Duration,
    pub tags: Vec<(Cow<'static, str>, String)>,
    /// What happened when, from the start.
    pub events: Vec<(&'static str, Duration)>,
    pub error: bool,
    pub service: Rc<str>,
    pub address: std::net::IpAddr,
}

const OPERATION: &str = "x-envoy-decorator-operation";

/// Decides whether a request is traced, and begins its span.
pub fn begin(tracing: &Tracing, stream: &mut Stream<'_>) {
    let worker = stream.worker();
    let route = stream.found.map(|found| Arc::clone(found.route));
    let of_route = route.as_ref().and_then(|route| route.tracing.as_ref());
    let sampling = of_route.map_or(&tracing.sampling, |own| &own.sampling);
    let ids = stream.connection.manager.request_ids;
    let traced = super::reason::decide(ids, sampling, &mut stream.head.headers, worker.random());
    stream.exchange.info.traced = traced;
    let Some(provider) = &tracing.provider else { return };
    let side = match stream.connection.downstream.direction {
        Direction::Outbound => Side::Egress,
        _ => Side::Ingress,
    };
    let Some(context) = Context::of(provider, side, &stream.head.headers, traced, || worker.random()) else { return };
    stream.exchange.info.trace_ids = Some(Box::new((context.trace_id, context.span_id)));
    let mut active = Active {
        name: provider.first_name(side, &stream.head.authority),
        queue: worker.exporters.queue(worker, provider),
        context,
        side,
        decorated: None,
        route,
    };
    active.decorate(stream.head);
    stream.exchange.span = Some(Box::new(active));
}

impl Active {
    /// The route's decorator names the span. Across a call the caller's name for it wins.
    fn decorate(&mut self, head: &mut RequestHead) {
        let decorator = self.route.as_ref().and_then(|route| route.decorator.as_ref());
        if let Some(decorator) = decorator {
            self.name.clone_from(&decorator.operation);
        }
        let propagated = decorator.filter(|decorator| decorator.propagate);
        match self.side {
            Side::Egress => {
                if let Some(decorator) = propagated {
                    head.headers.set(OPERATION, &decorator.operation);
                }
            }
            Side::Ingress => match head.headers.get_str(OPERATION) {
                Some(given) => {
                    if !given.is_empty() {
                        given.clone_into(&mut self.name);
                    }
                    head.headers.remove(OPERATION);
                }
                None => self.decorated = propagated.and(self.route.clone()),
            },
        }
    }

    /// Writes the context into a request that goes upstream.
    pub fn inject(&self, headers: &mut Headers) {
        self.context.write(&self.queue.provider, headers);
    }

    /// An answer tells the caller what the call was called, or tells this proxy.
    pub fn answered(&mut self, headers: &mut Headers) {
        match self.side {
            Side::Ingress => {
                if let Some(decorator) = self.decorated.as_ref().and_then(|route| route.decorator.as_ref()) {
                    headers.set(OPERATION, &decorator.operation);
                }
            }
            Side::Egress => {
                if let Some(given) = headers.get_str(OPERATION).filter(|given| !given.is_empty()) {
                    given.clone_into(&mut self.name);
                }
                headers.remove(OPERATION);
            }
        }
    }

    /// The request is over. Only a sampled span is told of.
    pub fn end(self, tracing: &Tracing, context: &LogContext<'_>, worker: &crate::worker::Worker) {
        if !self.context.sampled {
            return;
        }
        let info = context.info;
        let mut span = Finished {
            context: self.context,
            side: self.side,
            name: self.name,
            start: info.start_time,
            duration: info.duration.unwrap_or_default(),
            tags: vec![(Cow::Borrowed("component"), "proxy".to_owned()), ("node_id".into(), worker.own.name.clone())],
            events: if tracing.verbose { moments(info) } else { Vec::new() },
            error: false,
            service: worker.exporters.service(&worker.own),
            address: info.connection.local_address.ip(),
        };
        if let Some(head) = context.request {
            span.request_tags(head, info, tracing.max_path_tag_length);
        }
        let of_route = self.route.as_ref().and_then(|route| route.tracing.as_ref());
        for tag in tracing.tags.iter().chain(of_route.into_iter().flat_map(|own| &own.tags)) {
            if let Some(value) = tag.value(context) {
                span.set(tag.name.clone(), value);
            }
        }
        span.answer_tags(context);
        self.queue.push(span);
    }
}

impl super::Provider {
    /// What a span is called that no decorator names.
    fn first_name(&self, side: Side, host: &str) -> String {
        match (self, side) {
            (Self::Zipkin(_), _) => host.to_owned(),
            (Self::Otlp(_), Side::Ingress) => "ingress".to_owned(),
            (Self::Otlp(_), Side::Egress) => format!("egress {host}"),
        }
    }
}

impl Finished {
    /// A later tag takes the place of an earlier one of its name.
    fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.tags.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.tags.push((name, value)),
        }
    }

    fn request_tags(&mut self, head: &RequestHead, info: &RequestInfo, max_path: usize) {
        let text = |name| head.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        if let Some(id) = text("x-request-id") {
            self.set("guid:x-request-id", id);
        }
        let proto = text("x-forwarded-proto").unwrap_or_else(|| head.scheme.to_owned());
        let path = text("x-envoy-original-path").unwrap_or_else(|| head.path.clone());
        let path = shown_path(&path);
        let end = path.floor_char_boundary(max_path);
        self.set("http.url", format!("{proto}://{}{}", head.authority, &path[..end]));
        self.set("http.method", head.method.clone());
        let dash = || "-".to_owned();
        self.set("downstream_cluster", text("x-envoy-downstream-service-cluster").unwrap_or_else(dash));
        self.set("user_agent", text("user-agent").unwrap_or_else(dash));
        self.set("http.protocol", info.protocol.map_or("-", crate::http::message::Version::as_str));
        self.set("peer.address", info.connection.direct_remote_address().ip().to_string());
        if let Some(id) = text("x-client-trace-id") {
            self.set("guid:x-client-trace-id", id);
        }
        if head.is_grpc() {
            self.set("grpc.path", head.path.clone());
            self.set("grpc.authority", head.authority.clone());
            for (tag, header) in [("grpc.content_type", "content-type"), ("grpc.timeout", "grpc-timeout")] {
                if let Some(value) = text(header) {
                    self.set(tag, value);
                }
            }
        }
    }

    fn answer_tags(&mut self, context: &LogContext<'_>) {
        let info = context.info;
        self.set("request_size", info.bytes_received.to_string());
        self.set("response_size", info.bytes_sent.to_string());
        if let Some(cluster) = &info.upstream_cluster {
            self.set("upstream_cluster", cluster.name.clone());
            self.set("upstream_cluster.name", cluster.name.clone());
        }
        self.set("http.status_code", info.response_code.unwrap_or(0).to_string());
        self.set("response_flags", info.flags.to_string());
        self.error = info.response_code.is_none_or(|code| code >= 500);
        if context.request.is_some_and(RequestHead::is_grpc)
            && let Some(status) = grpc::status(info)
        {
            self.set("grpc.status_code", status.to_string());
            let from = |headers: Option<&Headers>| headers?.get_str("grpc-message").map(str::to_owned);
            if let Some(message) = from(context.trailers).or_else(|| from(context.response)) {
                self.set("grpc.message", message);
            }
            // Those that say that the server failed (gRPC, status codes and their use).
            self.error |= matches!(status, 2 | 4 | 12 | 13 | 14 | 15);
        }
        if self.error {
            self.set("error", "true");
        }
    }
}

/// The moments of a request that `verbose` tells.
fn moments(info: &RequestInfo) -> Vec<(&'static str, Duration)> {
    let sent = info.upstream_send.zip(info.request_duration).map(|(first, last)| first.max(last));
    let all = [
        ("last_downstream_rx_byte_received", info.request_duration),
        ("first_upstream_tx_byte_sent", info.upstream_send),
        ("last_upstream_tx_byte_sent", sent),
        ("first_upstream_rx_byte_received", info.response_duration),
        ("last_upstream_rx_byte_received", info.upstream_end),
        ("first_downstream_tx_byte_sent", info.downstream_send),
        ("last_downstream_tx_byte_sent", info.duration),
    ];
    all.into_iter().filter_map(|(name, at)| Some((name, at?))).collect()
}

impl Tag {
    /// `None` leaves the tag out.
    fn value(&self, context: &LogContext<'_>) -> Option<String> {
        let found = match &self.value {
            TagValue::Text(text) => return Some(text.clone()).filter(|text| !text.is_empty()),
            TagValue::RequestHeader { name, default } => {
                let value = context.request.and_then(|head| head.headers.get(name));
                (value.map(|value| String::from_utf8_lossy(value).into_owned()), default)
            }
            TagValue::Metadata { namespace, path, default } => {
                let all = context.info.metadata.as_deref().and_then(|metadata| metadata.namespace(namespace));
                (all.and_then(|all| crate::access_log::metadata_text(all, path)), default)
            }
        };
        let (value, default) = found;
        value.or_else(|| Some(default.clone()).filter(|default| !default.is_empty()))
    }
}
