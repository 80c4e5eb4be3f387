//! HTTP filters: what a chain does with a request before the router, and with the answer after it. Each filter is a
//! file here (its settings, what it does, its tests), listed in one closed enum; `config/convert/http_filter/` makes
//! the settings from the wire.
//!
//! How a filter takes part:
//!
//! - [`request`] calls the filters in the order of the configuration with the [`Stream`]: the head and the body (which
//!   it may change, or look at with [`Stream::hold_body`]), what is known of the request (`stream.exchange.info`, with
//!   its dynamic metadata), the route that was found, or none: filters run where no route matches too. A filter lets
//!   the request go on with `Ok(())` or answers it with `Err(Box<Reply>)`. One that has to wait does so in a future of
//!   its own that it boxes (`Box::pin(…).await`), so that requests which do not wait carry nothing of it.
//! - A filter that changes what routes match calls [`Stream::clear_route`]: the route is found anew.
//! - Settings of the route, of its weighted cluster, of the virtual host or the table are looked up by the filter's
//!   *name* in the chain: [`Stream::settings`] gives those of the most specific level, [`Stream::all_settings`] those
//!   of every level. Whether a filter is disabled is decided here, by the first route that was found.
//! - [`response`] goes through the same filters in reverse, whoever answered. What the filter keeps for then is an
//!   [`After`], left with [`Stream::keep`] and given back with [`Stream::kept`].
//! - What a filter counts is made once per worker and chain: a variant of [`FilterStats`], which
//!   `Connection::filter_stats` gives by the filter's place.
//! - [`call`] sends a request of the filter's own to a cluster.
//!
//! To add a filter: its file, a variant of [`Filter`] (and of [`Settings`] if routes may have settings of it, and of
//! [`After`] if it keeps something), a line in [`request`], one in [`response`] if it acts there, and its conversion.

pub mod call;
pub mod cors;
pub mod dynamic_forward_proxy;
pub mod ext_authz;
pub mod fault;
pub mod grpc;
pub mod grpc_stats;
pub mod header_mutation;
pub mod health_check;
pub mod jwt_authn;
pub mod local_rate_limit;
mod metadata;
mod overrides;
pub mod ratelimit;
pub mod rbac;
mod stats;
mod stream;

pub use metadata::DynamicMetadata;
pub use overrides::{Override, Overrides};
pub use stats::{FilterStats, StatsCache};
pub use stream::{Stream, failed_body};

use std::rc::Rc;
use std::sync::Arc;

use crate::forward::Reply;
use crate::http::Response;

/// An entry of `http_filters`. The router is always last and is not listed.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpFilter {
    /// Its name in the chain, by which routes have settings for it.
    pub name: String,
    /// Whether it runs only where a route enables it.
    pub disabled: bool,
    pub filter: Filter,
}

/// The filters there are.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// `envoy.filters.http.cors`; its policy stands in the route.
    Cors,
    /// `envoy.filters.http.dynamic_forward_proxy`
    DynamicForwardProxy(Arc<dynamic_forward_proxy::LookUp>),
    /// `envoy.filters.http.ext_authz`
    ExtAuthz(Arc<ext_authz::ExtAuthz>),
    /// `envoy.filters.http.fault`
    Fault(Arc<fault::Fault>),
    /// `envoy.filters.http.grpc_stats`
    GrpcStats(Arc<grpc_stats::GrpcStats>),
    /// `envoy.filters.http.header_mutation`
    HeaderMutation(Arc<header_mutation::Mutator>),
    /// `envoy.filters.http.health_check`
    HealthCheck(Arc<health_check::HealthCheck>),
    /// `envoy.filters.http.jwt_authn`
    JwtAuthn(Arc<jwt_authn::JwtAuthn>),
    /// `envoy.filters.http.local_ratelimit`
    LocalRateLimit(Arc<local_rate_limit::LocalRateLimit>),
    /// `envoy.filters.http.ratelimit`
    RateLimit(Arc<ratelimit::RateLimitFilter>),
    /// `envoy.filters.http.rbac`
    Rbac(Arc<rbac::Rbac>),
}

