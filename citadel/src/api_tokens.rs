//! API tokens: what a person or program shows to the REST API.

use std::sync::Arc;
use std::time::Duration;

use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use crate::ledger::unreadable;
use crate::secret;

const PREFIX: &str = "api-token/";
const SCHEME: &str = "weft_pat_";

/// Mints, verifies, lists and revokes API tokens.
#[derive(Clone)]
pub struct ApiTokens {
    store: Arc<dyn Store>,
    clock: Clock,
}

/// An API token as it is kept: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    pub id: String,
    pub name: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds; `None`: valid until revoked.
    pub expires: Option<u64>,
}

/// A token just minted. The text is not kept anywhere.
#[derive(Clone, Debug)]
pub struct MintedApiToken {
    pub token: ApiToken,
    /// `weft_pat_<id>_<secret>`.
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    #[error("this is no API token; one starts with {SCHEME}")]
    Malformed,
    #[error("the API token is unknown: it was revoked, or belongs to another mesh")]
    Unknown,
    #[error("the API token expired")]
    Expired,
    #[error("no token can be made: {0}")]
    Randomness(#[from] secret::NoRandomness),
    #[error("the API token cannot be checked now: {0}")]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Record {
    hash: String,
    name: String,
    created: u64,
    expires: Option<u64>,
}

impl ApiTokens {
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Makes a token; without `ttl` it is valid until it is revoked.
    pub async fn mint(&self, name: &str, ttl: Option<Duration>) -> Result<MintedApiToken, ApiTokenError> {
        let (id, secret) = secret::generate()?;
        let created = self.clock.unix_seconds();
        let expires = ttl.map(|ttl| created.saturating_add(ttl.as_secs()));
        let record = Record { hash: secret::hash(&secret), name: name.to_owned(), created, expires };
        let value = serde_json::to_vec(&record).map_err(|error| unreadable(&id, &error))?;
        self.store.commit(Transaction::put(key(&id), value).expecting(key(&id), 0)).await?;
        let text = format!("{SCHEME}{id}_{secret}");
        Ok(MintedApiToken { token: record.describe(&id), text })
    }

    /// The token that a text is the secret of.
    pub async fn verify(&self, text: &str) -> Result<ApiToken, ApiTokenError> {
        let (id, secret) =
            text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('_')).ok_or(ApiTokenError::Malformed)?;
        let record = self.read(id).await?;
        if !secret::matches(secret, &record.hash) {
            return Err(ApiTokenError::Unknown);
        }
        if record.expires.is_some_and(|expires| self.clock.unix_seconds() >= expires) {
            return Err(ApiTokenError::Expired);
        }
        Ok(record.describe(id))
    }

    pub async fn list(&self) -> Result<Vec<ApiToken>, ApiTokenError> {
        let listing = self.store.list(PREFIX).await?;
        let describe = |entry: &store::Entry| {
            let record = parse(&entry.key, &entry.value)?;
            Ok(record.describe(&entry.key[PREFIX.len()..]))
        };
        listing.entries.iter().map(describe).collect()
    }

    pub async fn revoke(&self, id: &str) -> Result<(), ApiTokenError> {
        self.read(id).await?;
        self.store.commit(Transaction::delete(key(id))).await?;
        Ok(())
    }

    async fn read(&self, id: &str) -> Result<Record, ApiTokenError> {
        if !secret::is_id(id) {
            return Err(ApiTokenError::Unknown);
        }
        let entry = self.store.get(&key(id)).await?.ok_or(ApiTokenError::Unknown)?;
        Ok(parse(&entry.key, &entry.value)?)
    }
}

impl Record {
    fn describe(self, id: &str) -> ApiToken {
        ApiToken { id: id.to_owned(), name: self.name, created: self.created, expires: self.expires }
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn parse(key: &str, value: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(value).map_err(|error| unreadable(key, &error))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use runtime::ManualClock;
    use store::Memory;

    use super::*;

    #[tokio::test]
    async fn a_minted_token_verifies_until_it_expires_or_is_revoked() {
        let time = ManualClock::at(SystemTime::now());
        let store = Arc::new(Memory::new());
        let tokens = ApiTokens::new(store.clone(), time.clock());
        let admin = tokens.mint("admin", None).await.unwrap();
        let short = tokens.mint("ci", Some(Duration::from_secs(60))).await.unwrap();
        assert_eq!(tokens.verify(&short.text).await.unwrap().name, "ci");

        time.advance(Duration::from_secs(60));
        assert!(matches!(tokens.verify(&short.text).await, Err(ApiTokenError::Expired)));
        // A restart finds what was minted before it.
        let tokens = ApiTokens::new(store, time.clock());
        assert_eq!(tokens.verify(&admin.text).await.unwrap(), admin.token);
        assert_eq!(tokens.list().await.unwrap().len(), 2);

        tokens.revoke(&admin.token.id).await.unwrap();
        assert!(matches!(tokens.verify(&admin.text).await, Err(ApiTokenError::Unknown)));
    }

    #[tokio::test]
    async fn only_the_whole_secret_is_accepted_and_it_is_not_kept() {
        let store = Arc::new(Memory::new());
        let tokens = ApiTokens::new(store.clone(), Clock::system());
        let text = tokens.mint("admin", None).await.unwrap().text;
        let secret = text.rsplit('_').next().unwrap();
        for wrong in ["", "weft_pat_", "weft_pat_x_y", "weft_pat_../config_y", &text[..text.len() - 1], &text[1..]] {
            assert!(tokens.verify(wrong).await.is_err(), "{wrong:?} was accepted");
        }
        for entry in store.list("").await.unwrap().entries {
            assert!(!String::from_utf8_lossy(&entry.value).contains(secret));
        }
    }
}
