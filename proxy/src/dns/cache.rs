//! Answers from upstream, for as long as they say that they hold. An answer is given again only to the very same
//! question, bit for bit, over the same transport, so it is what upstream would say, but for the time that has passed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::packet::{self, Code, Query, Section, Transport};

/// When the younger half is full, the older is let go.
const HALF: usize = 2048;
/// Neither questions nor answers that are kept are longer.
const LONGEST: usize = 4096;
/// RFC 2308 §5: a name that does not exist now may do so soon.
const LONGEST_NEGATIVE: u32 = 3600;
const LONGEST_POSITIVE: u32 = 86_400;

#[derive(Debug, Default)]
pub struct Cache(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Box<[u8]>, Kept>,
    old: HashMap<Box<[u8]>, Kept>,
}

#[derive(Debug)]
struct Kept {
    answer: Box<[u8]>,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// The answer to a question, with its id and the time that it holds still.
    pub fn find(&self, query: &Query<'_>, transport: Transport, now: Instant) -> Option<Vec<u8>> {
        let key = key(query, transport)?;
        let mut halves = self.lock();
        if let Some(kept) = halves.old.remove(&key) {
            halves.insert(key.clone(), kept);
        }
        let kept = halves.young.get(&key)?;
        if kept.until <= now {
            halves.young.remove(&key);
            return None;
        }
        let mut answer = kept.answer.to_vec();
        answer[..2].copy_from_slice(&query.id());
        age(&mut answer, now.saturating_duration_since(kept.since));
        Some(answer)
    }

    pub fn keep(&self, query: &Query<'_>, transport: Transport, answer: &[u8], now: Instant) {
        let Some(seconds) = holds_for(query, answer).filter(|seconds| *seconds > 0) else { return };
        let Some(key) = key(query, transport).filter(|_| answer.len() <= LONGEST) else { return };
        let until = now + Duration::from_secs(seconds.into());
        self.lock().insert(key, Kept { answer: answer.into(), since: now, until });
    }

    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn insert(&mut self, key: Box<[u8]>, kept: Kept) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, kept);
    }
}

/// Everything of a question but its id. `None` for one whose answer is its own, such as one with a cookie.
fn key(query: &Query<'_>, transport: Transport) -> Option<Box<[u8]>> {
    let shared = query.is_standard() && query.is_whole && query.edns.is_none_or(|edns| !edns.has_options);
    let fits = shared && query.bytes.len() <= LONGEST;
    fits.then(|| [&[u8::from(transport == Transport::Tcp)], &query.bytes[2..]].concat().into())
}

/// For how many seconds an answer holds; `None` for one that says nothing of it (RFC 2308 for those that say no).
fn holds_for(query: &Query<'_>, answer: &[u8]) -> Option<u32> {
    if packet::is_truncated(answer) {
        return None;
    }
    let records = packet::records(answer)?;
    let exists = match packet::code(answer) {
        code if code == Code::NoError as u8 => records
            .iter()
            .any(|record| record.section == Section::Answer && (record.kind == query.kind || query.kind == ANY)),
        code if code == Code::NoSuchName as u8 => false,
        _ => return None,
    };
    let shortest = records.iter().filter(|record| !record.is_opt()).map(|record| record.ttl).min()?;
    if exists {
        return Some(shortest.min(LONGEST_POSITIVE));
    }
    let soa = records.iter().find(|record| record.kind == packet::SOA && record.section == Section::Authority)?;
    // The last of its numbers (RFC 2308 §4).
    let minimum = answer.get(soa.data.clone())?.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))?;
    Some(shortest.min(minimum).min(LONGEST_NEGATIVE))
}

const ANY: u16 = 255;

/// Takes the time that has passed off every TTL.
fn age(answer: &mut [u8], passed: Duration) {
    let passed = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX);
    for record in packet::records(answer).unwrap_or_default().iter().filter(|record| !record.is_opt()) {
        let left = record.ttl.saturating_sub(passed).to_be_bytes();
        answer[record.ttl_at..record.ttl_at + 4].copy_from_slice(&left);
    }
}

#[cfg(test)]
mod tests;
