//! Asks etcd until it answers, or the patience is over.

use std::future::Future;
use std::time::Duration;

use etcd_client::Error;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::{ANSWER, Shared};
use crate::StoreError;

/// How long an etcd that is away is waited for: a restart or the election of a leader takes less.
const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Shared {
    /// Repeats a call that may be repeated.
    pub async fn persist<T, F>(&self, call: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let end = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match timeout(ANSWER, call()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if !is_passing(&error) => return Err(broken(&self.place, &explained(&error))),
                Ok(Err(error)) => explained(&error),
                Err(_) => format!("no answer in {} s", ANSWER.as_secs()),
            };
            if Instant::now() + pause > end {
                return Err(broken(&self.place, &error));
            }
            tracing::debug!(store = self.place, error, "etcd is asked again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether the same call may succeed later.
pub(super) fn is_passing(error: &Error) -> bool {
    match error {
        // Too many requests pass; a size does not.
        Error::GRpcStatus(status) if status.code() == Code::ResourceExhausted => {
            status.message().contains("too many requests")
        }
        Error::GRpcStatus(status) => !matches!(
            status.code(),
            Code::InvalidArgument
                | Code::OutOfRange
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
                | Code::FailedPrecondition
        ),
        Error::TransportError(_) | Error::IoError(_) | Error::WatchError(_) => true,
        _ => false,
    }
}

/// etcd's words, and what to do where they do not say it.
pub(super) fn explained(error: &Error) -> String {
    let Error::GRpcStatus(status) = error else { return error.to_string() };
    let words = status.message();
    let advice = match words {
        _ if words.contains("too many operations") => {
            "; start etcd with a larger --max-txn-ops, or change less at once"
        }
        _ if words.contains("request is too large") || words.contains("larger than max") => {
            "; start etcd with a larger --max-request-bytes, or change less at once"
        }
        _ if words.contains("database space exceeded") => {
            "; compact and defragment etcd, or raise --quota-backend-bytes, then clear the alarm with etcdctl alarm disarm"
        }
        _ => "",
    };
    format!("{words}{advice}")
}

pub(super) fn broken(place: &str, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Broken { path: place.to_owned(), cause: cause.to_string() }
}
