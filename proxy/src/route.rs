//! Routing as a pure function of a request head: the table and its virtual hosts, what a route matches, what it does,
//! and the policies that go with it. Follows `envoy.config.route.v3`.

mod action;
mod domains;
mod matching;
mod mutation;
mod rate_limit;
mod redirect;
mod retry;
mod rewrite;
mod table;
mod virtual_cluster;

pub use action::{Action, DirectResponse, HashPolicy, Mirror, RouteAction, Timeouts};
pub use matching::{
    HeaderMatch, HeaderRule, PathMatch, PathRegex, QueryMatch, QueryRule, RouteMatch, header_value, path_only,
};
pub use mutation::{apply_request_mutations, apply_response_mutations};
pub use rate_limit::{Descriptor, Hits, Limit, LimitOverride, MetadataKey, RateLimit, RateLimitAction, RateLimited};
pub use redirect::{PathRedirect, Redirect, scheme_of};
pub use retry::{BackOff, Outcome, RetryOn, RetryPolicy};
pub use rewrite::{HostRewrite, PathRewrite, RegexRewrite};
pub use table::{Found, RequireTls, Route, RouteTable, RouteTableParts, VirtualHost};
pub use virtual_cluster::VirtualCluster;

#[cfg(test)]
mod tests;
