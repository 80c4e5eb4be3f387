//! Which key signs, which is told of, and when the next one is made: pure functions of their ages.

use std::sync::Arc;
use std::time::Duration;

use super::TOKEN_TTL;
use super::key::SigningKey;

/// A key signs this long, from when the one before it ends.
const SIGNS: u64 = 24 * 3600;
/// The next key is made, and told of, this long before it signs.
const AHEAD: u64 = 12 * 3600;
/// How far clocks may be apart, and how long it may take to hear of a key.
const SLACK: Duration = Duration::from_secs(3600);

/// The oldest key that still signs; if all have come of age, the newest.
pub fn signing(keys: &[Arc<SigningKey>], now: u64) -> Option<Arc<SigningKey>> {
    let still = keys.iter().filter(|key| now < key.created() + AHEAD + SIGNS).min_by_key(|key| key.created());
    still.or_else(|| keys.iter().max_by_key(|key| key.created())).cloned()
}

/// Whether there is no key that will sign once the present one does not.
pub fn wants_another(keys: &[Arc<SigningKey>], now: u64) -> bool {
    keys.iter().all(|key| now >= key.created() + SIGNS)
}

/// Whether everything that a key signed has ended.
pub fn is_over(created: u64, now: u64) -> bool {
    now >= until(created)
}

/// How long verifiers need a key that was made at `created`; Unix seconds.
pub fn until(created: u64) -> u64 {
    created + AHEAD + SIGNS + TOKEN_TTL.as_secs() + SLACK.as_secs()
}
