//! Ten seconds of one side of an edge, in full: how many requests ended how, and how long they took.

use std::sync::Arc;

use api::latency;

use super::Point;

/// What one report adds.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    pub requests: u64,
    pub denied: u64,
    pub received: u64,
    pub sent: u64,
    /// By bucket of `api::latency`.
    pub latency: Vec<(u8, u64)>,
}

/// What is the same for all requests of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    pub code: u16,
    pub error: bool,
    /// Whether it came to the other side, so that it had to be protected at all.
    pub reached: bool,
    pub mutual_tls: bool,
    /// Of the workload that was called, and of the one that called.
    pub version: Arc<str>,
    pub from: Arc<str>,
}

/// A key and how often it was counted.
#[derive(Clone, Copy, Debug)]
struct Count([u8; 5]);

impl Count {
    fn key(self) -> u8 {
        self.0[0]
    }

    fn count(self) -> u32 {
        let [_, a, b, c, d] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }

    fn of(key: u8, count: u32) -> Self {
        let [a, b, c, d] = count.to_le_bytes();
        Self([key, a, b, c, d])
    }
}

/// Counts by key, in its order. One that is full stays so: four billions in ten seconds are nobody's.
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<Count>);

impl Counts {
    pub fn add(&mut self, key: u8, more: u64) {
        if more == 0 {
            return;
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        match self.0.binary_search_by_key(&key, |count| count.key()) {
            Ok(place) => self.0[place] = Count::of(key, self.0[place].count().saturating_add(more)),
            Err(place) => self.0.insert(place, Count::of(key, more)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u8, u32)> + Clone {
        self.0.iter().map(|count| (count.key(), count.count()))
    }

    /// By bucket of `api::latency`.
    pub fn durations(&self) -> impl Iterator<Item = (u8, u32)> + Clone {
        self.iter().take_while(|(key, _)| *key < MANNERS)
    }

    fn manners(&self) -> impl Iterator<Item = (u8, u32)> {
        self.iter().skip_while(|(key, _)| *key < MANNERS)
    }

    /// The milliseconds below which half, 95 % and 99 % of the durations lie; -1 where none was counted.
    fn quantiles(&self) -> [f32; 3] {
        let durations = self.durations().map(|(bucket, count)| (usize::from(bucket), f64::from(count)));
        [0.5, 0.95, 0.99].map(|share| latency::quantile_of(durations.clone(), share).map_or(-1.0, |ms| ms as f32))
    }
}

/// Keys below this one are buckets of durations; from here on they are manners.
const MANNERS: u8 = latency::BUCKETS as u8;

/// The manners of an edge, each with its key.
#[derive(Clone, Debug, Default)]
pub struct Manners(Vec<Manner>);

impl Manners {
    /// How many there may be.
    const MOST: usize = (u8::MAX - MANNERS) as usize;

    fn of(&self, key: u8) -> Option<&Manner> {
        self.0.get(usize::from(key.checked_sub(MANNERS)?))
    }

    fn tell_errors(&self) -> bool {
        self.0.iter().any(|manner| manner.error)
    }

    /// The key of a manner. Where there are too many, those that no slot has are let go of; and if all are in use, it
    /// is counted with one that is like it.
    pub fn key<'a>(&mut self, manner: &Manner, slots: impl Iterator<Item = &'a mut Slot>) -> u8 {
        let known = self.0.iter().position(|known| known == manner);
        if known.is_none() && self.0.len() >= Self::MOST {
            self.shrink(slots);
        }
        let alike = |known: &Manner| {
            (known.error, known.reached, known.mutual_tls) == (manner.error, manner.reached, manner.mutual_tls)
        };
        let place = match known {
            Some(place) => place,
            None if self.0.len() < Self::MOST => self.push(manner),
            None => self.0.iter().position(alike).unwrap_or(0),
        };
        MANNERS + place as u8
    }

    fn push(&mut self, manner: &Manner) -> usize {
        self.0.push(manner.clone());
        self.0.len() - 1
    }

    fn shrink<'a>(&mut self, slots: impl Iterator<Item = &'a mut Slot>) {
        let old = std::mem::take(self);
        for slot in slots {
            let mut counts = Counts::default();
            for (key, count) in slot.counts.iter() {
                let key = old.of(key).map_or(key, |manner| {
                    let place = self.0.iter().position(|known| known == manner);
                    MANNERS + place.unwrap_or_else(|| self.push(manner)) as u8
                });
                counts.add(key, count.into());
            }
            slot.counts = counts;
        }
    }

    /// Lets go of all, once no slot is left.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

/// One slot in full.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub at: u32,
    pub denied: u32,
    pub received: u64,
    pub sent: u64,
    pub counts: Counts,
}

impl Slot {
    pub fn new(at: u32) -> Self {
        Self { at, ..Self::default() }
    }