/// What a route, virtual host, weighted cluster or table sets for a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    Cors(Arc<cors::CorsPolicy>),
    DynamicForwardProxy(Arc<dynamic_forward_proxy::HostRewrite>),
    Fault(Arc<fault::Fault>),
    HeaderMutation(Arc<header_mutation::Mutations>),
    ExtAuthz(ext_authz::PerRoute),
    JwtAuthn(jwt_authn::PerRoute),
    LocalRateLimit(Arc<local_rate_limit::LocalRateLimit>),
    RateLimit(Arc<ratelimit::PerRoute>),
    /// `None`: nothing is enforced.
    Rbac(Option<Arc<rbac::Rbac>>),
}

/// What a filter keeps of a request for its answer.
#[derive(Debug)]
pub enum After<'a> {
    Cors(cors::Origin<'a>),
    ExtAuthz(Vec<ext_authz::Change>),
    RateLimit(ratelimit::Told),
    Fault(fault::Held),
    GrpcStats(Rc<grpc_stats::Call>),
    HealthCheck,
    LocalRateLimit(local_rate_limit::Left),
}

/// A request, filter by filter; the reply of the first that answers it.
pub async fn request<'a>(chain: &'a [HttpFilter], stream: &mut Stream<'a>) -> Result<(), Box<Reply>> {
    for (place, entry) in chain.iter().enumerate() {
        if stream.is_disabled(entry) {
            continue;
        }
        match &entry.filter {
            Filter::Cors => cors::request(entry, place, stream)?,
            Filter::DynamicForwardProxy(own) => dynamic_forward_proxy::request(own, entry, stream).await?,
            Filter::ExtAuthz(own) => ext_authz::request(own, entry, place, stream).await?,
            Filter::Fault(own) => fault::request(own, entry, place, stream).await?,
            Filter::GrpcStats(own) => grpc_stats::request(own, place, stream),
            Filter::HeaderMutation(own) => header_mutation::request(own, entry, stream),
            Filter::HealthCheck(own) => health_check::request(own, place, stream).await?,
            Filter::JwtAuthn(own) => jwt_authn::request(own, entry, stream).await?,
            Filter::LocalRateLimit(own) => local_rate_limit::request(own, entry, place, stream)?,
            Filter::RateLimit(own) => ratelimit::request(own, entry, place, stream).await?,
            Filter::Rbac(own) => rbac::request(own, entry, place, stream)?,
        }
    }
    Ok(())
}

/// An answer on its way back, whoever gave it.
pub fn response(chain: &[HttpFilter], stream: &mut Stream<'_>, response: &mut Response) {
    for (place, entry) in chain.iter().enumerate().rev() {
        match &entry.filter {
            Filter::Cors => cors::response(place, stream, &mut response.head),
            Filter::ExtAuthz(_) => ext_authz::response(place, stream, &mut response.head),
            Filter::RateLimit(_) => ratelimit::response(place, stream, &mut response.head),
            Filter::GrpcStats(_) => grpc_stats::response(place, stream, response),
            Filter::HeaderMutation(own) if !stream.is_disabled(entry) => {
                header_mutation::response(own, entry, stream, &mut response.head);
            }
            Filter::Fault(_) => fault::response(place, stream, response),
            Filter::HealthCheck(own) => health_check::response(own, place, stream, &mut response.head),
            Filter::LocalRateLimit(_) => local_rate_limit::response(place, stream, &mut response.head),
            Filter::DynamicForwardProxy(_) | Filter::HeaderMutation(_) | Filter::JwtAuthn(_) | Filter::Rbac(_) => {}
        }
    }
}

#[cfg(test)]
pub mod test_kit;
#[cfg(test)]
mod tests;
