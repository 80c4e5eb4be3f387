//! Ring hash (Envoy, ketama): each host stands on a ring at as many points as its weight says; a key goes to the first
//! point at or after its hash.

use super::consistent::Candidate;
use crate::config::RingHash;

#[derive(Debug)]
pub struct Ring(Box<[Point]>);

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u64,
    host: u32,
}

impl Ring {
    /// The host of least weight gets a whole number of points, and all of them together at least the minimum, unless
    /// that were more than the maximum.
    pub fn build(candidates: &[Candidate], settings: RingHash) -> Self {
        let least = candidates.iter().map(|candidate| candidate.weight).fold(1.0, f64::min);
        let wanted = (least * settings.minimum as f64).ceil() / least;
        let scale = wanted.min(settings.maximum as f64);
        let mut points = Vec::with_capacity(if candidates.is_empty() { 0 } else { scale.ceil() as usize });
        let (mut placed, mut due) = (0.0, 0.0);
        let mut key = Vec::new();
        for candidate in candidates {
            due += scale * candidate.weight;
            let mut number = 0u64;
            while placed < due {
                key.clear();
                key.extend_from_slice(candidate.key.as_bytes());
                key.push(b'_');
                key.extend_from_slice(number.to_string().as_bytes());
                points.push(Point { hash: settings.function.of(&key), host: candidate.host });
                number += 1;
                placed += 1.0;
            }
        }
        points.sort_by_key(|point| point.hash);
        Self(points.into_boxed_slice())
    }

    /// Each further attempt takes the next point.
    pub fn pick(&self, hash: u64, attempt: u32) -> Option<u32> {
        let at = self.0.partition_point(|point| point.hash < hash);
        let at = at.checked_rem(self.0.len())?;
        Some(self.0[(at + attempt as usize) % self.0.len()].host)
    }
}
