//! What a rate limit service says, as headers.

use std::fmt::Write as _;

use api::envoy::config::core::v3::HeaderValue;
use api::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use api::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};

/// Headers for the client, or for the upstream.
pub type Told = Vec<(String, Vec<u8>)>;

pub fn told(wire: &[HeaderValue]) -> Told {
    let one = |header: &HeaderValue| {
        let raw = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (header.key.to_ascii_lowercase(), raw.to_vec())
    };
    wire.iter().map(one).collect()
}

/// `x-ratelimit-*` of the limit that is nearest to its end (draft-polli-ratelimit-headers-03).
pub fn draft(statuses: &[DescriptorStatus], told: &mut Told) {
    let limited = || statuses.iter().filter_map(|status| Some((status, status.current_limit.as_ref()?)));
    let Some((nearest, limit)) = limited().min_by_key(|(status, _)| status.limit_remaining) else { return };
    let mut policy = limit.requests_per_unit.to_string();
    for (_, limit) in limited() {
        let Some(window) = window(limit.unit) else { continue };
        let _ = write!(policy, ", {};w={window}", limit.requests_per_unit);
        if !limit.name.is_empty() {
            let _ = write!(policy, ";name=\"{}\"", limit.name);
        }
    }
    let reset = nearest.duration_until_reset.map_or(0, |until| until.seconds);
    told.push(("x-ratelimit-limit".to_owned(), policy.into_bytes()));
    told.push(("x-ratelimit-remaining".to_owned(), nearest.limit_remaining.to_string().into_bytes()));
    told.push(("x-ratelimit-reset".to_owned(), reset.to_string().into_bytes()));
}

/// Seconds.
fn window(unit: i32) -> Option<u64> {
    const DAY: u64 = 24 * 3600;
    Some(match Unit::try_from(unit).ok()? {
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3600,
        Unit::Day => DAY,
        Unit::Week => 7 * DAY,
        Unit::Month => 30 * DAY,
        Unit::Year => 365 * DAY,
        Unit::Unknown => return None,
    })
}

/// Seconds until the last of the limits that are reached begins anew.
pub fn retry_after(statuses: &[DescriptorStatus]) -> Option<i64> {
    let over = statuses.iter().filter(|status| status.code == i32::from(Code::OverLimit));
    let seconds = over.map(|status| {
        status.duration_until_reset.map_or(0, |until| until.seconds.saturating_add(i64::from(until.nanos > 0)))
    });
    seconds.max().map(|seconds| seconds.max(1))
}
