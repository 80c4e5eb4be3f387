//! Who issues tokens (`envoy.extensions.filters.http.jwt_authn.v3.JwtProvider`).

use std::sync::Arc;

use super::{CacheSize, Places, RemoteKeys};
use crate::config::StringMatch;
use crate::jwt::{Jwks, Status, Token};

#[derive(Debug, PartialEq)]
pub struct Provider {
    pub name: String,
    /// Empty: any.
    pub issuer: String,
    /// In the form that [`audience`] gives them; empty: any.
    pub audiences: Vec<String>,
    pub subjects: Option<StringMatch>,
    pub require_expiration: bool,
    /// Seconds that a token may at most have left.
    pub max_lifetime: Option<u64>,
    /// Seconds.
    pub clock_skew: u64,
    pub keys: KeySource,
    /// Where its tokens stand.
    pub places: Places,
    /// Whether the token stays in the request.
    pub forward: bool,
    /// The header that gets the payload, and whether that is padded.
    pub payload_header: Option<(String, bool)>,
    /// Names in the dynamic metadata; empty: not kept.
    pub payload_in_metadata: String,
    pub header_in_metadata: String,
    pub failure_in_metadata: String,
    /// Claims that metadata gets as lists, split at spaces.
    pub space_delimited: Vec<String>,
    pub claim_headers: Vec<ClaimHeader>,
    pub clear_route_cache: bool,
    pub cache: Option<CacheSize>,
}

/// A header that gets a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimHeader {
    pub name: String,
    pub path: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub enum KeySource {
    Local(LocalKeys),
    Remote(Arc<RemoteKeys>),
}

/// Keys from the configuration.
#[derive(Debug)]
pub struct LocalKeys {
    text: Vec<u8>,
    /// `None` where the text holds none: then no token is valid.
    pub keys: Option<Arc<Jwks>>,
}

impl LocalKeys {
    pub fn new(text: Vec<u8>) -> Self {
        Self { keys: Jwks::parse(&text).map(Arc::new), text }
    }
}

impl PartialEq for LocalKeys {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Provider {
    /// The headers that only this filter may set.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let payload = self.payload_header.iter().map(|(name, _)| name.as_str());
        payload.chain(self.claim_headers.iter().map(|header| header.name.as_str()))
    }

    /// All but the signature. `audiences` stand in place of the provider's own.
    pub fn check(&self, token: &Token, audiences: Option<&[String]>, now: u64) -> Result<(), Status> {
        token.check_time(now, self.clock_skew)?;
        let endless = token.expires == 0 && (self.require_expiration || self.max_lifetime.is_some());
        let most = |lifetime: u64| now.saturating_add(lifetime).saturating_add(self.clock_skew);
        if endless || self.max_lifetime.is_some_and(|lifetime| token.expires > most(lifetime)) {
            return Err(Status::VerificationFailed);
        }
        if self.subjects.as_ref().is_some_and(|subjects| !subjects.matches(token.subject.as_bytes())) {
            return Err(Status::VerificationFailed);
        }
        let allowed = audiences.unwrap_or(&self.audiences);
        let names_one = || token.audiences.iter().any(|name| allowed.iter().any(|one| one == audience(name)));
        if allowed.is_empty() || names_one() { Ok(()) } else { Err(Status::AudienceNotAllowed) }
    }
}

/// An audience without its scheme and last slash, so that `https://a/` and `a` are one.
pub fn audience(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.strip_suffix('/').unwrap_or(name)
}
