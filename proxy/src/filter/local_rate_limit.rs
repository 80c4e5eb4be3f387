//! Limits on requests that this proxy keeps by itself (Envoy, `envoy.filters.http.local_ratelimit`): token buckets for
//! all requests, and for those of a descriptor.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{After, HttpFilter, Settings, Stream};
use crate::access_log::ResponseFlags;
use crate::config::{Fraction, HeaderMutation};
use crate::forward::Reply;
use crate::http::message::ResponseHead;
use crate::route::{Action, Descriptor, RateLimit, RateLimited};
use crate::stats::{Counter, Shard, label};
use crate::token_bucket::{TokenBucket, TokenRate};

/// `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.
#[derive(Debug, PartialEq)]
pub struct LocalRateLimit {
    pub stat_prefix: String,
    pub status: u16,
    pub buckets: Buckets,
    /// Share of requests that are counted, and of those over the limit that are turned away.
    pub enabled: Fraction,
    pub enforced: Fraction,
    /// Added to the answer of a request that is turned away, and to one over the limit that is let through.
    pub when_limited: HeaderMutation,
    pub when_not_enforced: HeaderMutation,
    /// In place of the routes' own.
    pub rate_limits: Vec<RateLimit>,
    pub stage: u32,
    /// Whether each connection has buckets of its own.
    pub per_connection: bool,
    pub x_headers: bool,
    /// Whether requests of a descriptor take from the bucket for all, too.
    pub always_default: bool,
    /// Whether a gRPC client is told RESOURCE_EXHAUSTED and not UNAVAILABLE.
    pub resource_exhausted: bool,
}

#[derive(Debug, PartialEq)]
pub struct Buckets {
    /// `None`: what has no descriptor is not limited.
    default: Option<TokenBucket>,
    descriptors: Vec<(Vec<(String, String)>, TokenBucket)>,
}

/// `http_local_rate_limit.*`
#[derive(Debug)]
pub struct Stats {
    enabled: Arc<Counter>,
    enforced: Arc<Counter>,
    ok: Arc<Counter>,
    rate_limited: Arc<Counter>,
}

/// The bucket that was closest to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    limit: u32,
    remaining: u32,
    reset: Duration,
}

pub fn request(
    own: &Arc<LocalRateLimit>,
    filter: &HttpFilter,
    place: usize,
    stream: &mut Stream<'_>,
) -> Result<(), Box<Reply>> {
    let limit = match stream.settings(filter) {
        Some(Settings::LocalRateLimit(limit)) => limit,
        _ => own,
    };
    if !limit.enabled.hits(stream.worker().random()) {
        return Ok(());
    }
    let worker = stream.worker();
    let stats = worker.filter_stats.local_rate_limit(limit, &worker.shard);
    stats.enabled.add(1);
    let descriptors = limit.descriptors(stream);
    let (allowed, left) = match limit.per_connection {
        false => limit.buckets.take(&descriptors, limit.always_default),
        true => stream.connection.own_buckets(limit).take(&descriptors, limit.always_default),
    };
    if let Some(left) = left.filter(|_| limit.x_headers) {
        stream.keep(place, After::LocalRateLimit(left));
    }
    if allowed {
        stats.ok.add(1);
        return Ok(());
    }
    stats.rate_limited.add(1);
    if !limit.enforced.hits(worker.random()) {
        limit.when_not_enforced.apply_request(stream.head, &stream.exchange.info);
        return Ok(());
    }
    stats.enforced.add(1);
    let mut reply =
        Reply::new(limit.status, "local_rate_limited").flagged(ResponseFlags::RATE_LIMITED, "local_rate_limited");
    reply.grpc_status = Some(if limit.resource_exhausted { 8 } else { 14 });
    let mut head = ResponseHead::new(limit.status);
    limit.when_limited.apply_response(&mut head, stream.head, &stream.exchange.info);
    reply.headers = head.headers;
    Err(Box::new(reply))
}

pub fn response(place: usize, stream: &mut Stream<'_>, head: &mut ResponseHead) {
    let Some(After::LocalRateLimit(left)) = stream.kept(place) else { return };
    head.headers.set("x-ratelimit-limit", left.limit.to_string());
    head.headers.set("x-ratelimit-remaining", left.remaining.to_string());
    head.headers.set("x-ratelimit-reset", left.reset.as_secs_f64().ceil().to_string());
}

