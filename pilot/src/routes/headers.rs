//! Changes to request and response headers.

use api::envoy::config::core::v3 as core;
use api::envoy::config::route::v3 as route;
use core::header_value_option::HeaderAppendAction;
use galley::kinds::{HeaderOps, Headers};
use route::weighted_cluster::ClusterWeight;

/// Operations as Envoy spells them, without those that name the authority.
pub(super) struct Operations {
    pub request_add: Vec<core::HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<core::HeaderValueOption>,
    pub response_remove: Vec<String>,
}

impl Operations {
    pub fn new(headers: &Headers) -> Self {
        Self {
            request_add: options(&headers.request),
            request_remove: headers.request.remove.clone(),
            response_add: options(&headers.response),
            response_remove: headers.response.remove.clone(),
        }
    }
}

pub(super) fn apply(headers: &Headers, to: &mut route::Route) {
    let operations = Operations::new(headers);
    to.request_headers_to_add.extend(operations.request_add);
    to.request_headers_to_remove.extend(operations.request_remove);
    to.response_headers_to_add.extend(operations.response_add);
    to.response_headers_to_remove.extend(operations.response_remove);
}

/// Changes for one of several destinations.
pub(super) fn apply_weighted(headers: &Headers, to: &mut ClusterWeight) {
    use route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    let operations = Operations::new(headers);
    to.request_headers_to_add = operations.request_add;
    to.request_headers_to_remove = operations.request_remove;
    to.response_headers_to_add = operations.response_add;
    to.response_headers_to_remove = operations.response_remove;
    to.host_rewrite_specifier = authority(headers).map(HostRewriteSpecifier::HostRewriteLiteral);
}

/// The authority that a `set` or `add` of `host` or `:authority` asks for.
pub(super) fn authority(headers: &Headers) -> Option<String> {
    let mut all = headers.request.set.iter().chain(&headers.request.add);
    all.find(|(name, _)| is_authority(name)).map(|(_, value)| value.clone())
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

fn options(of: &HeaderOps) -> Vec<core::HeaderValueOption> {
    let set = of.set.iter().map(|pair| (pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = of.add.iter().map(|pair| (pair, HeaderAppendAction::AppendIfExistsOrAdd));
    let named = set.chain(add).filter(|((name, _), _)| !is_authority(name));
    named.map(|((name, value), action)| option(name, value, action)).collect()
}

fn option(name: &str, value: &str, action: HeaderAppendAction) -> core::HeaderValueOption {
    let header = core::HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() };
    core::HeaderValueOption { header: Some(header), append_action: action as i32, ..Default::default() }
}
