//! Whose a token is (`TokenReview` of `authentication.k8s.io/v1`).

use serde::Deserialize;
use serde_json::json;

use crate::adapter::kubernetes::Cluster;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// What the cluster says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Review {
    pub authenticated: bool,
    pub user: User,
    /// Those of the audiences asked for that the token is for.
    pub audiences: Vec<String>,
    pub error: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    /// `system:serviceaccount:default:reviews`
    pub username: String,
}

impl Cluster {
    /// Has a token reviewed that should be for an audience; the error says why the cluster did not answer.
    pub async fn review_token(&self, token: &str, audience: &str) -> Result<Review, String> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": [audience] },
        });
        self.review(REVIEWS, &body).await
    }
}
