//! What a cluster answers about its service accounts when it is asked: whose a token is, and what an account may do.

mod key_readers;
#[cfg(test)]
mod tests;
mod token;

use std::time::Duration;

use kube::api::PostParams;
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Cluster;
use super::follow::reason;

pub use key_readers::KeyReaders;
pub use token::Review;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of an answer.
#[derive(Deserialize)]
struct Answer<S> {
    #[serde(default)]
    status: S,
}

impl Cluster {
    /// Has something reviewed: the status of what was made of `body` in `collection`. The error says why there is none.
    async fn review<S: DeserializeOwned + Default>(&self, collection: &str, body: &Value) -> Result<S, String> {
        let request = Request::new(collection).create(&PostParams::default(), body.to_string().into_bytes());
        let request = request.map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(PATIENCE, self.client.request::<Answer<S>>(request)).await;
        let answer = asked.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?;
        Ok(answer.map_err(|error| reason(&error))?.status)
    }
}
