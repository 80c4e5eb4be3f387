//! Fault injection (Envoy `envoy.filters.http.fault`): a delay, an answer in place of the upstream's, an answer that
//! comes slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{After, FilterStats, HttpFilter, Settings, Stream};
use crate::access_log::ResponseFlags;
use crate::config::Fraction;
use crate::forward::Reply;
use crate::http::Response;
use crate::http::body::Body;
use crate::http::headers::Headers;
use crate::route::HeaderMatch;
use crate::stats::{Counter, Gauge, Shard, label};

/// `envoy.extensions.filters.http.fault.v3.HTTPFault`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    pub delay: Option<(Delay, Share)>,
    pub abort: Option<(Abort, Share)>,
    /// What is said in place of an answer.
    pub abort_body: String,
    pub response_rate: Option<(Rate, Share)>,
    /// Only of requests to this cluster; empty is any.
    pub cluster: String,
    pub headers: Vec<HeaderMatch>,
    /// Only of requests from these nodes, by `x-envoy-downstream-service-node`; empty is any.
    pub nodes: Vec<String>,
    pub most_active: Option<u64>,
    pub active: Active,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    Fixed(Duration),
    /// As `x-envoy-fault-delay-request` says, in milliseconds.
    Header,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    Http(u16),
    Grpc(u32),
    /// As `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request` says.
    Header,
}

/// KiB in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Fixed(u64),
    /// As `x-envoy-fault-throughput-response` says.
    Header,
}

/// A share of requests, which a header may lower where headers control the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub most: Fraction,
    /// Millionths that one of the header's units stands for.
    pub unit: u32,
}

/// Faults under way, of all workers. How many there are is not part of the settings.
#[derive(Clone, Debug, Default)]
pub struct Active(Arc<AtomicU64>);

impl PartialEq for Active {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A fault under way.
#[derive(Debug)]
pub struct Held {
    active: Active,
    gauge: Option<Arc<Gauge>>,
    /// KiB in a second that the answer is held to.
    rate: Option<u64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.active.0.fetch_sub(1, Relaxed);
        if let Some(gauge) = &self.gauge {
            gauge.down();
        }
    }
}

/// `http.<stat_prefix>.fault.*`
#[derive(Debug)]
pub struct Stats {
    aborts: Arc<Counter>,
    delays: Arc<Counter>,
    rates: Arc<Counter>,
    overflow: Arc<Counter>,
    active: Arc<Gauge>,
}

/// Holds the request up if it is to be delayed; the reply if it is to be aborted.
pub async fn request(
    own: &Arc<Fault>,
    filter: &HttpFilter,
    place: usize,
    stream: &mut Stream<'_>,
) -> Result<(), Box<Reply>> {
    let fault = match stream.settings(filter) {
        Some(Settings::Fault(fault)) => fault,
        _ => own,
    };
    if fault.is_idle() || !fault.concerns(stream) {
        return Ok(());
    }
    let stats = match stream.connection.filter_stats(place) {
        Some(FilterStats::Fault(stats)) => Some(stats),
        _ => None,
    };
    if fault.most_active.is_some_and(|most| own.active.0.load(Relaxed) >= most) {
        count(stats, |stats| &stats.overflow);
        return Ok(());
    }
    let mut held = Held { active: own.active.clone(), gauge: stats.map(|stats| Arc::clone(&stats.active)), rate: None };
    held.active.0.fetch_add(1, Relaxed);
    if let Some(gauge) = &held.gauge {
        gauge.up();
    }
    held.rate = fault.rate(stream);
    if held.rate.is_some() {
        count(stats, |stats| &stats.rates);
    }
    if let Some(delay) = fault.delay(stream) {
        stream.info().flags |= ResponseFlags::DELAY_INJECTED;
        count(stats, |stats| &stats.delays);
        Box::pin(tokio::time::sleep(delay)).await;
    }
    let aborted = fault.abort(stream);
    stream.keep(place, After::Fault(held));
    let Some(abort) = aborted else { return Ok(()) };
    count(stats, |stats| &stats.aborts);
    let body = if fault.abort_body.is_empty() { "fault filter abort" } else { &fault.abort_body };
    let mut reply = Reply::new(200, body.to_owned()).flagged(ResponseFlags::FAULT_INJECTED, "fault_filter_abort");
    match abort {
        Ended::Http(status) => reply.status = status,
        Ended::Grpc(status) => reply.grpc_status = Some(status),
    }
    Err(Box::new(reply))
}

