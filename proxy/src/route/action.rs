//! What a route does with a request.

use std::sync::Arc;
use std::time::Duration;

use super::{HostRewrite, PathRewrite, RateLimit, Redirect, RetryPolicy};
use crate::config::{ClusterChoice, Fraction, LbMetadata, WeightedCluster};
use crate::http::headers::Headers;

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Forward(RouteAction),
    Redirect(Redirect),
    DirectResponse(DirectResponse),
}

/// `envoy.config.route.v3.DirectResponseAction`.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Vec<u8>,
}

/// `envoy.config.route.v3.RouteAction`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteAction {
    pub cluster: ClusterChoice,
    /// Answer when the cluster does not exist (Envoy default 503).
    pub cluster_not_found_code: u16,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    /// Whether a host rewrite appends the old host to `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
    pub timeouts: Timeouts,
    /// Whether the circuit breakers of priority HIGH count.
    pub high_priority: bool,
    pub retry: Option<Arc<RetryPolicy>>,
    pub mirrors: Vec<Mirror>,
    pub hash_policies: Vec<HashPolicy>,
    /// The subset of the cluster; a weighted cluster has its own.
    pub metadata_match: Option<Arc<LbMetadata>>,
    /// Upgrades that this route allows or forbids, lower case, over those of the connection manager.
    pub upgrades: Vec<(String, bool)>,
    pub rate_limits: Vec<RateLimit>,
    /// Whether the virtual host's rate limits count beside the route's own (`include_vh_rate_limits`).
    pub include_vh_rate_limits: bool,
}

/// Zero disables a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of the whole answer (Envoy default 15 s).
    pub request: Duration,
    /// Of a stream on which nothing moves; `None` leaves the connection manager's.
    pub idle: Option<Duration>,
    /// `max_stream_duration`; `None` leaves the connection manager's.
    pub max_stream: Option<Duration>,
    /// Upper bound for the client's `grpc-timeout`; `None` ignores that header, zero takes it as it is.
    pub grpc_header_max: Option<Duration>,
}

impl Timeouts {
    /// Whether the stream is limited rather than the answer: `timeout` says nothing then.
    pub fn is_of_stream(&self) -> bool {
        self.max_stream.is_some() || self.grpc_header_max.is_some()
    }
}

/// `RouteAction.RequestMirrorPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    pub cluster: String,
    pub fraction: Fraction,
    /// Whether `-shadow` stays off the host.
    pub disable_shadow_host_suffix: bool,
}

/// `RouteAction.HashPolicy`: what consistent hashing hashes.
#[derive(Clone, Debug, PartialEq)]
pub enum HashPolicy {
    Header {
        name: String,
        terminal: bool,
    },
    /// `ttl`: where the cookie is missing it is set, for so long (zero: for the client's session).
    Cookie {
        name: String,
        ttl: Option<Duration>,
        path: String,
        attributes: Vec<(String, String)>,
        terminal: bool,
    },
    SourceIp {
        terminal: bool,
    },
    QueryParameter {
        name: String,
        terminal: bool,
    },
}

impl RouteAction {
    /// Whether the route lets an upgrade (lower case) through, given the connection manager's list.
    pub fn allows_upgrade(&self, protocol: &str, manager: &[String]) -> bool {
        let own = self.upgrades.iter().find(|(name, _)| name == protocol);
        own.map_or_else(|| manager.iter().any(|name| name == protocol), |(_, enabled)| *enabled)
    }
}

impl ClusterChoice {
    /// The name of the cluster; TCP has no headers and passes an empty list. A header that is absent gives an empty
    /// name, which no cluster has.
    pub fn pick<'a>(&'a self, random: u64, headers: &'a Headers) -> &'a str {
        self.weighted(random).map_or_else(|| self.unweighted(headers), |cluster| &cluster.name)
    }

    /// The cluster that a random number falls to, where there are weights.
    pub fn weighted(&self, random: u64) -> Option<&WeightedCluster> {
        let Self::Weighted(clusters) = self else { return None };
        let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
        let mut point = if total == 0 { 0 } else { random % total };
        clusters.iter().find(|cluster| {
            let weight = u64::from(cluster.weight);
            let here = point < weight;
            point = point.wrapping_sub(weight);
            here
        })
    }

    /// The cluster where there are no weights.
    pub fn unweighted<'a>(&'a self, headers: &'a Headers) -> &'a str {
        match self {
            Self::One(name) => name,
            Self::Header(name) => headers.get_str(name).unwrap_or_default(),
            Self::Weighted(_) => "",
        }
    }
}

impl Fraction {
    /// Whether a random number falls into the fraction.
    pub fn hits(self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.0)
    }
}
