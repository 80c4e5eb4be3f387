//! Why an answer is not simply the upstream's: Envoy's response flags as a set of bits.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of response flags. Printed as Envoy's short names, joined by commas; `-` when empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($bit:literal $name:ident $short:literal $long:literal $doc:literal;)*) => {
        impl ResponseFlags {
            $(#[doc = $doc] pub const $name: Self = Self(1 << $bit);)*
        }
        /// In the order in which Envoy prints them.
        const NAMES: &[(ResponseFlags, &str, &str)] = &[$((ResponseFlags::$name, $short, $long),)*];
    };
}

flags! {
    0 FAILED_LOCAL_HEALTH_CHECK "LH" "FailedLocalHealthCheck" "The local service failed its health check.";
    1 NO_HEALTHY_UPSTREAM "UH" "NoHealthyUpstream" "No healthy host in the cluster.";
    2 UPSTREAM_REQUEST_TIMEOUT "UT" "UpstreamRequestTimeout" "The request or a try timed out upstream.";
    3 LOCAL_RESET "LR" "LocalReset" "The stream was reset here.";
    4 UPSTREAM_REMOTE_RESET "UR" "UpstreamRemoteReset" "The upstream reset the stream.";
    5 UPSTREAM_CONNECTION_FAILURE "UF" "UpstreamConnectionFailure" "No connection to the upstream came about.";
    6 UPSTREAM_CONNECTION_TERMINATION "UC" "UpstreamConnectionTermination" "The upstream closed its connection.";
    7 UPSTREAM_OVERFLOW "UO" "UpstreamOverflow" "A circuit breaker was open.";
    8 NO_ROUTE_FOUND "NR" "NoRouteFound" "No route, or no filter chain, matched.";
    9 DELAY_INJECTED "DI" "DelayInjected" "A fault delayed the request.";
    10 FAULT_INJECTED "FI" "FaultInjected" "A fault aborted the request.";
    11 RATE_LIMITED "RL" "RateLimited" "The request was limited.";
    12 UNAUTHORIZED_EXTERNAL_SERVICE "UAEX" "UnauthorizedExternalService" "An external check refused the request.";
    13 RATELIMIT_SERVICE_ERROR "RLSE" "RateLimitServiceError" "The rate limit service failed.";
    14 DOWNSTREAM_CONNECTION_TERMINATION "DC" "DownstreamConnectionTermination" "The client went away.";
    15 UPSTREAM_RETRY_LIMIT_EXCEEDED "URX" "UpstreamRetryLimitExceeded" "No retry was left, or no connect attempt.";
    16 STREAM_IDLE_TIMEOUT "SI" "StreamIdleTimeout" "Nothing moved on the stream for too long.";
    17 INVALID_ENVOY_REQUEST_HEADERS "IH" "InvalidEnvoyRequestHeaders" "An `x-envoy-` header has a bad value.";
    18 DOWNSTREAM_PROTOCOL_ERROR "DPE" "DownstreamProtocolError" "The client broke the protocol.";
    19 UPSTREAM_MAX_STREAM_DURATION_REACHED "UMSDR" "UpstreamMaxStreamDurationReached" "The upstream stream lasted too long.";
    20 RESPONSE_FROM_CACHE "RFCF" "ResponseFromCacheFilter" "The answer came from a cache.";
    21 NO_FILTER_CONFIG "NFCF" "NoFilterConfigFound" "A filter's configuration has not arrived.";
    22 DURATION_TIMEOUT "DT" "DurationTimeout" "The request or connection lasted too long.";
    23 UPSTREAM_PROTOCOL_ERROR "UPE" "UpstreamProtocolError" "The upstream broke the protocol.";
    24 NO_CLUSTER_FOUND "NC" "NoClusterFound" "The route's cluster does not exist.";
    25 OVERLOAD_MANAGER "OM" "OverloadManagerTerminated" "The proxy is short of a resource.";
    26 DNS_FAILURE "DF" "DnsResolutionFailed" "The upstream's name did not resolve.";
    27 DROP_OVERLOAD "DO" "DropOverload" "The cluster drops this share of requests.";
    28 DOWNSTREAM_REMOTE_RESET "DR" "DownstreamRemoteReset" "The client reset its stream.";
}

impl ResponseFlags {
    pub const NONE: Self = Self(0);

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds flags.
    pub fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The short names of the flags in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.listed().map(|(_, short, _)| *short)
    }

    /// The names as `%RESPONSE_FLAGS_LONG%` prints them.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        self.listed().map(|(_, _, long)| *long)
    }

    /// The flag of a short name.
    pub fn parse(short: &str) -> Option<Self> {
        NAMES.iter().find(|(_, name, _)| *name == short).map(|(flag, ..)| *flag)
    }

    /// Whether any flag is in both.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn listed(self) -> impl Iterator<Item = &'static (Self, &'static str, &'static str)> {
        NAMES.iter().filter(move |(flag, ..)| self.contains(*flag))
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.set(other);
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
