//! Join tokens: a secret to give to a new workload, bound to one service account, used up by the first key that
//! presents it. The text also pins the root certificate, so the workload knows whom to trust at first contact.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};
use tokio::sync::watch;

use crate::Grant;
use crate::TrustBundle;
use crate::ledger::unreadable;
use crate::secret;

const PREFIX: &str = "token/";
const SCHEME: &str = "weft_join_";
const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// How long a key that already redeemed a token may ask again: the answer may have been lost.
const RETRY_WINDOW_S: u64 = 600;
/// How often a redemption is tried again when another one came between.
const ATTEMPTS: usize = 8;

/// Creates, redeems, lists and revokes join tokens.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<dyn Store>,
    /// The first root is the one that new tokens name.
    bundle: watch::Receiver<Arc<TrustBundle>>,
    clock: Clock,
}

/// An order for a token.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub namespace: String,
    pub service_account: String,
    pub ttl: Duration,
    pub uses: u32,
    pub grant: Grant,
}

/// A token just made. The text is not kept anywhere.
#[derive(Clone, Debug)]
pub struct CreatedToken {
    pub id: String,
    /// `weft_join_<id>_<secret>_<SHA-256 of the root certificate>`.
    pub text: String,
    /// Unix seconds.
    pub expires: u64,
}

/// What a redeemed token grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redeemed {
    /// The token's ID.
    pub token: String,
    pub namespace: String,
    pub service_account: String,
    pub grant: Grant,
}

