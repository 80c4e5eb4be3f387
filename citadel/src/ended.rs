//! Waits for the end of what is in the store for a time only.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use runtime::Clock;
use store::{Entry, Store};

/// The wall clock may be set, and the store be away for a moment; both are looked at this often.
const LOOK: Duration = Duration::from_secs(60);

/// Returns once there is no entry of this key any more, or its end has come: `end` reads it, in Unix seconds. What the
/// store does not tell now stands as it was.
pub async fn ended(store: &dyn Store, clock: &Clock, key: &str, end: impl Fn(&Entry) -> u64) {
    let mut changes = store.watch(key);
    loop {
        let left = match store.get(key).await {
            Ok(None) => return,
            Ok(Some(entry)) => {
                let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end(&entry)));
                end.map_or(LOOK, |end| end.duration_since(clock.now()).unwrap_or_default())
            }
            Err(error) => {
                tracing::debug!(%error, "the store does not tell now what is in force");
                LOOK
            }
        };
        if left.is_zero() {
            return;
        }
        tokio::select! {
            change = changes.next() => if change.is_none() { return },
            () = tokio::time::sleep(left.min(LOOK)) => {}
        }
    }
}
