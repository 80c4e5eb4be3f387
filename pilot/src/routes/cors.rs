//! Cross-origin policies.

use api::envoy::extensions::filters::http::cors::v3 as cors;
use galley::kinds::{Cors, Percent, UnmatchedPreflights};

use crate::wire;

pub(super) const FILTER: &str = "envoy.filters.http.cors";

pub(super) fn compile(of: &Cors) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: of.allow_origins.iter().map(wire::string_match).collect(),
        allow_methods: of.allow_methods.join(","),
        allow_headers: of.allow_headers.join(","),
        expose_headers: of.expose_headers.join(","),
        max_age: of.max_age.map_or_else(String::new, |age| age.as_secs().to_string()),
        allow_credentials: of.allow_credentials,
        filter_enabled: Some(wire::runtime_fraction(Percent::ALL)),
        forward_not_matching_preflights: (of.unmatched_preflights == UnmatchedPreflights::Ignore).then_some(false),
        ..Default::default()
    }
}
