//! `envoy.extensions.filters.http.cors.v3.CorsPolicy`: which origins may read answers.

use crate::config::{Fraction, StringMatch};

#[derive(Clone, Debug, PartialEq)]
pub struct CorsPolicy {
    pub allow_origins: Vec<StringMatch>,
    /// Header values, sent as they stand; empty is not sent.
    pub allow_methods: String,
    pub allow_headers: String,
    pub expose_headers: String,
    pub max_age: String,
    pub allow_credentials: bool,
    /// Whether a preflight of an origin that does not match goes on to the upstream (Envoy default true).
    pub forward_not_matching_preflights: bool,
    /// Share of requests for which the policy holds (Envoy default all).
    pub enabled: Fraction,
}

impl CorsPolicy {
    /// Whether the `origin` header's value is allowed.
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.allow_origins.iter().any(|rule| match rule {
            StringMatch::Exact { text, .. } if text == "*" => true,
            rule => rule.matches(origin),
        })
    }
}
