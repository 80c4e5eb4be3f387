//! What the API itself keeps from one request to the next, in memory.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::certificates::Certificates;
use crate::feed::Feed;
use crate::graph::Drawn;
use crate::idempotency::Answered;
use crate::limiter::{Limiter, Rate};
use crate::list::Pages;
use crate::trouble::{Failing, Mutes, Since};

/// Cloning shares.
#[derive(Clone)]
pub struct Kept {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) answered: Arc<Answered>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) graphs: Arc<Drawn>,
    pub(crate) since: Arc<Since>,
    pub(crate) failing: Arc<Failing>,
    pub(crate) mutes: Arc<Mutes>,
    /// Unix milliseconds.
    pub(crate) started_at: u64,
}

impl Kept {
    pub fn new(rate: Rate) -> Self {
        Self {
            limiter: Arc::new(Limiter::new(rate)),
            answered: Arc::default(),
            certificates: Arc::default(),
            feed: Arc::default(),
            pages: Arc::default(),
            graphs: Arc::default(),
            since: Arc::default(),
            failing: Arc::default(),
            mutes: Arc::default(),
            started_at: millis(SystemTime::now()),
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(Rate::default())
    }
}

/// A time as the API tells it: Unix milliseconds.
pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Unix seconds.
pub(crate) fn now_seconds() -> u64 {
    millis(SystemTime::now()) / 1000
}
