//! Attestation by the token of a Kubernetes service account: the cluster that made it says whose it is. It must have been
//! made for us, so that a token which a workload shows to others is worth nothing here.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Attestation, Attestor, Evidence, Refusal};

/// Other bearers are of other attestors.
const JOIN_TOKEN: &str = "weft_join_";
const PREFIX: &str = "system:serviceaccount:";

/// What a cluster says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenReview {
    pub authenticated: bool,
    /// `system:serviceaccount:default:reviews`
    pub user: String,
    /// Those of the audiences asked for that the token is for.
    pub audiences: Vec<String>,
    pub error: String,
}

/// A cluster that can be asked.
#[async_trait]
pub trait TokenReviews: Send + Sync {
    /// The error says why there is no answer.
    async fn review(&self, token: &str, audience: &str) -> Result<TokenReview, String>;
}

/// Has bearer tokens reviewed.
pub struct ServiceAccount {
    reviews: Arc<dyn TokenReviews>,
    audience: String,
}

impl ServiceAccount {
    pub fn new(reviews: Arc<dyn TokenReviews>, audience: impl Into<String>) -> Self {
        Self { reviews, audience: audience.into() }
    }
}

#[async_trait]
impl Attestor for ServiceAccount {
    fn asks_others(&self, evidence: &Evidence<'_>) -> bool {
        token(evidence).is_some()
    }

    async fn attest(&self, evidence: &Evidence<'_>) -> Result<Option<Attestation>, Refusal> {
        let Some(token) = token(evidence) else { return Ok(None) };
        let review = self.reviews.review(token, &self.audience).await;
        let review = review.map_err(|why| Refusal::unavailable(format!("the cluster reviews no token now: {why}")))?;
        judge(&review, &self.audience).map(Some)
    }
}

fn token<'a>(evidence: &Evidence<'a>) -> Option<&'a str> {
    evidence.bearer.filter(|bearer| !bearer.starts_with(JOIN_TOKEN))
}

/// The service account that a review proves.
fn judge(review: &TokenReview, audience: &str) -> Result<Attestation, Refusal> {
    if !review.authenticated {
        let why =
            if review.error.is_empty() { "it is none of its tokens, or for another audience" } else { &review.error };
        return Err(Refusal::unauthenticated(format!("the cluster does not know the token: {why}")));
    }
    // A server that knows nothing of audiences leaves them out, and has not looked at them.
    if !review.audiences.iter().any(|known| known == audience) {
        return Err(Refusal::unauthenticated(format!(
            "the token is not for the audience {audience}; have it projected with `audience: {audience}`"
        )));
    }
    let parts = review.user.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'));
    match parts {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains(':') => {
            Ok(Attestation::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err(Refusal::denied(format!("the token is of {:?}, which is no service account", review.user))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RefusalKind;

    fn review(user: &str, audiences: &[&str]) -> TokenReview {
        let audiences = audiences.iter().map(ToString::to_string).collect();
        TokenReview { authenticated: true, user: user.to_owned(), audiences, error: String::new() }
    }

    #[test]
    fn a_reviewed_token_proves_a_service_account_if_it_is_for_us() {
        let reviews = "system:serviceaccount:default:reviews";
        let judged = |review: &TokenReview| judge(review, "istio-ca").map_err(|refusal| refusal.kind);
        let expected = Attestation::ServiceAccount { namespace: "default".into(), name: "reviews".into() };
        assert_eq!(judged(&review(reviews, &["istio-ca"])), Ok(expected));
        for audiences in [&[][..], &["https://kubernetes.default.svc"]] {
            assert_eq!(judged(&review(reviews, audiences)), Err(RefusalKind::Unauthenticated));
        }
        for user in
            ["admin", "system:serviceaccount:default", "system:serviceaccount::x", "system:serviceaccount:a:b:c"]
        {
            assert_eq!(judged(&review(user, &["istio-ca"])), Err(RefusalKind::Denied), "{user}");
        }
        assert_eq!(judged(&TokenReview::default()), Err(RefusalKind::Unauthenticated));
    }
}
