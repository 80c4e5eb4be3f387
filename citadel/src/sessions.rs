//! Sessions of browsers, and the link with which the first one is begun.
//!
//! A session stands for an API token: it ends with it, when nobody used it for a while, or when its day is over.

use std::sync::Arc;
use std::time::Duration;

use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use crate::api_tokens::{ApiToken, ApiTokenError, ApiTokens, NewApiToken};
use crate::ended::ended;
use crate::ledger::unreadable;
use crate::secret;

const PREFIX: &str = "session/";
const SETUP: &str = "setup/";
const SCHEME: &str = "weft_ses_";
const SETUP_SCHEME: &str = "weft_setup_";
/// A session that was not used for so long is over.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// The longest that a session lasts.
pub const DAY: Duration = Duration::from_secs(12 * 3600);
/// How long a setup link can be used.
pub const SETUP_LIFE: Duration = Duration::from_secs(3600);
/// A use is written down at most that often.
const NOTE_EVERY_S: u64 = 60;

#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    tokens: ApiTokens,
    clock: Clock,
}

/// A session in force.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub token: ApiToken,
    /// What a page must send with every change: another site's page does not know it.
    pub csrf: String,
    /// Unix seconds at which it ends if nobody uses it.
    pub expires: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the session is over; sign in again")]
    Over,
    #[error("the setup link was used, or is too old; `weft access setup` prints a new one")]
    Spent,
    #[error(transparent)]
    Token(#[from] ApiTokenError),
    #[error("no session can be begun: {0}")]
    Randomness(#[from] secret::NoRandomness),
    #[error("sessions cannot be checked now: {0}")]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Record {
    hash: String,
    /// The ID of the API token.
    token: String,
    created: u64,
    used: u64,
}

#[derive(Serialize, Deserialize)]
struct SetupRecord {
    hash: String,
    expires: u64,
}

impl Sessions {
    pub fn new(store: Arc<dyn Store>, tokens: ApiTokens, clock: Clock) -> Self {
        Self { store, tokens, clock }
    }

    /// Begins a session with an API token or what a setup link carries; the cookie's text comes with it.
    pub async fn begin(&self, text: &str) -> Result<(Session, String), SessionError> {
        let token = match text.strip_prefix(SETUP_SCHEME) {
            Some(rest) => self.redeem(rest).await?,
            None => self.tokens.verify(text).await?,
        };
        let (id, secret) = secret::generate()?;
        let now = self.clock.unix_seconds();
        let record = Record { hash: secret::hash(&secret), token: token.id.clone(), created: now, used: now };
        self.write(&id, &record, 0).await?;
        let session = self.describe(&id, &secret, &record, token);
        Ok((session, format!("{SCHEME}{id}_{secret}")))
    }

    /// The session of a cookie.
    pub async fn find(&self, text: &str) -> Result<Session, SessionError> {
        let (id, secret) = split(text, SCHEME).ok_or(SessionError::Over)?;
        let entry = self.store.get(&key(id)).await?;
        let record: Option<Record> = entry.as_ref().map(|entry| parse(&entry.key, &entry.value)).transpose()?;
        let hash = record.as_ref().map_or_else(|| "0".repeat(64), |record| record.hash.clone());
        let fits = secret::matches(secret, &hash);
        let (Some(mut record), Some(entry), true) = (record, entry, fits) else { return Err(SessionError::Over) };
        let now = self.clock.unix_seconds();
        if now >= record.end() {
            self.store.commit(Transaction::delete(key(id))).await?;
            return Err(SessionError::Over);
        }
        let token = self.tokens.find(&record.token).await.map_err(|error| match error {
            ApiTokenError::Store(error) => SessionError::Store(error),
            _ => SessionError::Over,
        })?;
        if now >= record.used + NOTE_EVERY_S {
            record.used = now;
            match self.write(id, &record, entry.revision).await {
                // Another request of the same page was first.
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.describe(id, secret, &record, token))
    }

    pub async fn end(&self, session: &Session) -> Result<(), SessionError> {
        self.store.commit(Transaction::delete(key(&session.id))).await?;
        Ok(())
    }

    /// Returns once the session is over, by itself or with its token.
    pub async fn ended(&self, session: &Session) {
        let end = |entry: &store::Entry| parse(&entry.key, &entry.value).map_or(0, |record: Record| record.end());
        let key = key(&session.id);
        tokio::select! {
            () = ended(&*self.store, &self.clock, &key, end) => {}
            () = self.tokens.ended(&session.token.id) => {}
        }
    }

    /// What a setup link carries: good once, for an hour.
    pub async fn setup(&self) -> Result<String, SessionError> {
        let (id, secret) = secret::generate()?;
        let expires = self.clock.unix_seconds() + SETUP_LIFE.as_secs();
        let record = SetupRecord { hash: secret::hash(&secret), expires };
        let value = serde_json::to_vec(&record).map_err(|error| unreadable(&id, &error))?;
        self.store.commit(Transaction::put(format!("{SETUP}{id}"), value)).await?;
        Ok(format!("{SETUP_SCHEME}{id}_{secret}"))
    }

    /// Takes what a setup link carries, and makes the token that its session stands for.
    async fn redeem(&self, rest: &str) -> Result<ApiToken, SessionError> {
        let (id, secret) = rest.split_once('_').filter(|(id, _)| secret::is_id(id)).ok_or(SessionError::Spent)?;
        let path = format!("{SETUP}{id}");
        let entry = self.store.get(&path).await?.ok_or(SessionError::Spent)?;
        let record: SetupRecord =
            serde_json::from_slice(&entry.value).map_err(|error| unreadable(&entry.key, &error))?;
        if !secret::matches(secret, &record.hash) || self.clock.unix_seconds() >= record.expires {
            return Err(SessionError::Spent);
        }
        match self.store.commit(Transaction::delete(path.clone()).expecting(path, entry.revision)).await {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Err(SessionError::Spent),
            Err(error) => return Err(error.into()),
        }
        // Nobody has its text.
        Ok(self.tokens.mint(NewApiToken::admin("setup", DAY)).await?.token)
    }

    /// Forgets sessions and setup links that are over.
    pub async fn prune(&self) -> Result<(), SessionError> {
        let now = self.clock.unix_seconds();
        let mut delete = Vec::new();
        for entry in self.store.list(PREFIX).await?.entries {
            let over = |record: Record| now >= record.end();
            if parse(&entry.key, &entry.value).map_or(true, over) {
                delete.push(entry.key);
            }
        }
        for entry in self.store.list(SETUP).await?.entries {
            let record = serde_json::from_slice::<SetupRecord>(&entry.value);
            if record.map_or(true, |record| now >= record.expires) {
                delete.push(entry.key);
            }
        }
        if !delete.is_empty() {
            self.store.commit(Transaction { delete, ..Transaction::default() }).await?;
        }
        Ok(())
    }

    fn describe(&self, id: &str, secret: &str, record: &Record, token: ApiToken) -> Session {
        let expires = token.expires.map_or(record.end(), |expires| expires.min(record.end()));
        Session { id: id.to_owned(), token, csrf: secret::hash(&format!("csrf {secret}")), expires }
    }

    async fn write(&self, id: &str, record: &Record, expected: u64) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record).map_err(|error| unreadable(id, &error))?;
        self.store.commit(Transaction::put(key(id), value).expecting(key(id), expected)).await.map(drop)
    }
}