    pub fn add(&mut self, manner: u8, delta: &Delta) {
        self.denied = self.denied.saturating_add(u32::try_from(delta.denied).unwrap_or(u32::MAX));
        self.received = self.received.saturating_add(delta.received);
        self.sent = self.sent.saturating_add(delta.sent);
        self.counts.add(manner, delta.requests);
        for (bucket, count) in &delta.latency {
            self.counts.add((*bucket).min(MANNERS - 1), *count);
        }
    }

    /// Whether any request of it failed or was denied.
    pub fn is_troubled(&self, manners: &Manners) -> bool {
        self.denied > 0 || (manners.tell_errors() && self.manners(manners).any(|(manner, _)| manner.error))
    }

    /// Requests by manner.
    pub fn manners<'a>(&self, manners: &'a Manners) -> impl Iterator<Item = (&'a Manner, f64)> {
        self.counts.manners().filter_map(|(key, count)| Some((manners.of(key)?, f64::from(count))))
    }

    pub fn total(&self, manners: &Manners) -> Total {
        let mut total = Total {
            denied: self.denied as f32,
            received: self.received as f32,
            sent: self.sent as f32,
            ..Total::default()
        };
        for (manner, count) in self.manners(manners) {
            total.requests += count as f32;
            total.errors += if manner.error { count as f32 } else { 0.0 };
        }
        total
    }

    pub fn point(&self, manners: &Manners) -> Point {
        self.total(manners).point(self.at, &self.counts)
    }
}

/// All of a slot, or of several, but for durations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    pub requests: f32,
    pub errors: f32,
    pub denied: f32,
    pub received: f32,
    pub sent: f32,
}

impl Total {
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.denied += other.denied;
        self.received += other.received;
        self.sent += other.sent;
    }

    pub fn of_point(point: &Point) -> Self {
        let Point { requests, errors, denied, received, sent, .. } = *point;
        Self { requests, errors, denied, received, sent }
    }

    pub fn point(&self, at: u32, durations: &Counts) -> Point {
        let Self { requests, errors, denied, received, sent } = *self;
        let [p50, p95, p99] = durations.quantiles();
        Point { at, requests, errors, denied, received, sent, p50, p95, p99 }
    }
}

impl Delta {
    pub fn is_nothing(&self) -> bool {
        (self.requests, self.denied, self.received, self.sent) == (0, 0, 0, 0)
    }

    /// The part of it that came between two moments of all the time it is of, so that the parts add up to the whole.
    pub fn part(&self, from: u64, to: u64, whole: u64) -> Self {
        let until = |count: u64, at: u64| (u128::from(count) * u128::from(at) / u128::from(whole.max(1))) as u64;
        let part = |count: u64| until(count, to) - until(count, from);
        Self {
            requests: part(self.requests),
            denied: part(self.denied),
            received: part(self.received),
            sent: part(self.sent),
            latency: self.latency.iter().map(|(bucket, count)| (*bucket, part(*count))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(code: u16) -> Manner {
        Manner { code, error: code >= 500, reached: true, mutual_tls: true, version: "v1".into(), from: "v1".into() }
    }

    #[test]
    fn the_parts_of_a_report_add_up_to_it() {
        let whole = Delta { requests: 10, denied: 1, received: 1001, sent: 7, latency: vec![(3, 9)] };
        let parts = [(0, 3), (3, 13), (13, 17)].map(|(from, to)| whole.part(from, to, 17));
        assert_eq!(parts.iter().map(|part| part.requests).sum::<u64>(), 10);
        assert_eq!(parts.iter().map(|part| part.received).sum::<u64>(), 1001);
        assert_eq!(parts.iter().map(|part| part.latency[0].1).sum::<u64>(), 9);
        assert_eq!(parts[1].requests, 6);
    }

    #[test]
    fn manners_that_no_slot_has_any_more_make_room() {
        let mut manners = Manners::default();
        let mut slots = [Slot::new(1)];
        let keys: Vec<u8> =
            (0..Manners::MOST as u16).map(|code| manners.key(&manner(code), slots.iter_mut())).collect();
        slots[0].add(keys[7], &Delta { requests: 5, latency: vec![(40, 5)], ..Delta::default() });
        let fresh = manners.key(&manner(900), slots.iter_mut());
        let told: Vec<_> = slots[0].manners(&manners).map(|(manner, count)| (manner.code, count)).collect();
        assert_eq!((told, fresh), (vec![(7, 5.0)], MANNERS + 1));
        assert_eq!(slots[0].point(&manners).requests, 5.0);
    }

    #[test]
    fn a_proxy_that_tells_absurd_figures_breaks_nothing() {
        let mut slot = Slot::new(1);
        let all = u64::MAX;
        let absurd = Delta { requests: all, denied: all, received: all, sent: 1, latency: vec![(200, all)] };
        let mut manners = Manners::default();
        let key = manners.key(&manner(200), [].iter_mut());
        (0..3).for_each(|_| slot.add(key, &absurd.part(0, 1, 1)));
        assert!(slot.point(&manners).p99 > 0.0);
    }
}