/// Slows the answer down.
pub fn response(place: usize, stream: &mut Stream<'_>, response: &mut Response) {
    let Some(After::Fault(held)) = stream.kept(place) else { return };
    if let Some(rate) = held.rate {
        let body = std::mem::replace(&mut response.body, Body::Empty);
        response.body = body.paced(rate.saturating_mul(1024), Box::new(held));
    }
}

fn count(stats: Option<&Stats>, which: impl Fn(&Stats) -> &Arc<Counter>) {
    if let Some(stats) = stats {
        which(stats).add(1);
    }
}

enum Ended {
    Http(u16),
    Grpc(u32),
}

impl Fault {
    fn is_idle(&self) -> bool {
        self.delay.is_none() && self.abort.is_none() && self.response_rate.is_none()
    }

    fn concerns(&self, stream: &Stream<'_>) -> bool {
        let headers = &stream.head.headers;
        let cluster = || stream.found.map_or("", |found| found.cluster(headers));
        let node = || headers.get_str("x-envoy-downstream-service-node").unwrap_or_default();
        (self.cluster.is_empty() || self.cluster == cluster())
            && (self.nodes.is_empty() || self.nodes.iter().any(|known| known == node()))
            && self.headers.iter().all(|rule| rule.matches(stream.head))
    }

    fn delay(&self, stream: &Stream<'_>) -> Option<Duration> {
        let (delay, share) = self.delay?;
        let headers = &stream.head.headers;
        let (delay, percentage) = match delay {
            Delay::Fixed(delay) => (delay, None),
            Delay::Header => (
                Duration::from_millis(number(headers, "x-envoy-fault-delay-request")?),
                Some("x-envoy-fault-delay-request-percentage"),
            ),
        };
        share.hits(headers, percentage, stream.worker().random()).then_some(delay)
    }

    fn abort(&self, stream: &Stream<'_>) -> Option<Ended> {
        let (abort, share) = self.abort?;
        let headers = &stream.head.headers;
        let (abort, percentage) = match abort {
            Abort::Http(status) => (Ended::Http(status), None),
            Abort::Grpc(status) => (Ended::Grpc(status), None),
            Abort::Header => {
                let http = number(headers, "x-envoy-fault-abort-request").filter(|status| (200..600).contains(status));
                let grpc = || number(headers, "x-envoy-fault-abort-grpc-request");
                let ended = match http {
                    Some(status) => Ended::Http(u16::try_from(status).ok()?),
                    None => Ended::Grpc(u32::try_from(grpc()?).ok()?),
                };
                (ended, Some("x-envoy-fault-abort-request-percentage"))
            }
        };
        share.hits(headers, percentage, stream.worker().random()).then_some(abort)
    }

    fn rate(&self, stream: &Stream<'_>) -> Option<u64> {
        let (rate, share) = self.response_rate?;
        let headers = &stream.head.headers;
        let (rate, percentage) = match rate {
            Rate::Fixed(rate) => (rate, None),
            Rate::Header => (
                number(headers, "x-envoy-fault-throughput-response").filter(|rate| *rate > 0)?,
                Some("x-envoy-fault-throughput-response-percentage"),
            ),
        };
        share.hits(headers, percentage, stream.worker().random()).then_some(rate)
    }
}

fn number(headers: &Headers, name: &str) -> Option<u64> {
    headers.get_str(name)?.parse().ok()
}

impl Share {
    fn hits(self, headers: &Headers, header: Option<&str>, random: u64) -> bool {
        let asked = header.and_then(|name| number(headers, name));
        let asked = asked.map(|asked| u32::try_from(asked).unwrap_or(u32::MAX).saturating_mul(self.unit));
        Fraction(asked.map_or(self.most.0, |asked| asked.min(self.most.0))).hits(random)
    }
}

