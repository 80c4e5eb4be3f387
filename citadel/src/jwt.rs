//! JWT-SVIDs: tokens by which a workload shows who it is where mutual TLS does not reach (SPIFFE JWT-SVID). Each
//! control plane has keys of its own, which stay in the authority's directory; their public halves are in the store,
//! so that every control plane tells of the keys of all.
//!
//! What must hold: a key is told of before it signs anything; it is told of for as long as anything that it signed
//! holds.

mod files;
mod key;
mod published;
mod schedule;
mod service;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::{SpiffeId, TrustDomain};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runtime::Clock;
use serde_json::json;
use store::{Store, StoreError};
use tokio::sync::watch;

use self::files::Files;
pub(crate) use self::key::SigningKey;
pub use self::published::JwtKeys;
use self::published::Published;
pub use self::service::JwtService;
use crate::OpenError;

/// How long a token holds.
pub const TOKEN_TTL: Duration = Duration::from_secs(300);
/// How often the keys are looked at.
const LOOK: Duration = Duration::from_secs(60);
const MOST_AUDIENCES: usize = 16;
const LONGEST_AUDIENCE: usize = 512;

/// Signs tokens and tells of the keys that verify them.
pub struct JwtAuthority {
    trust_domain: TrustDomain,
    /// Who signs, for verifiers that look for the keys by it (OpenID Connect); tokens need not say.
    issuer: Option<String>,
    files: Files,
    keys: Mutex<Vec<Arc<SigningKey>>>,
    published: Published,
    told: watch::Sender<Arc<JwtKeys>>,
    clock: Clock,
}

/// A signed token.
#[derive(Clone)]
pub struct MintedJwt {
    pub token: String,
    /// Unix seconds.
    pub expires: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("a token names who is to accept it: give at least one audience")]
    NoAudience,
    #[error("an audience has 1 to {LONGEST_AUDIENCE} bytes, and a token at most {MOST_AUDIENCES} audiences")]
    Audience,
    #[error("{asked} is not of the trust domain {ours}")]
    ForeignTrustDomain { asked: SpiffeId, ours: TrustDomain },
    #[error("the token cannot be signed")]
    Signing,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the keys that verify tokens cannot be told of, so none signs: {0}")]
    Store(#[from] StoreError),
}

impl JwtAuthority {
    /// Opens the keys in the authority's directory, and makes the first one if there is none.
    pub async fn open(
        directory: &Path,
        trust_domain: &TrustDomain,
        issuer: Option<String>,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Self, JwtError> {
        let files = Files::new(directory);
        let keys = files.load()?.into_iter().map(Arc::new).collect();
        let published = Published::new(store);
        let authority = Self {
            trust_domain: trust_domain.clone(),
            issuer,
            files,
            keys: Mutex::new(keys),
            published,
            told: watch::Sender::default(),
            clock,
        };
        authority.renew().await?;
        Ok(authority)
    }

    /// A token of a workload that was already attested.
    pub fn mint(&self, id: &SpiffeId, audience: &[String]) -> Result<MintedJwt, JwtError> {
        check(audience)?;
        if id.trust_domain() != &self.trust_domain {
            return Err(JwtError::ForeignTrustDomain { asked: id.clone(), ours: self.trust_domain.clone() });
        }
        let now = self.clock.unix_seconds();
        let expires = now + TOKEN_TTL.as_secs();
        let key = schedule::signing(&self.keys(), now).ok_or(JwtError::Signing)?;
        let header = json!({ "alg": "ES256", "kid": key.id(), "typ": "JWT" });
        let mut claims = json!({ "sub": id.to_string(), "aud": audience, "iat": now, "exp": expires });
        if let Some(issuer) = &self.issuer {
            claims["iss"] = issuer.as_str().into();
        }
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = key.sign(signed.as_bytes()).ok_or(JwtError::Signing)?;
        Ok(MintedJwt { token: format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), expires })
    }

    /// The keys that verify the mesh's tokens, now and after each change.
    pub fn told(&self) -> watch::Receiver<Arc<JwtKeys>> {
        self.told.subscribe()
    }

    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Replaces keys as they age, and hears of those of other control planes, for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut changes = self.published.changes();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = changes.next() => {}
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "the keys of JWT-SVIDs are not renewed; trying again in a minute");
            }
        }
    }

    /// Makes the keys that are due, tells of them, and forgets those that nothing needs any more.
    async fn renew(&self) -> Result<(), JwtError> {
        let now = self.clock.unix_seconds();
        let mut keys: Vec<Arc<SigningKey>> = self.keys().clone();
        let before = keys.len();
        keys.retain(|key| !schedule::is_over(key.created(), now));
        let mut changed = keys.len() != before;
        if schedule::wants_another(&keys, now) {
            keys.push(Arc::new(SigningKey::generate(now).map_err(|_| JwtError::Signing)?));
            changed = true;
        }
        if changed {
            self.files.store(&keys)?;
        }
        // Told of first, and only then taken up.
        let all = self.published.renew(&keys, now).await?;
        *self.keys() = keys;
        self.told.send_if_modified(|told| {
            let differ = **told != all;
            if differ {
                *told = Arc::new(all);
            }
            differ
        });
        Ok(())
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Arc<SigningKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(audience: &[String]) -> Result<(), JwtError> {
    if audience.is_empty() {
        return Err(JwtError::NoAudience);
    }
    let fits = |text: &String| !text.is_empty() && text.len() <= LONGEST_AUDIENCE;
    if audience.len() > MOST_AUDIENCES || !audience.iter().all(fits) { Err(JwtError::Audience) } else { Ok(()) }
}

impl std::fmt::Debug for MintedJwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MintedJwt").field("expires", &self.expires).finish_non_exhaustive()
    }
}
