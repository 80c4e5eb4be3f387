//! Attestation by a JWT of an issuer that the operator named: of a CI system, a cloud, a directory of people. The
//! issuer's keys say that the token is its own; rules of the operator say which claims are worth which identity.
//!
//! What must hold: only signatures by public keys count; a token is for us, and it ends; without a rule that fits there
//! is no identity.

pub(crate) mod fuzz;
mod keys;
mod rules;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use api::TrustDomain;
use async_trait::async_trait;
use runtime::Clock;

pub use self::keys::KeySource;
use self::keys::Keys;
pub use self::rules::{IdentityRule, IssuerConfig, Issuers};
use self::token::Token;
use crate::{Attestation, Attestor, Evidence, Refusal};

/// How far the clocks of an issuer and ours may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// Judges bearer tokens of the issuers that are known; others are of other attestors.
pub struct IssuerToken {
    issuers: Vec<(IssuerConfig, Keys)>,
    clock: Clock,
}

impl IssuerToken {
    /// Each issuer, and where its keys are read.
    pub fn new(issuers: Vec<(IssuerConfig, Arc<dyn KeySource>)>, clock: Clock) -> Self {
        let with_keys = |(issuer, source)| (issuer, Keys::new(source, clock.clone()));
        Self { issuers: issuers.into_iter().map(with_keys).collect(), clock }
    }

    /// The token, if it is of an issuer that is known.
    fn token(&self, evidence: &Evidence<'_>) -> Option<(Token, &IssuerConfig, &Keys)> {
        let token = evidence.bearer.and_then(Token::parse)?;
        let known = self.issuers.iter().find(|(issuer, _)| token.issuer() == Some(issuer.issuer.as_str()));
        known.map(|(issuer, keys)| (token, issuer, keys))
    }
}

#[async_trait]
impl Attestor for IssuerToken {
    fn asks_others(&self, evidence: &Evidence<'_>) -> bool {
        self.token(evidence).is_some()
    }

    async fn attest(&self, evidence: &Evidence<'_>) -> Result<Option<Attestation>, Refusal> {
        let Some((token, issuer, keys)) = self.token(evidence) else { return Ok(None) };
        keys.verify(&token).await?;
        judge(issuer, &token, self.clock.unix_seconds()).map(Some)
    }
}

/// What a token proves whose signature is its issuer's: a function of the two and of the time in Unix seconds.
fn judge(issuer: &IssuerConfig, token: &Token, now: u64) -> Result<Attestation, Refusal> {
    let name = &issuer.issuer;
    let refused = |why: String| Refusal::unauthenticated(format!("the token of {name} {why}"));
    let number = |claim: &str| match token.claims.get(claim) {
        None => Ok(None),
        // RFC 7519 section 2: seconds, with a fraction where there is one.
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds >= 0.0 => Ok(Some(seconds as u64)),
            _ => Err(refused(format!("has no number as `{claim}`"))),
        },
    };
    let end = number("exp")?.ok_or_else(|| refused("has no `exp`, so it would never end".into()))?;
    if now >= end.saturating_add(SKEW.as_secs()) {
        return Err(refused(format!("ended {} s ago; have a new one put into its file", now.saturating_sub(end))));
    }
    for claim in ["nbf", "iat"] {
        if number(claim)?.is_some_and(|begin| begin > now.saturating_add(SKEW.as_secs())) {
            return Err(refused(format!("begins later (`{claim}`); are the clocks set?")));
        }
    }
    let audiences = token.texts("aud");
    if !audiences.iter().any(|audience| issuer.audiences.contains(audience)) {
        let wanted = issuer.audiences.join(" or ");
        return Err(refused(format!("is for {audiences:?}, and not for {wanted}; ask the issuer for one that is")));
    }
    let subject = token.texts("sub").into_iter().next().unwrap_or_default();
    let shown: String = subject.chars().filter(|c| !c.is_control()).take(200).collect();
    match issuer.identities.iter().find(|rule| rule.fits(&token.claims)) {
        Some(rule) => Ok(Attestation::IssuerToken {
            issuer: name.clone(),
            subject: shown,
            namespace: rule.namespace.clone(),
            service_account: rule.service_account.clone(),
        }),
        None => Err(Refusal::denied(format!(
            "the token of {name} for {shown:?} fits none of the issuer's `identities`; add one to the file of \
             --jwt-issuers if it should"
        ))),
    }
}

impl Issuers {
    /// Holds everything to its rules; the error says where, and what to do.
    pub fn check(&self, trust_domain: &TrustDomain) -> Result<(), String> {
        rules::check(self, trust_domain)
    }
}
