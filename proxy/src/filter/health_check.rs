//! Health checks of this proxy by others (Envoy, `envoy.filters.http.health_check`): answered here, by what the proxy
//! knows of itself and of its clusters, or let through, with an answer that is good for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{After, FilterStats, Stream};
use crate::access_log::ResponseFlags;
use crate::forward::Reply;
use crate::http::message::ResponseHead;
use crate::route::HeaderMatch;
use crate::stats::{Counter, Shard, label};
use crate::upstream::Cluster;

/// `envoy.extensions.filters.http.health_check.v3.HealthCheck`.
#[derive(Debug, PartialEq)]
pub struct HealthCheck {
    /// A request that all of these match is a health check.
    pub headers: Vec<HeaderMatch>,
    pub mode: Mode,
}

#[derive(Debug, PartialEq)]
pub enum Mode {
    /// Answered here; each cluster needs so many healthy hosts, in per cent.
    Here(Vec<(String, f64)>),
    /// Answered by the upstream.
    Through(Option<Cache>),
}

/// The status of the last health check that was let through.
#[derive(Debug)]
pub struct Cache {
    pub time: Duration,
    made: Instant,
    /// The status, and milliseconds since it was made until which it is good, in one number.
    last: AtomicU64,
}

/// What is kept is not part of the settings.
impl PartialEq for Cache {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

/// `http.<stat_prefix>.health_check.*`
#[derive(Debug)]
pub struct Stats {
    request_total: Arc<Counter>,
    ok: Arc<Counter>,
    failed: Arc<Counter>,
    cached: Arc<Counter>,
    cluster_not_found: Arc<Counter>,
    cluster_empty: Arc<Counter>,
    cluster_unhealthy: Arc<Counter>,
}

const HEADER: &str = "x-envoy-upstream-healthchecked-cluster";

pub async fn request(own: &HealthCheck, place: usize, stream: &mut Stream<'_>) -> Result<(), Box<Reply>> {
    if !own.headers.iter().all(|rule| rule.matches(stream.head)) {
        return Ok(());
    }
    stream.info().health_check = true;
    let stats = match stream.connection.filter_stats(place) {
        Some(FilterStats::HealthCheck(stats)) => Some(stats),
        _ => None,
    };
    count(stats, |stats| &stats.request_total);
    let verdict = match &own.mode {
        _ if is_failing(stream) => (503, "health_check_failed"),
        Mode::Here(clusters) => Box::pin(judge(clusters, stats, stream)).await,
        Mode::Through(cache) => match cache.as_ref().and_then(Cache::status) {
            Some(status) => {
                count(stats, |stats| &stats.cached);
                (status, "health_check_cached")
            }
            None => {
                stream.keep(place, After::HealthCheck);
                return Ok(());
            }
        },
    };
    let (status, details) = verdict;
    count(stats, |stats| if status == 200 { &stats.ok } else { &stats.failed });
    let flags = if status == 200 { ResponseFlags::NONE } else { ResponseFlags::FAILED_LOCAL_HEALTH_CHECK };
    let mut reply = Reply::new(status, "").flagged(flags, details);
    reply.headers.set(HEADER, &stream.worker().own.canonical_service);
    Err(Box::new(reply))
}

pub fn response(own: &HealthCheck, place: usize, stream: &mut Stream<'_>, head: &mut ResponseHead) {
    if is_failing(stream) {
        head.headers.set("x-envoy-immediate-health-check-fail", "true");
    }
    let Some(After::HealthCheck) = stream.kept(place) else { return };
    if let Mode::Through(Some(cache)) = &own.mode {
        cache.store(head.status);
    }
    head.headers.set(HEADER, &stream.worker().own.canonical_service);
}

/// Whether the proxy was told to fail its health checks (`/healthcheck/fail`).
fn is_failing(stream: &Stream<'_>) -> bool {
    stream.worker().failing.load(Relaxed)
}

fn count(stats: Option<&Stats>, which: impl Fn(&Stats) -> &Arc<Counter>) {
    if let Some(stats) = stats {
        which(stats).add(1);
    }
}

async fn judge(clusters: &[(String, f64)], stats: Option<&Stats>, stream: &Stream<'_>) -> (u16, &'static str) {
    let worker = stream.worker();
    let snapshot = worker.snapshot();
    for (name, least) in clusters {
        let Some(cluster) = worker.clusters.get(name, &snapshot) else {
            count(stats, |stats| &stats.cluster_not_found);
            return (503, "health_check_failed_cluster_not_found");
        };
        cluster.ready().await;
        match healthy_share(&cluster) {
            None if *least == 0.0 => {}
            None => {
                count(stats, |stats| &stats.cluster_empty);
                return (503, "health_check_failed_cluster_empty");
            }
            Some(share) if share < *least => {
                count(stats, |stats| &stats.cluster_unhealthy);
                return (503, "health_check_failed_cluster_unhealthy");
            }
            Some(_) => {}
        }
    }
    (200, if clusters.is_empty() { "health_check_ok" } else { "health_check_ok_cluster_healthy" })
}

/// Healthy hosts in per cent; `None` if there is no host.
fn healthy_share(cluster: &Cluster) -> Option<f64> {
    let (all, healthy) = cluster.membership();
    (all > 0).then(|| healthy as f64 * 100.0 / all as f64)
}

impl Cache {
    pub fn new(time: Duration) -> Self {
        Self { time, made: Instant::now(), last: AtomicU64::new(0) }
    }

