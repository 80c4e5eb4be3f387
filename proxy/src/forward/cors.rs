//! Cross-origin requests (Envoy `envoy.filters.http.cors`): preflights are answered here, other answers get headers.

use super::local::Reply;
use crate::http::headers::Headers;
use crate::http::message::RequestHead;
use crate::route::{CorsPolicy, Found};

pub enum Verdict<'a> {
    /// A preflight, answered without the upstream.
    Preflight(Reply),
    /// On to the upstream; its answer gets headers if the origin is allowed.
    Goes(Option<Origin<'a>>),
}

/// An origin that the policy allows.
pub struct Origin<'a> {
    policy: &'a CorsPolicy,
    value: Vec<u8>,
}

pub fn check<'a>(found: &Found<'a>, head: &RequestHead, enabled: bool, random: u64) -> Verdict<'a> {
    let (Some(policy), Some(value)) = (found.cors().filter(|_| enabled), head.headers.get("origin")) else {
        return Verdict::Goes(None);
    };
    if !policy.enabled.hits(random) {
        return Verdict::Goes(None);
    }
    let preflight = head.method == "OPTIONS" && head.headers.contains("access-control-request-method");
    if !policy.allows(value) {
        return if preflight && !policy.forward_not_matching_preflights {
            Verdict::Preflight(Reply::new(200, ""))
        } else {
            Verdict::Goes(None)
        };
    }
    let origin = Origin { policy, value: value.to_vec() };
    if !preflight {
        return Verdict::Goes(Some(origin));
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
    Verdict::Preflight(reply)
}

impl Origin<'_> {
    /// Tells the browser that this origin may read the answer.
    pub fn write(&self, headers: &mut Headers) {
        headers.set("access-control-allow-origin", &self.value);
        if self.policy.allow_credentials {
            headers.set("access-control-allow-credentials", "true");
        }
        if !self.policy.expose_headers.is_empty() {
            headers.set("access-control-expose-headers", &self.policy.expose_headers);
        }
    }
}
