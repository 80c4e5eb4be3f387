//! Cross-origin requests (Envoy `envoy.filters.http.cors`): preflights are answered here, other answers get headers.

use smallvec::SmallVec;

use super::{After, HttpFilter, Settings, Stream};
use crate::config::{Fraction, StringMatch};
use crate::forward::Reply;
use crate::http::headers::Headers;
use crate::http::message::ResponseHead;
use crate::route::Action;

/// `envoy.extensions.filters.http.cors.v3.CorsPolicy`: which origins may read answers.
#[derive(Clone, Debug, PartialEq)]
pub struct CorsPolicy {
    pub allow_origins: Vec<StringMatch>,
    /// Header values, sent as they stand; empty is not sent.
    pub allow_methods: String,
    pub allow_headers: String,
    pub expose_headers: String,
    pub max_age: String,
    pub allow_credentials: Option<bool>,
    /// Whether a preflight of an origin that does not match goes on to the upstream (Envoy default true).
    pub forward_not_matching_preflights: Option<bool>,
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

/// An origin that is allowed, and the policies in force, the most specific first: what one does not say the next one
/// may.
#[derive(Debug)]
pub struct Origin<'a> {
    policies: Policies<'a>,
    value: Vec<u8>,
}

#[derive(Debug)]
struct Policies<'a>(SmallVec<[&'a CorsPolicy; 2]>);

impl<'a> Policies<'a> {
    fn of(filter: &'a HttpFilter, stream: &Stream<'a>) -> Self {
        // What is answered here or redirected is no route to an upstream, for which alone policies hold.
        let forwards = stream.found.is_some_and(|found| matches!(found.route.action, Action::Forward(_)));
        let all = stream.all_settings(filter).filter(|_| forwards);
        Self(all.filter_map(|one| if let Settings::Cors(policy) = one { Some(&**policy) } else { None }).collect())
    }

    fn text(&self, of: impl Fn(&'a CorsPolicy) -> &'a String) -> &'a str {
        self.0.iter().map(|policy| of(policy)).find(|text| !text.is_empty()).map_or("", String::as_str)
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.0.iter().find(|policy| !policy.allow_origins.is_empty()).is_some_and(|policy| policy.allows(origin))
    }

    fn flag(&self, of: impl Fn(&'a CorsPolicy) -> Option<bool>, default: bool) -> bool {
        self.0.iter().find_map(|policy| of(policy)).unwrap_or(default)
    }
}

/// Answers a preflight; an origin that is allowed is kept for the answer.
pub fn request<'a>(filter: &'a HttpFilter, place: usize, stream: &mut Stream<'a>) -> Result<(), Box<Reply>> {
    let Some(value) = stream.head.headers.get("origin") else { return Ok(()) };
    let policies = Policies::of(filter, stream);
    let Some(first) = policies.0.first() else { return Ok(()) };
    if !first.enabled.hits(stream.worker().random()) {
        return Ok(());
    }
    let preflight = stream.head.method == "OPTIONS" && stream.head.headers.contains("access-control-request-method");
    if !policies.allows(value) {
        let forwards = policies.flag(|policy| policy.forward_not_matching_preflights, true);
        return if preflight && !forwards { Err(Box::new(Reply::new(200, ""))) } else { Ok(()) };
    }
    let origin = Origin { policies, value: value.to_vec() };
    if !preflight {
        stream.keep(place, After::Cors(origin));
        return Ok(());
    }
    let mut reply = Reply::new(200, "");
    origin.write(&mut reply.headers);
    let asked = |name| stream.head.headers.get_str(name);
    for (name, value, asked) in [
        (
            "access-control-allow-methods",
            origin.policies.text(|policy| &policy.allow_methods),
            asked("access-control-request-method"),
        ),
        (
            "access-control-allow-headers",
            origin.policies.text(|policy| &policy.allow_headers),
            asked("access-control-request-headers"),
        ),
        ("access-control-max-age", origin.policies.text(|policy| &policy.max_age), None),
    ] {
        // With credentials a browser takes `*` for a name (Fetch, CORS protocol).
        let value = asked.filter(|_| value == "*" && origin.credentials()).unwrap_or(value);
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
    fn credentials(&self) -> bool {
        self.policies.flag(|policy| policy.allow_credentials, false)
    }

    /// Tells the browser that this origin may read the answer.
    fn write(&self, headers: &mut Headers) {
        headers.set("access-control-allow-origin", &self.value);
        if self.credentials() {
            headers.set("access-control-allow-credentials", "true");
        }
        let exposed = self.policies.text(|policy| &policy.expose_headers);
        if !exposed.is_empty() {
            headers.set("access-control-expose-headers", exposed);
        }
    }
}
