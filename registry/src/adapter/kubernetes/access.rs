//! What a cluster lets its service accounts do, as the cluster itself answers (SubjectAccessReview).

use std::time::Duration;

use kube::api::PostParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::json;

use super::Cluster;
use super::follow::reason;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of an answer.
#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    allowed: bool,
    reason: String,
    evaluation_error: String,
}

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    Yes,
    /// What the cluster says about it; often nothing.
    No(String),
}

impl Cluster {
    /// Whether a service account may list the Secrets of its own namespace: who may, can read their keys anyway. The
    /// error says why there is no answer.
    pub async fn may_list_secrets(&self, namespace: &str, account: &str) -> Result<Allowed, String> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{namespace}:{account}"),
                "groups": [
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated",
                ],
                "resourceAttributes": { "namespace": namespace, "verb": "list", "resource": "secrets" },
            },
        });
        let request = Request::new(REVIEWS).create(&PostParams::default(), body.to_string().into_bytes());
        let request = request.map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(PATIENCE, self.client.request::<Review>(request)).await;
        let silent = || format!("no answer within {} s", PATIENCE.as_secs());
        let status = asked.map_err(|_| silent())?.map_err(|error| reason(&error))?.status;
        let words = [status.reason, status.evaluation_error].into_iter().filter(|text| !text.is_empty());
        Ok(if status.allowed { Allowed::Yes } else { Allowed::No(words.collect::<Vec<_>>().join("; ")) })
    }
}
