//! API tokens: what a person or program shows to the REST API, and what it lets them do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use crate::access::{Access, Role};
use crate::ended::ended;
use crate::ledger::unreadable;
use crate::secret;

const PREFIX: &str = "api-token/";
/// When each was used last: beside the token, so that neither changes the other.
const USED: &str = "api-token-used/";
const SCHEME: &str = "weft_pat_";
/// The longest life of a token.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// A use is written down at most that often.
const NOTE_EVERY_S: u64 = 60;

/// Mints, verifies, lists and revokes API tokens. Cloning shares.
#[derive(Clone)]
pub struct ApiTokens {
    store: Arc<dyn Store>,
    clock: Clock,
    /// When the use of each was last written down, in Unix seconds.
    noted: Arc<Mutex<HashMap<String, u64>>>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    pub name: String,
    pub access: Access,
    pub ttl: Duration,
    /// Who makes it.
    pub author: String,
}

/// An API token as it is kept: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    pub id: String,
    pub name: String,
    #[serde(flatten)]
    pub access: Access,
    /// Who made it; empty if nobody knows.
    pub author: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds; `None`: valid until revoked, which only tokens of earlier versions are.
    pub expires: Option<u64>,
    /// Unix seconds, to the minute; `None`: never, or not told.
    pub last_used: Option<u64>,
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
    #[error("{0}")]
    Refused(String),
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
    /// Tokens of earlier versions were all the operator's own.
    #[serde(default = "everything")]
    access: Access,
    #[serde(default)]
    author: String,
}

fn everything() -> Access {
    Access::of(Role::Admin)
}

impl NewApiToken {
    /// An administrator's, made by the control plane itself.
    pub fn admin(name: &str, ttl: Duration) -> Self {
        Self { name: name.to_owned(), access: everything(), ttl, author: "control-plane".into() }
    }

    fn check(&self) -> Result<(), ApiTokenError> {
        let plain = |c: char| c.is_alphanumeric() || " .-_@+/".contains(c);
        let refused = |words: &str| Err(ApiTokenError::Refused(words.to_owned()));
        match () {
            () if self.name.is_empty() || self.name.len() > 100 || !self.name.chars().all(plain) => {
                refused("a token's name is 1 to 100 letters, digits, blanks and .-_@+/")
            }
            () if self.ttl.is_zero() || self.ttl > LONGEST => {
                refused("a token is valid for some time up to 366 days: give a ttl")
            }
            () => Ok(()),
        }
    }
}

