//! Asks a service whether a request is within its limits (Envoy `envoy.filters.http.ratelimit`). The limits are
//! described by the route and its virtual host, or by the filter's own settings.

mod answer;

use api::envoy::extensions::common::ratelimit::v3 as common;
use api::envoy::service::ratelimit::v3 as wire;
use common::rate_limit_descriptor::{Entry, RateLimitOverride};

pub use answer::Told;

use super::grpc::GrpcService;
use super::{After, HttpFilter, Settings, Stream};
use crate::access_log::{LogContext, ResponseFlags};
use crate::config::{Fraction, HeaderAdd, HeaderMutation};
use crate::forward::Reply;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead};
use crate::route::{Action, Descriptor, Found, RateLimit, RateLimited};

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// `envoy.extensions.filters.http.ratelimit.v3.RateLimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitFilter {
    pub service: GrpcService,
    pub domain: String,
    pub stage: u32,
    pub origin: Origin,
    /// Share of requests that a failing service turns away.
    pub failure_deny: Fraction,
    pub enabled: Fraction,
    pub enforced: Fraction,
    /// Whether a gRPC client is told RESOURCE_EXHAUSTED.
    pub resource_exhausted: bool,
    /// `x-ratelimit-*`
    pub draft_headers: bool,
    /// `x-envoy-ratelimited`
    pub limited_header: bool,
    pub retry_after: bool,
    pub status: u16,
    pub status_on_error: u16,
    pub response_headers: Vec<HeaderAdd>,
    /// In place of those of routes.
    pub limits: Option<Vec<RateLimit>>,
    pub namespace: String,
}

/// Requests that the filter looks at, by `x-envoy-internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Both,
    Internal,
    External,
}

/// `envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct PerRoute {
    pub of_host: OfHost,
    pub limits: Option<Vec<RateLimit>>,
    pub domain: Option<String>,
}

/// When the virtual host's limits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfHost {
    UnlessRoute,
    Always,
    Never,
}

pub async fn request(
    own: &RateLimitFilter,
    filter: &HttpFilter,
    place: usize,
    stream: &mut Stream<'_>,
) -> Result<(), Box<Reply>> {
    let settings = match stream.settings(filter) {
        Some(Settings::RateLimit(settings)) => Some(&**settings),
        _ => None,
    };
    if !own.origin.covers(stream.head) || !own.enabled.hits(stream.worker().random()) {
        return Ok(());
    }
    let descriptors = own.descriptors(settings, stream);
    if descriptors.is_empty() {
        return Ok(());
    }
    let domain = settings.and_then(|settings| settings.domain.as_ref()).unwrap_or(&own.domain);
    let request = wire::RateLimitRequest {
        domain: domain.clone(),
        descriptors: descriptors.into_iter().map(to_wire).collect(),
        hits_addend: 0,
    };
    Box::pin(own.ask(place, request, stream)).await
}

impl Origin {
    fn covers(self, head: &RequestHead) -> bool {
        let internal = head.headers.get("x-envoy-internal") == Some(b"true");
        match self {
            Self::Both => true,
            Self::Internal => internal,
            Self::External => !internal,
        }
    }
}

impl RateLimitFilter {
    /// What the service is asked about. A request that goes to no cluster is not limited.
    fn descriptors(&self, settings: Option<&PerRoute>, stream: &Stream<'_>) -> Vec<Descriptor> {
        let Some(found) = stream.found else { return Vec::new() };
        let Action::Forward(action) = &found.route.action else { return Vec::new() };
        let request = RateLimited {
            head: stream.head,
            info: &stream.exchange.info,
            source_cluster: &stream.worker().own.canonical_service,
            destination_cluster: found.cluster(&stream.head.headers),
        };
        let own = settings.and_then(|settings| settings.limits.as_ref()).or(self.limits.as_ref());
        let limits: Vec<&RateLimit> = match own {
            Some(own) => own.iter().collect(),
            None => {
                let route = &action.rate_limits;
                let host = of_host(settings, &found, action.include_vh_rate_limits);
                let all = route.iter().chain(host.then_some(&found.virtual_host.rate_limits).into_iter().flatten());
                all.filter(|limit| limit.stage == self.stage).collect()
            }
        };
        limits.into_iter().filter_map(|limit| limit.descriptor(&request)).collect()
    }

