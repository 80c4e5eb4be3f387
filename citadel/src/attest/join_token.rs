//! Attestation by a join token: the bearer is the workload that the token was made for.

use async_trait::async_trait;

use crate::{Attestation, Attestor, Evidence, Refusal, TokenError, Tokens};

/// Redeems the bearer token of a request.
pub struct JoinToken {
    tokens: Tokens,
}

impl JoinToken {
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens }
    }
}

#[async_trait]
impl Attestor for JoinToken {
    async fn attest(&self, evidence: &Evidence<'_>) -> Result<Option<Attestation>, Refusal> {
        let Some(bearer) = evidence.bearer else { return Ok(None) };
        let redeemed = self.tokens.redeem(bearer, evidence.key_fingerprint).await.map_err(refusal)?;
        Ok(Some(Attestation::JoinToken(redeemed)))
    }
}

fn refusal(error: TokenError) -> Refusal {
    match error {
        TokenError::Store(_) | TokenError::Randomness(_) => Refusal::unavailable(error),
        TokenError::UsedByAnotherKey | TokenError::Spent => Refusal::denied(error),
        _ => Refusal::unauthenticated(error),
    }
}
