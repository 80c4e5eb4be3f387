//! What gRPC calls come to (Envoy, `envoy.filters.http.grpc_stats`): counted by cluster, and by method where that is
//! wanted, with the messages both ways.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::{After, FilterStats, Stream};
use crate::http::Response;
use crate::http::body::{Body, BodyError, Observer};
use crate::http::headers::Headers;
use crate::stats::{Counter, Shard, label};

/// `envoy.extensions.filters.http.grpc_stats.v3.FilterConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcStats {
    pub methods: Methods,
    /// Whether logs may ask how many messages there were.
    pub emit_filter_state: bool,
    /// Whether dots in the names of services become underscores.
    pub replace_dots: bool,
}

/// Which methods are counted for themselves; all others are counted together.
#[derive(Clone, Debug, PartialEq)]
pub enum Methods {
    None,
    All,
    /// Services and their methods.
    These(Vec<(String, Vec<String>)>),
}

/// Messages of a call so far.
#[derive(Debug, Default)]
pub struct Messages {
    pub requests: Cell<u64>,
    pub responses: Cell<u64>,
}

/// `cluster.<name>.grpc.*`
#[derive(Debug)]
pub struct Stats {
    config: Arc<GrpcStats>,
    shard: Arc<Shard>,
    /// By cluster and path; the path is empty where methods are counted together.
    calls: RefCell<HashMap<String, HashMap<String, Rc<Counters>>>>,
}

/// Paths are the client's words: of more methods than this the rest is counted together.
const MOST_METHODS: usize = 1000;

#[derive(Debug)]
struct Counters {
    shard: Arc<Shard>,
    labels: String,
    total: Arc<Counter>,
    success: Arc<Counter>,
    failure: Arc<Counter>,
    request_messages: Arc<Counter>,
    response_messages: Arc<Counter>,
    codes: RefCell<HashMap<u32, Arc<Counter>>>,
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    counters: Rc<Counters>,
    messages: Rc<Messages>,
}

pub fn request(own: &GrpcStats, place: usize, stream: &mut Stream<'_>) {
    if !stream.head.is_grpc() {
        return;
    }
    let (Some(FilterStats::GrpcStats(stats)), Some(found)) = (stream.connection.filter_stats(place), stream.found)
    else {
        return;
    };
    let cluster = found.cluster(&stream.head.headers);
    if cluster.is_empty() {
        return;
    }
    let counters = stats.counters(cluster, stream.head.path_only());
    let messages = Rc::new(Messages::default());
    if own.emit_filter_state {
        stream.info().grpc_messages = Some(Rc::clone(&messages));
    }
    let call = Rc::new(Call { counters, messages });
    if !stream.body.is_end() {
        let body = std::mem::replace(&mut stream.body, Body::Empty);
        stream.body = body.observed(Box::new(Counting::new(&call, Way::Request)));
    }
    stream.keep(place, After::GrpcStats(call));
}

pub fn response(place: usize, stream: &mut Stream<'_>, response: &mut Response) {
    let Some(After::GrpcStats(call)) = stream.kept(place) else { return };
    if response.body.is_end() {
        return call.end(&response.head.headers);
    }
    if response.head.is_grpc() {
        let body = std::mem::replace(&mut response.body, Body::Empty);
        response.body = body.observed(Box::new(Counting::new(&call, Way::Response)));
    }
}

impl Stats {
    pub fn new(config: &Arc<GrpcStats>, shard: &Arc<Shard>) -> Self {
        Self { config: Arc::clone(config), shard: Arc::clone(shard), calls: RefCell::default() }
    }

    fn counters(&self, cluster: &str, path: &str) -> Rc<Counters> {
        let method = match &self.config.methods {
            Methods::None => None,
            Methods::All => method(path),
            Methods::These(these) => method(path).filter(|(service, method)| {
                these.iter().any(|(known, methods)| known == service && methods.iter().any(|known| known == method))
            }),
        };
        let mut calls = self.calls.borrow_mut();
        if !calls.contains_key(cluster) {
            calls.insert(cluster.to_owned(), HashMap::new());
        }
        let Some(methods) = calls.get_mut(cluster) else { return Rc::new(self.make(cluster, None)) };
        let key = if method.is_some() { path } else { "" };
        if let Some(counters) = methods.get(key) {
            return Rc::clone(counters);
        }
        let (key, method) = if methods.len() < MOST_METHODS { (key, method) } else { ("", None) };
        Rc::clone(methods.entry(key.to_owned()).or_insert_with(|| Rc::new(self.make(cluster, method))))
    }

    fn make(&self, cluster: &str, method: Option<(&str, &str)>) -> Counters {
        let mut labels = String::new();
        label(&mut labels, "envoy_cluster_name", cluster);
        if let Some((service, method)) = method {
            let service = if self.config.replace_dots { service.replace('.', "_") } else { service.to_owned() };
            label(&mut labels, "envoy_grpc_bridge_method", method);
            label(&mut labels, "envoy_grpc_bridge_service", &service);
        }
        let counter = |name: &str| self.shard.counter(&format!("envoy_cluster_grpc_{name}"), &labels);
        Counters {
            total: counter("total"),
            success: counter("success"),
            failure: counter("failure"),
            request_messages: counter("request_message_count"),
            response_messages: counter("response_message_count"),
            codes: RefCell::default(),
            shard: Arc::clone(&self.shard),
            labels,
        }
    }
}

