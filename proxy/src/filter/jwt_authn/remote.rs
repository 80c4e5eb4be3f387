//! Keys that a server has (`envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks`): fetched once at a time, kept for
//! a while, not asked for again right after a failure. Without keys no token is valid.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::filter::call::call;
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};
use crate::jwt::Jwks;
use crate::worker::Worker;

#[derive(Debug, PartialEq)]
pub struct RemoteKeys {
    pub uri: String,
    pub scheme: &'static str,
    pub authority: String,
    pub path: String,
    pub cluster: String,
    pub timeout: Duration,
    /// How long keys are good (Envoy default 10 min).
    pub cache_duration: Duration,
    pub retries: Retries,
    /// `async_fetch`: how soon a failed fetch is tried again (Envoy default 1 s).
    pub in_background: Option<Duration>,
}

/// How often a fetch is tried again, and after which times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    pub number: u32,
    pub base: Duration,
    pub most: Duration,
}

/// After a failed fetch requests are turned away for so long without another.
const PAUSE: Duration = Duration::from_secs(1);
/// How long before keys get too old they are fetched anew in the background.
const AHEAD: Duration = Duration::from_secs(5);

/// What a worker has of one remote set.
#[derive(Default)]
pub struct Fetched {
    keys: RefCell<Option<(Arc<Jwks>, Instant)>>,
    failed: Cell<Option<Instant>>,
    /// Held by the one who fetches.
    fetching: Mutex<()>,
    /// The settings that a background task works for.
    kept_fresh: RefCell<Weak<RemoteKeys>>,
}

impl Fetched {
    /// The keys, from before or fetched now; all who need them wait for the same fetch.
    pub async fn keys(&self, worker: &Rc<Worker>, remote: &RemoteKeys) -> Option<Arc<Jwks>> {
        if let Some(keys) = self.fresh(remote) {
            return Some(keys);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(keys) = self.fresh(remote) {
            return Some(keys);
        }
        if self.failed.get().is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        self.fetch(worker, remote).await
    }

    fn fresh(&self, remote: &RemoteKeys) -> Option<Arc<Jwks>> {
        let kept = self.kept_fresh.borrow().strong_count() > 0;
        let keys = self.keys.borrow();
        let (keys, since) = keys.as_ref()?;
        (kept || since.elapsed() < remote.cache_duration).then(|| Arc::clone(keys))
    }

    async fn fetch(&self, worker: &Rc<Worker>, remote: &RemoteKeys) -> Option<Arc<Jwks>> {
        let fetched = remote.fetch(worker).await.map(Arc::new);
        match &fetched {
            Some(keys) => {
                *self.keys.borrow_mut() = Some((Arc::clone(keys), Instant::now()));
                self.failed.set(None);
            }
            None => self.failed.set(Some(Instant::now())),
        }
        fetched
    }

    /// Fetches now and again, for as long as the settings that ask for it are in use.
    pub fn keep_fresh(self: &Rc<Self>, worker: &Rc<Worker>, remote: &Arc<RemoteKeys>) {
        if remote.in_background.is_none() || self.kept_fresh.borrow().strong_count() > 0 {
            return;
        }
        let settings = Arc::downgrade(remote);
        *self.kept_fresh.borrow_mut() = Weak::clone(&settings);
        let (fetched, worker) = (Rc::clone(self), Rc::downgrade(worker));
        tokio::task::spawn_local(async move {
            loop {
                let (Some(worker), Some(remote)) = (worker.upgrade(), settings.upgrade()) else { return };
                let _fetching = fetched.fetching.lock().await;
                let pause = match (fetched.fetch(&worker, &remote).await, remote.in_background) {
                    (Some(_), _) => remote.cache_duration.checked_sub(AHEAD).unwrap_or(remote.cache_duration),
                    (None, pause) => pause.unwrap_or(PAUSE),
                };
                drop((worker, remote, _fetching));
                tokio::time::sleep(pause).await;
            }
        });
    }
}

impl RemoteKeys {
    async fn fetch(&self, worker: &Rc<Worker>) -> Option<Jwks> {
        for attempt in 0..=self.retries.number {
            if attempt > 0 {
                tokio::time::sleep(self.retries.delay(attempt, worker.random())).await;
            }
            match self.fetch_once(worker).await {
                Ok(keys) => return Some(keys),
                Err(problem) => tracing::warn!(uri = %self.uri, cluster = %self.cluster, %problem, "no keys for JWTs"),
            }
        }
        None
    }

    async fn fetch_once(&self, worker: &Rc<Worker>) -> Result<Jwks, String> {
        let head = RequestHead {
            method: "GET".to_owned(),
            scheme: self.scheme,
            authority: self.authority.clone(),
            path: self.path.clone(),
            version: Version::Http11,
            headers: Headers::new(),
            upgrade: None,
        };
        let answer = call(worker, &self.cluster, &head, Bytes::new(), self.timeout).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.head.status != 200 {
            return Err(format!("the answer is {}", answer.head.status));
        }
        Jwks::parse(&answer.body).ok_or_else(|| "the answer holds no key that can be used".to_owned())
    }
}

impl Retries {
    /// A random time up to one that doubles with each attempt.
    fn delay(self, attempt: u32, random: u64) -> Duration {
        let bound = self.base.saturating_mul(1 << (attempt - 1).min(16)).min(self.most);
        bound.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    }
}
