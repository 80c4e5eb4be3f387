//! The cluster as the authority asks it: whose token is it?

use citadel::{TokenReview, TokenReviews};
use registry::kubernetes::Cluster;

pub struct Reviews(pub Cluster);

#[tonic::async_trait]
impl TokenReviews for Reviews {
    async fn review(&self, token: &str, audience: &str) -> Result<TokenReview, String> {
        let review = self.0.review_token(token, audience).await?;
        Ok(TokenReview {
            authenticated: review.authenticated,
            user: review.user.username,
            audiences: review.audiences,
            error: review.error,
        })
    }
}