/// Service and method of a path: `/package.Service/Method`.
fn method(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

impl Call {
    /// Counts how the call ended, where that is told.
    fn end(&self, headers: &Headers) {
        let Some(status) = headers.get_str("grpc-status") else { return };
        let counters = &*self.counters;
        counters.total.add(1);
        let code = status.parse::<u32>().ok().filter(|code| *code <= 16);
        if code == Some(0) { &counters.success } else { &counters.failure }.add(1);
        if let Some(code) = code {
            let mut codes = counters.codes.borrow_mut();
            let made = || counters.shard.counter(&format!("envoy_cluster_grpc_{code}"), &counters.labels);
            codes.entry(code).or_insert_with(made).add(1);
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Request,
    Response,
}

/// Counts the messages of one way as they pass: each has a flag and a length of four bytes before it (gRPC over
/// HTTP/2, Length-Prefixed-Message).
struct Counting {
    call: Rc<Call>,
    way: Way,
    /// Bytes of the message's head that came so far, and what they say of its length.
    head: u8,
    length: u32,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Counting {
    fn new(call: &Rc<Call>, way: Way) -> Self {
        Self { call: Rc::clone(call), way, head: 0, length: 0, left: 0 }
    }

    fn begun(&self) {
        let call = &*self.call;
        let (seen, counter) = match self.way {
            Way::Request => (&call.messages.requests, &call.counters.request_messages),
            Way::Response => (&call.messages.responses, &call.counters.response_messages),
        };
        seen.set(seen.get() + 1);
        counter.add(1);
    }
}

impl Observer for Counting {
    fn data(&mut self, _: usize) {}

    fn bytes(&mut self, mut data: &[u8]) {
        while let Some((first, rest)) = data.split_first() {
            if self.left > 0 {
                let skipped = data.len().min(self.left as usize);
                self.left -= skipped as u32;
                data = &data[skipped..];
                continue;
            }
            self.length = if self.head == 0 { 0 } else { self.length << 8 | u32::from(*first) };
            self.head += 1;
            data = rest;
            if self.head == 5 {
                self.head = 0;
                self.left = self.length;
                self.begun();
            }
        }
    }

    fn end(&mut self, outcome: Option<Result<Option<&Headers>, &BodyError>>) {
        if let (Way::Response, Some(Ok(Some(trailers)))) = (self.way, outcome) {
            self.call.end(trailers);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test_kit::{Proxy, filter, one_route};
    use super::*;

    fn call() -> (Rc<Call>, Arc<Shard>) {
        let config = GrpcStats { methods: Methods::None, emit_filter_state: true, replace_dots: false };
        let shard = crate::stats::Stats::default().shard();
        let counters = Stats::new(&Arc::new(config), &shard).counters("c", "/a.B/M");
        (Rc::new(Call { counters, messages: Rc::default() }), shard)
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let wire = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[7; 256]].concat();
        for size in [1, 2, 4, 5, 7, 300] {
            let (call, _shard) = call();
            let mut counting = Counting::new(&call, Way::Request);
            wire.chunks(size).for_each(|chunk| counting.bytes(chunk));
            assert_eq!(call.messages.requests.get(), 3, "chunks of {size}");
        }
    }

    #[test]
    fn a_method_is_what_follows_the_service() {
        assert_eq!(method("/a.B/M"), Some(("a.B", "M")));
        for other in ["/a", "a/b", "//m", "/a/", "/a/b/c"] {
            assert_eq!(method(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn calls_that_fail_here_are_counted_by_their_status() {
        let stats = filter(
            "g",
            "http.grpc_stats.v3.FilterConfig",
            json!({"individual_method_stats_allowlist": {
            "services": [{"name": "a.B", "method_names": ["M"]}]}, "replace_dots_in_grpc_service_name": true}),
        );
        let abort = filter(
            "f",
            "http.fault.v3.HTTPFault",
            json!({"abort": {
            "grpc_status": 7, "percentage": {"numerator": 100}}}),
        );
        let proxy = Proxy::start(vec![stats, abort], one_route(json!({}))).await;
        for path in ["/a.B/M", "/a.B/Other", "/a.B/Third"] {
            let answer = proxy.get(path, "content-type: application/grpc\r\n").await;
            assert!(answer.contains("grpc-status: 7"), "{answer}");
        }
        proxy.get("/a.B/M", "").await;
        let metrics = proxy.plane.stats.exposition();
        for line in [
            "envoy_cluster_grpc_7{envoy_cluster_name=\"c\"} 2\n",
            "envoy_cluster_grpc_failure{envoy_cluster_name=\"c\"} 2\n",
            "envoy_cluster_grpc_7{envoy_cluster_name=\"c\",envoy_grpc_bridge_method=\"M\",envoy_grpc_bridge_service=\"a_B\"} 1\n",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
    }
}