impl LocalRateLimit {
    /// What the request counts by, from the filter's own recipes or those of the route.
    fn descriptors(&self, stream: &Stream<'_>) -> Vec<Descriptor> {
        let Some(found) = stream.found.filter(|_| !self.buckets.descriptors.is_empty()) else { return Vec::new() };
        let request = RateLimited {
            head: stream.head,
            info: &stream.exchange.info,
            source_cluster: &stream.worker().own.canonical_service,
            destination_cluster: found.cluster(&stream.head.headers),
        };
        if !self.rate_limits.is_empty() {
            return self.rate_limits.iter().filter_map(|recipe| recipe.descriptor(&request)).collect();
        }
        let Action::Forward(action) = &found.route.action else { return Vec::new() };
        let all = action.include_vh_rate_limits || action.rate_limits.is_empty();
        let of_host = found.virtual_host.rate_limits.iter().filter(|_| all);
        let recipes = action.rate_limits.iter().chain(of_host).filter(|recipe| recipe.stage == self.stage);
        recipes.filter_map(|recipe| recipe.descriptor(&request)).collect()
    }
}

impl Buckets {
    pub fn new(default: Option<TokenRate>, descriptors: Vec<(Vec<(String, String)>, TokenRate)>) -> Self {
        let mut descriptors: Vec<_> =
            descriptors.into_iter().map(|(entries, rate)| (entries, TokenBucket::new(rate))).collect();
        // The slowest are asked first, so that what they refuse costs the others nothing.
        let rate =
            |bucket: &TokenBucket| bucket.rate.fill_interval.as_secs_f64() / f64::from(bucket.rate.tokens_per_fill);
        descriptors.sort_by(|(_, one), (_, other)| rate(other).total_cmp(&rate(one)));
        Self { default: default.map(TokenBucket::new), descriptors }
    }

    /// The same, full.
    pub fn fresh(&self) -> Self {
        let descriptors = self.descriptors.iter().map(|(entries, bucket)| (entries.clone(), bucket.rate)).collect();
        Self::new(self.default.as_ref().map(|bucket| bucket.rate), descriptors)
    }

    /// Takes a token of each bucket that a request counts for; false at the first that is empty.
    fn take(&self, descriptors: &[Descriptor], always_default: bool) -> (bool, Option<Left>) {
        let asked = |entries: &Vec<_>| descriptors.iter().any(|descriptor| descriptor.entries == *entries);
        let mut closest: Option<Left> = None;
        let mut matched = false;
        for (_, bucket) in self.descriptors.iter().filter(|(entries, _)| asked(entries)) {
            matched = true;
            if !bucket.take() {
                return (false, Some(Left::of(bucket)));
            }
            closest = Some(Left::of(bucket).closer(closest));
        }
        if let Some(bucket) = self.default.as_ref().filter(|_| !matched || always_default) {
            if !bucket.take() {
                return (false, Some(Left::of(bucket)));
            }
            closest = Some(Left::of(bucket).closer(closest));
        }
        (true, closest)
    }
}

impl Left {
    fn of(bucket: &TokenBucket) -> Self {
        let (remaining, reset) = bucket.left();
        Self { limit: bucket.rate.max_tokens, remaining, reset }
    }

    fn closer(self, other: Option<Self>) -> Self {
        other.filter(|other| other.remaining <= self.remaining).unwrap_or(self)
    }
}

impl Stats {
    pub fn new(prefix: &str, shard: &Shard) -> Self {
        let mut labels = String::new();
        label(&mut labels, "envoy_local_http_ratelimit_prefix", prefix);
        let counter = |name: &str| shard.counter(&format!("envoy_http_local_rate_limit_{name}"), &labels);
        Self {
            enabled: counter("enabled"),
            enforced: counter("enforced"),
            ok: counter("ok"),
            rate_limited: counter("rate_limited"),
        }
    }
}

/// The buckets of one connection, by the settings that they belong to, which are kept so that no other come to lie at
/// their address.
#[derive(Debug, Default)]
pub struct OwnBuckets(Vec<(Arc<LocalRateLimit>, Rc<Buckets>)>);

impl OwnBuckets {
    pub fn of(&mut self, limit: &Arc<LocalRateLimit>) -> Rc<Buckets> {
        if let Some((_, buckets)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, limit)) {
            return Rc::clone(buckets);
        }
        let buckets = Rc::new(limit.buckets.fresh());
        self.0.push((Arc::clone(limit), Rc::clone(&buckets)));
        buckets
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::test_kit::{Proxy, filter, one_route};

