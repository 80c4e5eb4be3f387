//! Cross-origin requests (Envoy `envoy.filters.http.cors`): preflights are answered here, other answers get headers.

use super::{After, HttpFilter, Settings, Stream};
use crate::config::{Fraction, StringMatch};
use crate::forward::Reply;
use crate::http::headers::Headers;
use crate::http::message::ResponseHead;

/// `envoy.extensions.filters.http.cors.v3.CorsPolicy`: which origins may read answers.
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

/// An origin that the policy allows.
#[derive(Debug)]
pub struct Origin<'a> {
    policy: &'a CorsPolicy,
    value: Vec<u8>,
}

/// Answers a preflight; an origin that is allowed is kept for the answer.
pub fn request(filter: &HttpFilter, place: usize, stream: &mut Stream<'_>) -> Result<(), Box<Reply>> {
    let Some(Settings::Cors(policy)) = stream.settings(filter) else { return Ok(()) };
    let Some(value) = stream.head.headers.get("origin") else { return Ok(()) };
    if !policy.enabled.hits(stream.worker().random()) {
        return Ok(());
    }
    let preflight = stream.head.method == "OPTIONS" && stream.head.headers.contains("access-control-request-method");
    if !policy.allows(value) {
        let answered = preflight && !policy.forward_not_matching_preflights;
        return if answered { Err(Box::new(Reply::new(200, ""))) } else { Ok(()) };
    }
    let origin = Origin { policy, value: value.to_vec() };
    if !preflight {
        stream.keep(place, After::Cors(origin));
        return Ok(());
    }
    let mut reply = Reply::new(200, "");
    origin.write(&mut reply.headers);
    for (name, value) in [
        ("access-control-allow-methods", &policy.allow_methods),
        ("access-control-allow-headers", &policy.allow_headers),
        ("access-control-max-age", &policy.max_age),
    ] {
        if !value.is_empty() {
            reply.headers.set(name, value);
        }
    }
    Err(Box::new(reply))
}

pub fn response(place: usize, stream: &mut Stream<'_>, head: &mut ResponseHead) {
    if let Some(After::Cors(origin)) = stream.kept(place) {
        origin.write(&mut head.headers);
    }
}

impl Origin<'_> {
    /// Tells the browser that this origin may read the answer.
    fn write(&self, headers: &mut Headers) {
        headers.set("access-control-allow-origin", &self.value);
        if self.policy.allow_credentials {
            headers.set("access-control-allow-credentials", "true");
        }
        if !self.policy.expose_headers.is_empty() {
            headers.set("access-control-expose-headers", &self.policy.expose_headers);
        }
    }
}