    fn status(&self) -> Option<u16> {
        self.status_at(self.made.elapsed())
    }

    fn store(&self, status: u16) {
        self.store_at(status, self.made.elapsed());
    }

    fn status_at(&self, now: Duration) -> Option<u16> {
        let last = self.last.load(Relaxed);
        let (until, status) = (Duration::from_millis(last >> 16), last as u16);
        (status != 0 && now < until).then_some(status)
    }

    fn store_at(&self, status: u16, now: Duration) {
        let until = u64::try_from((now + self.time).as_millis()).unwrap_or(u64::MAX);
        self.last.store(until << 16 | u64::from(status), Relaxed);
    }
}

impl Stats {
    /// `prefix` is the connection manager's.
    pub fn new(prefix: &str, shard: &Shard) -> Self {
        let mut labels = String::new();
        label(&mut labels, "envoy_http_conn_manager_prefix", prefix);
        let counter = |name: &str| shard.counter(&format!("envoy_http_health_check_{name}"), &labels);
        Self {
            request_total: counter("request_total"),
            ok: counter("ok"),
            failed: counter("failed"),
            cached: counter("cached_response"),
            cluster_not_found: counter("failed_cluster_not_found"),
            cluster_empty: counter("failed_cluster_empty"),
            cluster_unhealthy: counter("failed_cluster_unhealthy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_kit::{Proxy, filter, one_route};
    use super::*;

    fn check(mut config: Value) -> Value {
        config["headers"] = json!([{"name": ":path", "string_match": {"exact": "/healthz"}}]);
        filter("hc", "http.health_check.v3.HealthCheck", config)
    }

    #[tokio::test]
    async fn checks_are_answered_here_by_the_health_of_clusters() {
        for (clusters, expected) in [
            (json!({}), "HTTP/1.1 200 "),
            (json!({"c": {"value": 50}}), "HTTP/1.1 200 "),
            (json!({"none": {"value": 50}}), "HTTP/1.1 503 "),
        ] {
            let config = json!({"pass_through_mode": false, "cluster_min_healthy_percentages": clusters});
            let proxy = Proxy::start(vec![check(config)], one_route(json!({}))).await;
            let answer = proxy.get("/healthz", "").await;
            assert!(answer.starts_with(expected) && answer.contains(HEADER), "{clusters}: {answer}");
            assert!(proxy.seen().is_empty());
            assert!(proxy.get("/other", "").await.ends_with("ok"));
            let metrics = proxy.plane.stats.exposition();
            assert!(
                metrics.contains("envoy_http_health_check_request_total{envoy_http_conn_manager_prefix=\"x\"} 1\n")
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_was_let_through_is_good_for_a_while() {
        let config = json!({"pass_through_mode": true, "cache_time": "3600s"});
        let proxy = Proxy::start(vec![check(config)], one_route(json!({}))).await;
        for _ in 0..2 {
            let answer = proxy.get("/healthz", "").await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(HEADER), "{answer}");
        }
        assert_eq!(proxy.seen().len(), 1);
    }

    #[tokio::test]
    async fn a_proxy_that_was_told_to_fail_says_so_in_every_answer() {
        let proxy = Proxy::start(vec![check(json!({"pass_through_mode": true}))], one_route(json!({}))).await;
        proxy.plane.failing.store(true, Relaxed);
        let answer = proxy.get("/healthz", "").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(proxy.seen().is_empty());
        let other = proxy.get("/other", "").await;
        assert!(other.ends_with("ok") && other.contains("x-envoy-immediate-health-check-fail: true\r\n"), "{other}");
    }

    #[test]
    fn a_status_is_forgotten_when_its_time_is_over() {
        let second = Duration::from_secs(1);
        let cache = Cache::new(second);
        assert_eq!(cache.status_at(second), None);
        cache.store_at(503, second);
        assert_eq!((cache.status_at(second * 3 / 2), cache.status_at(second * 2)), (Some(503), None));
    }
}