impl Record {
    /// Unix seconds at which it is over if nobody uses it.
    fn end(&self) -> u64 {
        (self.used + IDLE.as_secs()).min(self.created + DAY.as_secs())
    }
}

impl Session {
    /// Whether a page sent the word that belongs to this session.
    pub fn is_own_page(&self, sent: &str) -> bool {
        secret::equal(sent, &self.csrf)
    }
}

fn split<'a>(text: &'a str, scheme: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(scheme)?.split_once('_').filter(|(id, _)| secret::is_id(id))
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

    fn sessions(store: &Arc<Memory>, time: &ManualClock) -> (Sessions, ApiTokens) {
        let tokens = ApiTokens::new(store.clone(), time.clock());
        (Sessions::new(store.clone(), tokens.clone(), time.clock()), tokens)
    }

    #[tokio::test]
    async fn a_session_lives_while_it_is_used_and_no_longer_than_a_day() {
        let (store, time) = (Arc::new(Memory::new()), ManualClock::at(SystemTime::now()));
        let (sessions, tokens) = sessions(&store, &time);
        let text = tokens.mint(NewApiToken::admin("ada", 2 * DAY)).await.unwrap().text;
        let (begun, cookie) = sessions.begin(&text).await.unwrap();
        for _ in 0..DAY.as_secs() / 1_500 {
            let found = sessions.find(&cookie).await.unwrap();
            assert_eq!((found.csrf, found.token.name), (begun.csrf.clone(), "ada".into()));
            time.advance(Duration::from_secs(1_500));
        }
        time.advance(Duration::from_secs(1_500));
        assert!(matches!(sessions.find(&cookie).await, Err(SessionError::Over)));
        let (_, idle) = sessions.begin(&text).await.unwrap();
        time.advance(IDLE);
        assert!(matches!(sessions.find(&idle).await, Err(SessionError::Over)));
        sessions.prune().await.unwrap();
        assert_eq!(store.list(PREFIX).await.unwrap().entries, []);
    }

    #[tokio::test]
    async fn a_session_ends_with_its_token() {
        let (store, time) = (Arc::new(Memory::new()), ManualClock::at(SystemTime::now()));
        let (sessions, tokens) = sessions(&store, &time);
        let made = tokens.mint(NewApiToken::admin("ada", DAY)).await.unwrap();
        let (session, cookie) = sessions.begin(&made.text).await.unwrap();
        assert!(session.is_own_page(&session.csrf) && !session.is_own_page(""));
        tokens.revoke(&made.token.id).await.unwrap();
        assert!(matches!(sessions.find(&cookie).await, Err(SessionError::Over)));
        assert!(matches!(sessions.begin(&made.text).await, Err(SessionError::Token(_))));
        for entry in store.list("").await.unwrap().entries {
            let kept = String::from_utf8_lossy(&entry.value).into_owned();
            assert!(!kept.contains(cookie.rsplit('_').next().unwrap()) && !kept.contains(&session.csrf));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_session_is_told_when_it_comes() {
        let store = Arc::new(Memory::new());
        let clock = Clock::with_tokio(SystemTime::now());
        let tokens = ApiTokens::new(store.clone(), clock.clone());
        let sessions = Sessions::new(store.clone(), tokens.clone(), clock);
        let made = tokens.mint(NewApiToken::admin("ada", DAY)).await.unwrap();
        let begun = || async { sessions.begin(&made.text).await.unwrap() };
        let now = tokio::time::Instant::now;

        let (idle, cookie) = begun().await;
        let (start, half) = (now(), IDLE / 2);
        let mut over = std::pin::pin!(sessions.ended(&idle));
        assert!(tokio::time::timeout(half, &mut over).await.is_err());
        sessions.find(&cookie).await.unwrap();
        over.await;
        let lasted = start.elapsed();
        assert!((half + IDLE).abs_diff(lasted) < Duration::from_secs(2), "{lasted:?}");

        let (left, _) = begun().await;
        let start = now();
        tokio::join!(sessions.ended(&left), async { sessions.end(&left).await.unwrap() });
        let (last, _) = begun().await;
        tokio::join!(sessions.ended(&last), async { tokens.revoke(&made.token.id).await.unwrap() });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_setup_link_is_good_once_and_for_an_hour() {
        let (store, time) = (Arc::new(Memory::new()), ManualClock::at(SystemTime::now()));
        let (sessions, _) = sessions(&store, &time);
        let link = sessions.setup().await.unwrap();
        let (start, last) = link.split_at(link.len() - 1);
        let wrong = format!("{start}{}", if last == "x" { "y" } else { "x" });
        assert!(matches!(sessions.begin(&wrong).await, Err(SessionError::Spent)));
        let (session, cookie) = sessions.begin(&link).await.unwrap();
        assert_eq!(session.token.access.role, crate::Role::Admin);
        sessions.find(&cookie).await.unwrap();
        assert!(matches!(sessions.begin(&link).await, Err(SessionError::Spent)));
        let late = sessions.setup().await.unwrap();
        time.advance(SETUP_LIFE);
        assert!(matches!(sessions.begin(&late).await, Err(SessionError::Spent)));
    }
}