    async fn ask(
        &self,
        place: usize,
        request: wire::RateLimitRequest,
        stream: &mut Stream<'_>,
    ) -> Result<(), Box<Reply>> {
        let context = LogContext::of_request(&stream.exchange.info, stream.head);
        let asked = self.service.call(stream.worker(), METHOD, &request, &context).await;
        let answer: wire::RateLimitResponse = match asked {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(cluster = %self.service.cluster, %error, "no answer from the rate limit service");
                return self.failed(stream);
            }
        };
        let limited = match wire::rate_limit_response::Code::try_from(answer.overall_code) {
            Ok(wire::rate_limit_response::Code::Ok) => false,
            Ok(wire::rate_limit_response::Code::OverLimit) => true,
            _ => return self.failed(stream),
        };
        let mut told = answer::told(&answer.response_headers_to_add);
        if self.draft_headers {
            answer::draft(&answer.statuses, &mut told);
        }
        if let Some(fields) = &answer.dynamic_metadata {
            stream.metadata().merge(&self.namespace, fields.clone());
        }
        if limited && self.enforced.hits(stream.worker().random()) {
            return Err(Box::new(self.limited(&answer, told, stream)));
        }
        for (name, value) in answer::told(&answer.request_headers_to_add) {
            let _ = stream.head.headers.try_append(name.as_bytes(), &value);
        }
        if !told.is_empty() {
            stream.keep(place, After::RateLimit(told));
        }
        Ok(())
    }

    fn failed(&self, stream: &Stream<'_>) -> Result<(), Box<Reply>> {
        if !self.failure_deny.hits(stream.worker().random()) {
            return Ok(());
        }
        let reply = Reply::new(self.status_on_error, "");
        Err(Box::new(reply.flagged(ResponseFlags::RATELIMIT_SERVICE_ERROR, "rate_limiter_error")))
    }

    fn limited(&self, answer: &wire::RateLimitResponse, told: answer::Told, stream: &Stream<'_>) -> Reply {
        let mut reply = Reply::new(self.status, answer.raw_body.clone());
        if self.limited_header {
            reply.headers.set("x-envoy-ratelimited", "true");
        }
        let mut head = ResponseHead::new(self.status);
        let mutation = HeaderMutation { response_add: self.response_headers.clone(), ..HeaderMutation::default() };
        mutation.apply_response(&mut head, stream.head, &stream.exchange.info);
        for (name, value) in head.headers.iter() {
            let _ = reply.headers.try_append(name, value);
        }
        add(&told, &mut reply.headers);
        if self.retry_after
            && self.status == 429
            && !reply.headers.contains("retry-after")
            && let Some(seconds) = answer::retry_after(&answer.statuses)
        {
            reply.headers.append("retry-after", seconds.to_string());
        }
        reply.grpc_status = self.resource_exhausted.then_some(8);
        reply.flagged(ResponseFlags::RATE_LIMITED, "request_rate_limited")
    }
}

fn of_host(settings: Option<&PerRoute>, found: &Found<'_>, included: bool) -> bool {
    let Action::Forward(action) = &found.route.action else { return false };
    match settings.map_or(OfHost::UnlessRoute, |settings| settings.of_host) {
        _ if included => true,
        OfHost::Always => true,
        OfHost::Never => false,
        OfHost::UnlessRoute => action.rate_limits.is_empty(),
    }
}

fn to_wire(descriptor: Descriptor) -> common::RateLimitDescriptor {
    let entry = |(key, value)| Entry { key, value };
    let limit =
        |limit: crate::route::Limit| RateLimitOverride { requests_per_unit: limit.requests_per_unit, unit: limit.unit };
    common::RateLimitDescriptor {
        entries: descriptor.entries.into_iter().map(entry).collect(),
        limit: descriptor.limit.map(limit),
        hits_addend: descriptor.hits,
        is_negative_hits: descriptor.refund,
    }
}

/// Adds to the answer what the service gave for it.
pub fn response(place: usize, stream: &mut Stream<'_>, head: &mut ResponseHead) {
    if let Some(After::RateLimit(told)) = stream.kept(place) {
        add(&told, &mut head.headers);
    }
}

fn add(told: &answer::Told, headers: &mut Headers) {
    for (name, value) in told {
        let _ = headers.try_append(name.as_bytes(), value);
    }
}

#[cfg(test)]
mod tests;