    fn limit(more: Value) -> Value {
        let mut config = json!({"stat_prefix": "s",
            "token_bucket": {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"},
            "filter_enabled": {"default_value": {"numerator": 100}},
            "filter_enforced": {"default_value": {"numerator": 100}}});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    fn local(config: Value) -> Value {
        filter("limit", "http.local_ratelimit.v3.LocalRateLimit", config)
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap_or_default()
    }

    #[tokio::test]
    async fn requests_over_the_limit_are_turned_away_and_told_what_it_is() {
        let config = limit(json!({"enable_x_ratelimit_headers": "DRAFT_VERSION_03",
            "response_headers_to_add": [{"header": {"key": "x-limited", "value": "yes"}}]}));
        let proxy = Proxy::start(vec![local(config)], one_route(json!({}))).await;
        let answers = [proxy.get("/", "").await, proxy.get("/", "").await, proxy.get("/", "").await];
        assert_eq!(answers.each_ref().map(|answer| status(answer)), ["200", "200", "429"]);
        let told =
            |answer: &str, header: &str| assert!(answer.contains(&format!("{header}\r\n")), "{header}: {answer}");
        for (answer, remaining, resets) in
            [(&answers[0], 1, 0..=0), (&answers[1], 0, 3500..=3600), (&answers[2], 0, 3500..=3600)]
        {
            told(answer, "x-ratelimit-limit: 2");
            told(answer, &format!("x-ratelimit-remaining: {remaining}"));
            let reset = answer.lines().find_map(|line| line.strip_prefix("x-ratelimit-reset: "));
            assert!(resets.contains(&reset.unwrap().parse().unwrap()), "{answer}");
        }
        told(&answers[2], "x-limited: yes");
        assert!(answers[2].ends_with("local_rate_limited") && !answers[0].contains("x-limited"));
        let grpc = proxy.get("/", "content-type: application/grpc\r\n").await;
        assert!(grpc.contains("grpc-status: 14"), "{grpc}");
        let metrics = proxy.plane.stats.exposition();
        for (name, count) in [("enabled", 4), ("ok", 2), ("rate_limited", 2), ("enforced", 2)] {
            let line =
                format!("envoy_http_local_rate_limit_{name}{{envoy_local_http_ratelimit_prefix=\"s\"}} {count}\n");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }

    #[tokio::test]
    async fn a_limit_that_is_not_enforced_marks_the_request() {
        let config = limit(json!({"filter_enforced": {"default_value": {"numerator": 0}},
            "request_headers_to_add_when_not_enforced": [{"header": {"key": "x-over", "value": "1"}}]}));
        let proxy = Proxy::start(vec![local(config)], one_route(json!({}))).await;
        for _ in 0..3 {
            assert_eq!(status(&proxy.get("/", "").await), "200");
        }
        let marked: Vec<_> = proxy.seen().iter().map(|head| head.contains("x-over: 1")).collect();
        assert_eq!(marked, [false, false, true]);
    }

    #[tokio::test]
    async fn a_filter_without_a_share_limits_nothing_and_a_route_has_a_limit_of_its_own() {
        let mut own = limit(json!({"stat_prefix": "own"}));
        own["@type"] = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit".into();
        let idle = json!({"stat_prefix": "s", "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"}});
        let proxy = Proxy::start(vec![local(idle.clone())], one_route(json!({}))).await;
        let free = [proxy.get("/", "").await, proxy.get("/", "").await];
        assert_eq!(free.each_ref().map(|answer| status(answer)), ["200", "200"]);
        let route = one_route(json!({"typed_per_filter_config": {"limit": own}}));
        let proxy = Proxy::start(vec![local(idle)], route).await;
        let limited = [proxy.get("/", "").await, proxy.get("/", "").await, proxy.get("/", "").await];
        assert_eq!(limited.each_ref().map(|answer| status(answer)), ["200", "200", "429"]);
    }

    #[tokio::test]
    async fn a_descriptor_has_a_bucket_of_its_own() {
        let bucket = json!({"max_tokens": 1, "fill_interval": "3600s"});
        let config = limit(json!({
            "token_bucket": {"max_tokens": 100, "tokens_per_fill": 100, "fill_interval": "3600s"},
            "descriptors": [{"entries": [{"key": "user", "value": "a"}], "token_bucket": bucket}]}));
        let mut host = one_route(json!({}));
        host["rate_limits"] =
            json!([{"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]}]);
        let proxy = Proxy::start(vec![local(config)], host).await;
        for (user, expected) in [("a", "200"), ("a", "429"), ("b", "200"), ("b", "200")] {
            assert_eq!(status(&proxy.get("/", &format!("x-user: {user}\r\n")).await), expected, "{user}");
        }
    }

    #[tokio::test]
    async fn a_connection_may_have_a_bucket_of_its_own() {
        let config = limit(json!({"local_rate_limit_per_downstream_connection": true,
            "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"}}));
        let proxy = Proxy::start(vec![local(config)], one_route(json!({}))).await;
        for _ in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
            let twice = "GET / HTTP/1.1\r\nhost: h\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
            stream.write_all(twice.as_bytes()).await.unwrap();
            let mut answers = String::new();
            stream.read_to_string(&mut answers).await.unwrap();
            let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
            assert_eq!(statuses, ["200", "429"]);
        }
    }
}
