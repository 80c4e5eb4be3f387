//! Sessions that clients may resume: as tickets, with a key of our own or with keys that several proxies share, or by
//! session IDs. Both end with the configured time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use runtime::Clock;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};

use super::TlsError;
use crate::config::{ServerResumption, Tickets};

/// Of a context. More would be memory for nothing.
const MOST_SESSIONS: usize = 4096;
const NAME: usize = 16;
const TIME: usize = 8;
const NONCE: usize = 12;

/// Tickets that one of some keys opens. The first makes them.
pub struct Ticketer {
    keys: Vec<([u8; NAME], RandomizedNonceKey)>,
    timeout: Duration,
    clock: Clock,
}

impl Ticketer {
    /// `None`: no tickets.
    pub fn new(resumption: &ServerResumption, clock: Clock) -> Result<Option<Arc<Self>>, TlsError> {
        let own;
        let keys = match &resumption.tickets {
            Tickets::Off => return Ok(None),
            Tickets::Shared(keys) => keys.as_slice(),
            Tickets::Own => {
                let mut key = [0; 80];
                aws_lc_rs::rand::fill(&mut key).map_err(|_| TlsError::Unusable("no randomness".to_owned()))?;
                own = [key];
                &own
            }
        };
        let usable = |key: &[u8; 80]| {
            let mut name = [0; NAME];
            name.copy_from_slice(&key[..NAME]);
            // Envoy's keys hold one secret to sign with and one to encrypt with; one that needs both is made of them.
            let key = RandomizedNonceKey::new(&AES_256_GCM, digest(&SHA256, &key[NAME..]).as_ref());
            key.map(|key| (name, key)).map_err(|_| TlsError::Unusable("a session ticket key".to_owned()))
        };
        let keys = keys.iter().map(usable).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(Self { keys, timeout: resumption.timeout, clock })))
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut sealed = stamped(plain, &self.clock);
        let nonce = key.seal_in_place_append_tag(Aad::from(name), &mut sealed).ok()?;
        Some([name, nonce.as_ref().as_slice(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let mut sealed = sealed.to_vec();
        let plain = key.open_in_place(Nonce::from(nonce), Aad::from(name), &mut sealed).ok()?;
        fresh(plain, self.timeout, &self.clock).map(<[u8]>::to_vec)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticketer({} keys)", self.keys.len())
    }
}

/// Sessions by ID, which are forgotten after a while.
#[derive(Debug)]
pub struct Sessions {
    kept: Arc<ServerSessionMemoryCache>,
    timeout: Duration,
    clock: Clock,
}

impl Sessions {
    pub fn storage(resumption: &ServerResumption, clock: Clock) -> Arc<dyn StoresServerSessions> {
        if !resumption.stateful {
            return Arc::new(NoServerSessionStorage {});
        }
        Arc::new(Self { kept: ServerSessionMemoryCache::new(MOST_SESSIONS), timeout: resumption.timeout, clock })
    }

    fn fresh(&self, kept: Option<Vec<u8>>) -> Option<Vec<u8>> {
        fresh(&kept?, self.timeout, &self.clock).map(<[u8]>::to_vec)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.kept.put(key, stamped(&value, &self.clock))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.kept.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.kept.take(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A session and when it was kept.
fn stamped(session: &[u8], clock: &Clock) -> Vec<u8> {
    [&clock.unix_seconds().to_be_bytes(), session].concat()
}

/// The session, if it is not too old.
fn fresh<'a>(stamped: &'a [u8], timeout: Duration, clock: &Clock) -> Option<&'a [u8]> {
    let (time, session) = stamped.split_first_chunk::<TIME>()?;
    let age = clock.unix_seconds().checked_sub(u64::from_be_bytes(*time))?;
    (age < timeout.as_secs()).then_some(session)
}

#[cfg(test)]
mod tests {
    use runtime::ManualClock;

    use super::*;

    fn resumption(tickets: Tickets) -> ServerResumption {
        ServerResumption { stateful: true, tickets, timeout: Duration::from_secs(60) }
    }

    fn ticketer(keys: &[u8], clock: &Clock) -> Arc<Ticketer> {
        let keys = keys.iter().map(|byte| [*byte; 80]).collect();
        Ticketer::new(&resumption(Tickets::Shared(keys)), clock.clone()).unwrap().unwrap()
    }

    #[test]
    fn a_ticket_is_opened_by_whoever_has_its_key_until_its_time_is_over() {
        let manual = ManualClock::at(std::time::SystemTime::now());
        let clock = manual.clock();
        let (first, second) = (ticketer(&[1], &clock), ticketer(&[2, 1], &clock));
        let ticket = first.encrypt(b"session").unwrap();
        assert_eq!(second.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(first.decrypt(&second.encrypt(b"session").unwrap()), None);
        for at in [0, NAME, NAME + NONCE, ticket.len() - 1] {
            let mut spoilt = ticket.clone();
            spoilt[at] ^= 1;
            assert_eq!(second.decrypt(&spoilt), None, "at {at}");
            assert_eq!(second.decrypt(&ticket[..at]), None);
        }
        manual.advance(Duration::from_secs(59));
        assert!(first.decrypt(&ticket).is_some());
        manual.advance(Duration::from_secs(1));
        assert_eq!(first.decrypt(&ticket), None);
    }

    #[test]
    fn a_session_is_kept_for_its_time_or_not_at_all() {
        let manual = ManualClock::at(std::time::SystemTime::now());
        let clock = manual.clock();
        let kept = Sessions::storage(&resumption(Tickets::Off), clock.clone());
        assert!(kept.put(vec![1], vec![7]));
        assert_eq!(kept.get(&[1]), Some(vec![7]));
        manual.advance(Duration::from_secs(60));
        assert_eq!(kept.get(&[1]), None);
        let none = ServerResumption { stateful: false, ..resumption(Tickets::Off) };
        assert!(!Sessions::storage(&none, clock).put(vec![1], vec![7]));
    }
}