/// A token as an operator sees it: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenStatus {
    pub id: String,
    pub namespace: String,
    pub service_account: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds.
    pub expires: u64,
    pub uses: u32,
    pub used: u32,
    pub expired: bool,
    #[serde(flatten)]
    pub grant: Grant,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("this is no join token; one starts with {SCHEME} and is made by `weft token create`")]
    Malformed,
    #[error("the namespace and the service account of a token are DNS labels, {0:?} is not")]
    Name(String),
    #[error("a token is valid for at least one second and one use")]
    Useless,
    #[error(
        "the join token is unknown here: it was revoked, or belongs to another mesh; make one with `weft token create`"
    )]
    Unknown,
    #[error("the join token expired; make a new one with `weft token create`")]
    Expired,
    #[error("the join token was already used by another key; make a new one with `weft token create`")]
    UsedByAnotherKey,
    #[error("the join token was used by this key too long ago to ask again; make a new one with `weft token create`")]
    Spent,
    #[error("no token can be made: {0}")]
    Randomness(#[from] secret::NoRandomness),
    #[error("the join token cannot be checked now: {0}")]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    hash: String,
    namespace: String,
    service_account: String,
    created: u64,
    expires: u64,
    uses: u32,
    redemptions: Vec<Redemption>,
    #[serde(default)]
    grant: Grant,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Redemption {
    key: String,
    at: u64,
}

impl NewToken {
    /// Valid for one hour and one use.
    pub fn new(namespace: impl Into<String>, service_account: impl Into<String>) -> Self {
        let (namespace, service_account) = (namespace.into(), service_account.into());
        Self { namespace, service_account, ttl: DEFAULT_TTL, uses: 1, grant: Grant::default() }
    }
}

impl Tokens {
    /// `bundle` is the authority's.
    pub fn new(store: Arc<dyn Store>, bundle: watch::Receiver<Arc<TrustBundle>>, clock: Clock) -> Self {
        Self { store, bundle, clock }
    }

    pub async fn create(&self, order: NewToken) -> Result<CreatedToken, TokenError> {
        for name in [&order.namespace, &order.service_account] {
            if !api::is_dns_label(name) {
                return Err(TokenError::Name(name.clone()));
            }
        }
        if order.ttl < Duration::from_secs(1) || order.uses == 0 {
            return Err(TokenError::Useless);
        }
        self.prune().await?;
        let (id, secret) = secret::generate()?;
        let created = self.clock.unix_seconds();
        let record = Record {
            hash: secret::hash(&secret),
            namespace: order.namespace,
            service_account: order.service_account,
            created,
            expires: created.saturating_add(order.ttl.as_secs()),
            uses: order.uses,
            redemptions: Vec::new(),
            grant: order.grant,
        };
        self.write(&id, &record, 0).await?;
        let text = format!("{SCHEME}{id}_{secret}_{}", self.bundle.borrow().pin());
        tracing::info!(
            token = id,
            namespace = record.namespace,
            service_account = record.service_account,
            "join token made"
        );
        Ok(CreatedToken { id, text, expires: record.expires })
    }

    /// Grants the token's identity to a key. The same key may ask again for ten minutes; another key is refused.
    pub async fn redeem(&self, text: &str, key_fingerprint: &str) -> Result<Redeemed, TokenError> {
        let (id, secret) = split(text).ok_or(TokenError::Malformed)?;
        let redeemed = self.try_redeem(id, secret, key_fingerprint).await;
        match &redeemed {
            Ok(_) => tracing::info!(token = id, key = key_fingerprint, "join token redeemed"),
            Err(error) => tracing::warn!(token = id, key = key_fingerprint, %error, "join token refused"),
        }
        redeemed
    }

    async fn try_redeem(&self, id: &str, secret: &str, key: &str) -> Result<Redeemed, TokenError> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let (mut record, revision) = self.read(id).await?.ok_or(TokenError::Unknown)?;
            if !secret::matches(secret, &record.hash) {
                return Err(TokenError::Unknown);
            }
            let fresh = record.admit(key, self.clock.unix_seconds())?;
            let redeemed = Redeemed {
                token: id.to_owned(),
                namespace: record.namespace.clone(),
                service_account: record.service_account.clone(),
                grant: record.grant.clone(),
            };
            let Some(redemption) = fresh else { return Ok(redeemed) };
            record.redemptions.push(redemption);
            match self.write(id, &record, revision).await {
                Ok(()) => return Ok(redeemed),
                Err(StoreError::Conflict { .. }) if attempts.next().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub async fn list(&self) -> Result<Vec<TokenStatus>, TokenError> {
        let now = self.clock.unix_seconds();
        let listing = self.store.list(PREFIX).await?;
        let status =
            |entry: &store::Entry| Ok(parse(&entry.key, &entry.value)?.status(&entry.key[PREFIX.len()..], now));
        listing.entries.iter().map(status).collect()
    }

    /// Forgets a token, so that nobody can join with it any more. Certificates already issued stay valid.
    pub async fn revoke(&self, id: &str) -> Result<(), TokenError> {
        self.read(id).await?.ok_or(TokenError::Unknown)?;
        self.store.commit(Transaction::delete(key(id))).await?;
        Ok(())
    }

    /// Forgets tokens that expired and can no longer be asked for again; returns how many.
    pub async fn prune(&self) -> Result<usize, TokenError> {
        let now = self.clock.unix_seconds();
        let dead = self.list().await?.into_iter().filter(|token| token.expires + RETRY_WINDOW_S < now);
        let delete: Vec<String> = dead.map(|token| key(&token.id)).collect();
        let count = delete.len();
        if count > 0 {
            self.store.commit(Transaction { delete, ..Transaction::default() }).await?;
        }
        Ok(count)
    }

    async fn read(&self, id: &str) -> Result<Option<(Record, u64)>, StoreError> {
        if !secret::is_id(id) {
            return Ok(None);
        }
        let entry = self.store.get(&key(id)).await?;
        entry.map(|entry| Ok((parse(&entry.key, &entry.value)?, entry.revision))).transpose()
    }

    async fn write(&self, id: &str, record: &Record, expected: u64) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record).map_err(|error| unreadable(id, &error))?;
        self.store.commit(Transaction::put(key(id), value).expecting(key(id), expected)).await?;
        Ok(())
    }
}

impl Record {
    /// Whether a key may have the token's identity now; `Some` if that is a new use of it.
    fn admit(&self, key: &str, now: u64) -> Result<Option<Redemption>, TokenError> {
        let earlier = self.redemptions.iter().find(|redemption| redemption.key == key);
        match earlier {
            Some(redemption) if now <= redemption.at + RETRY_WINDOW_S => Ok(None),
            Some(_) => Err(TokenError::Spent),
            None if self.redemptions.len() >= self.uses as usize => Err(TokenError::UsedByAnotherKey),
            None if now >= self.expires => Err(TokenError::Expired),
            None => Ok(Some(Redemption { key: key.to_owned(), at: now })),
        }
    }

    fn status(self, id: &str, now: u64) -> TokenStatus {
        TokenStatus {
            id: id.to_owned(),
            namespace: self.namespace,
            service_account: self.service_account,
            created: self.created,
            expires: self.expires,
            uses: self.uses,
            used: self.redemptions.len().try_into().unwrap_or(u32::MAX),
            expired: now >= self.expires,
            grant: self.grant,
        }
    }
}

/// The ID and the secret of a token's text.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.strip_prefix(SCHEME)?.split('_');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(id), Some(secret), Some(_pin), None) => Some((id, secret)),
        _ => None,
    }
}

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

fn parse(key: &str, value: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(value).map_err(|error| unreadable(key, &error))
}