impl ApiTokens {
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, noted: Arc::default() }
    }

    pub async fn mint(&self, new: NewApiToken) -> Result<MintedApiToken, ApiTokenError> {
        new.check()?;
        let (id, secret) = secret::generate()?;
        let created = self.clock.unix_seconds();
        let expires = Some(created.saturating_add(new.ttl.as_secs()));
        let NewApiToken { name, access, author, .. } = new;
        let record = Record { hash: secret::hash(&secret), name, created, expires, access, author };
        let value = serde_json::to_vec(&record).map_err(|error| unreadable(&id, &error))?;
        self.store.commit(Transaction::put(key(&id), value).expecting(key(&id), 0)).await?;
        let text = format!("{SCHEME}{id}_{secret}");
        Ok(MintedApiToken { token: record.describe(&id, None), text })
    }

    /// The token that a text is the secret of. An unknown one takes as long as a wrong one.
    pub async fn verify(&self, text: &str) -> Result<ApiToken, ApiTokenError> {
        let (id, secret) =
            text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('_')).ok_or(ApiTokenError::Malformed)?;
        let record = self.read(id).await?;
        let hash = record.as_ref().map_or_else(|| "0".repeat(64), |record| record.hash.clone());
        let fits = secret::matches(secret, &hash);
        let record = record.filter(|_| fits).ok_or(ApiTokenError::Unknown)?;
        let token = self.valid(id, record)?;
        self.note_use(&token);
        Ok(token)
    }

    /// A token by its ID, if it is valid: for what was made with it.
    pub async fn find(&self, id: &str) -> Result<ApiToken, ApiTokenError> {
        let record = self.read(id).await?.ok_or(ApiTokenError::Unknown)?;
        let token = self.valid(id, record)?;
        self.note_use(&token);
        Ok(token)
    }

    /// Returns once the token is not valid any more: it was revoked, or expired.
    pub async fn ended(&self, id: &str) {
        let end =
            |entry: &store::Entry| parse(&entry.key, &entry.value).map_or(0, |token| token.expires.unwrap_or(u64::MAX));
        ended(&*self.store, &self.clock, &key(id), end).await;
    }

    /// Whether there is a token of this ID, valid or not.
    pub async fn is_known(&self, id: &str) -> bool {
        self.read(id).await.is_ok_and(|record| record.is_some())
    }

    /// The ID in a text that has the form of a token, for the log of refusals.
    pub fn id_in(text: &str) -> Option<&str> {
        let (id, _) = text.strip_prefix(SCHEME)?.split_once('_')?;
        secret::is_id(id).then_some(id)
    }

    pub async fn list(&self) -> Result<Vec<ApiToken>, ApiTokenError> {
        let used: HashMap<String, u64> = self.store.list(USED).await?.entries.iter().filter_map(used).collect();
        let listing = self.store.list(PREFIX).await?;
        let describe = |entry: &store::Entry| {
            let (record, id) = (parse(&entry.key, &entry.value)?, &entry.key[PREFIX.len()..]);
            Ok(record.describe(id, used.get(id).copied()))
        };
        listing.entries.iter().map(describe).collect()
    }

    /// At once, in every control plane.
    pub async fn revoke(&self, id: &str) -> Result<ApiToken, ApiTokenError> {
        let record = self.read(id).await?.ok_or(ApiTokenError::Unknown)?;
        let delete = vec![key(id), format!("{USED}{id}")];
        self.store.commit(Transaction { delete, ..Transaction::default() }).await?;
        Ok(record.describe(id, None))
    }

    /// Forgets tokens that expired a month ago; returns how many.
    pub async fn prune(&self) -> Result<usize, ApiTokenError> {
        let now = self.clock.unix_seconds();
        let gone = |token: &ApiToken| token.expires.is_some_and(|expires| expires + 30 * 24 * 3600 < now);
        let gone: Vec<ApiToken> = self.list().await?.into_iter().filter(gone).collect();
        for token in &gone {
            self.revoke(&token.id).await?;
        }
        Ok(gone.len())
    }

    fn valid(&self, id: &str, record: Record) -> Result<ApiToken, ApiTokenError> {
        if record.expires.is_some_and(|expires| self.clock.unix_seconds() >= expires) {
            return Err(ApiTokenError::Expired);
        }
        Ok(record.describe(id, None))
    }

    /// Beside the request: nobody waits for it.
    fn note_use(&self, token: &ApiToken) {
        let now = self.clock.unix_seconds();
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(&token.id).is_some_and(|last| now < last + NOTE_EVERY_S) {
                return;
            }
            noted.insert(token.id.clone(), now);
        }
        let (store, id) = (self.store.clone(), token.id.clone());
        tokio::spawn(async move {
            // A token that was revoked meanwhile leaves nothing behind.
            let Ok(Some(entry)) = store.get(&key(&id)).await else { return };
            let note = Transaction::put(format!("{USED}{id}"), now.to_string()).expecting(key(&id), entry.revision);
            if let Err(error) = store.commit(note).await {
                tracing::debug!(%error, "the use of a token is not written down");
            }
        });
    }

    async fn read(&self, id: &str) -> Result<Option<Record>, ApiTokenError> {
        if !secret::is_id(id) {
            return Ok(None);
        }
        let entry = self.store.get(&key(id)).await?;
        Ok(entry.map(|entry| parse(&entry.key, &entry.value)).transpose()?)
    }
}

impl Record {
    fn describe(self, id: &str, last_used: Option<u64>) -> ApiToken {
        let Self { name, created, expires, access, author, .. } = self;
        ApiToken { id: id.to_owned(), name, access, author, created, expires, last_used }
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn used(entry: &store::Entry) -> Option<(String, u64)> {
    let at = std::str::from_utf8(&entry.value).ok()?.parse().ok()?;
    Some((entry.key[USED.len()..].to_owned(), at))
}

fn parse(key: &str, value: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(value).map_err(|error| unreadable(key, &error))
}

#[cfg(test)]
mod tests;