impl Stats {
    /// `prefix` is the connection manager's.
    pub fn new(prefix: &str, shard: &Shard) -> Self {
        let mut labels = String::new();
        label(&mut labels, "envoy_http_conn_manager_prefix", prefix);
        let counter = |name: &str| shard.counter(&format!("envoy_http_fault_{name}"), &labels);
        Self {
            aborts: counter("aborts_injected"),
            delays: counter("delays_injected"),
            rates: counter("response_rl_injected"),
            overflow: counter("faults_overflow"),
            active: shard.gauge("envoy_http_fault_active_faults", &labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::test_kit::{Proxy, filter, one_route};

    fn fault(config: Value) -> Value {
        filter("f", "http.fault.v3.HTTPFault", config)
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap_or_default()
    }

    #[tokio::test]
    async fn headers_ask_for_faults_within_what_is_configured() {
        let always = json!({"numerator": 100});
        let config = json!({"abort": {"header_abort": {}, "percentage": always},
            "delay": {"header_delay": {}, "percentage": always}});
        let proxy = Proxy::start(vec![fault(config)], one_route(json!({}))).await;
        for (headers, expected) in [
            ("", "200"),
            ("x-envoy-fault-abort-request: 418\r\n", "418"),
            ("x-envoy-fault-abort-request: 418\r\nx-envoy-fault-abort-request-percentage: 0\r\n", "200"),
            ("x-envoy-fault-abort-request: 999\r\n", "200"),
            ("x-envoy-fault-delay-request: 1\r\n", "200"),
        ] {
            assert_eq!(status(&proxy.get("/", headers).await), expected, "{headers}");
        }
        let grpc = "content-type: application/grpc\r\nx-envoy-fault-abort-grpc-request: 5\r\n";
        let answer = proxy.get("/", grpc).await;
        assert!(answer.contains("grpc-status: 5"), "{answer}");
        let metrics = proxy.plane.stats.exposition();
        for (name, count) in [("aborts_injected", 2), ("delays_injected", 1)] {
            let line = format!("envoy_http_fault_{name}{{envoy_http_conn_manager_prefix=\"x\"}} {count}\n");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }

    #[tokio::test]
    async fn faults_keep_to_their_cluster_headers_and_nodes() {
        let abort = json!({"http_status": 418, "percentage": {"numerator": 100}, "response_body": "teapot"});
        for (condition, headers, expected) in [
            (json!({"upstream_cluster": "c"}), "", "418"),
            (json!({"upstream_cluster": "other"}), "", "200"),
            (json!({"headers": [{"name": "x-go", "present_match": true}]}), "x-go: 1\r\n", "418"),
            (json!({"headers": [{"name": "x-go", "present_match": true}]}), "", "200"),
            (json!({"downstream_nodes": ["n"]}), "x-envoy-downstream-service-node: n\r\n", "418"),
            (json!({"downstream_nodes": ["n"]}), "x-envoy-downstream-service-node: m\r\n", "200"),
            (json!({"max_active_faults": 0}), "", "200"),
        ] {
            let mut config = condition.clone();
            config["abort"] = abort.clone();
            let proxy = Proxy::start(vec![fault(config)], one_route(json!({}))).await;
            let answer = proxy.get("/", headers).await;
            assert_eq!(status(&answer), expected, "{condition} {headers}");
            assert_eq!(answer.ends_with("teapot"), expected == "418");
        }
    }

    #[tokio::test]
    async fn as_many_faults_as_may_be_are_under_way_at_a_time() {
        let config = json!({"max_active_faults": 1, "delay": {"header_delay": {}, "percentage": {"numerator": 100}}});
        let proxy = Proxy::start(vec![fault(config)], one_route(json!({}))).await;
        let mut held = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        held.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nx-envoy-fault-delay-request: 3600000\r\n\r\n").await.unwrap();
        let active = "envoy_http_fault_active_faults{envoy_http_conn_manager_prefix=\"x\"} 1\n";
        while !proxy.plane.stats.exposition().contains(active) {
            tokio::task::yield_now().await;
        }
        assert_eq!(status(&proxy.get("/", "x-envoy-fault-delay-request: 3600000\r\n").await), "200");
        let metrics = proxy.plane.stats.exposition();
        assert!(metrics.contains("envoy_http_fault_faults_overflow{envoy_http_conn_manager_prefix=\"x\"} 1\n"));
    }

    #[tokio::test]
    async fn an_answer_that_comes_slowly_is_whole() {
        let config =
            json!({"response_rate_limit": {"fixed_limit": {"limit_kbps": 1}, "percentage": {"numerator": 100}}});
        let body = "x".repeat(130);
        let mut host = one_route(json!({"direct_response": {"status": 200, "body": {"inline_string": body}}}));
        host["routes"][0].as_object_mut().unwrap().remove("route");
        let proxy = Proxy::start(vec![fault(config)], host).await;
        let mut stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&body), "{answer}");
        let metrics = proxy.plane.stats.exposition();
        assert!(metrics.contains("envoy_http_fault_response_rl_injected{envoy_http_conn_manager_prefix=\"x\"} 1\n"));
    }
}
