//! What passed between two nodes, in slots of time: the last minutes in full, an hour and a day as points.

use std::collections::VecDeque;
use std::sync::Arc;

use api::latency;

/// The length of a slot, in milliseconds.
pub const SLOT_MS: u64 = 10_000;
/// Slots that are kept in full.
const LIVE: u64 = 31;
/// Points of an hour.
const FINE: usize = 360;
/// Slots in a point of the day, and how many of those there are.
pub const COARSE_SLOTS: u64 = 30;
const COARSE: usize = 288;

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

/// What is the same for all of a series.
#[derive(Clone, Debug)]
pub struct Manner {
    pub code: u16,
    pub error: bool,
    pub mutual_tls: bool,
    pub version: Arc<str>,
}

/// One slot in full.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub at: u64,
    pub requests: f64,
    pub errors: f64,
    pub denied: f64,
    pub mutual_tls: f64,
    pub received: f64,
    pub sent: f64,
    pub codes: Vec<(u16, f64)>,
    /// Requests and errors of each version.
    pub versions: Vec<(Arc<str>, f64, f64)>,
    pub latency: Vec<(u8, f64)>,
}

/// One slot of an hour or of a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The number of the slot, or of the first of the slots.
    pub at: u32,
    pub requests: f32,
    pub errors: f32,
    pub denied: f32,
    pub received: f32,
    pub sent: f32,
    /// Milliseconds; negative where no duration was told.
    pub p50: f32,
    pub p95: f32,
    pub p99: f32,
}

/// What one side of the calls reported.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub live: VecDeque<Slot>,
    pub fine: VecDeque<Point>,
    pub coarse: VecDeque<Point>,
    /// Points of the day that no snapshot has yet.
    pub fresh_coarse: Vec<Point>,
    /// What of the day's newest point is already known.
    gathering: Option<Box<Gathering>>,
    pub requests: u64,
}

#[derive(Clone, Debug)]
struct Gathering {
    at: u64,
    slot: Slot,
}

/// The number of the slot of a moment.
pub fn slot_of(at_ms: u64) -> u64 {
    at_ms / SLOT_MS
}

impl Slot {
    fn add(&mut self, manner: &Manner, delta: &Delta, share: f64) {
        let requests = delta.requests as f64 * share;
        self.requests += requests;
        self.denied += delta.denied as f64 * share;
        self.received += delta.received as f64 * share;
        self.sent += delta.sent as f64 * share;
        let errors = if manner.error { requests } else { 0.0 };
        self.errors += errors;
        self.mutual_tls += if manner.mutual_tls { requests } else { 0.0 };
        if manner.code != 0 {
            entry(&mut self.codes, &manner.code).1 += requests;
        }
        let found = self.versions.iter().position(|(version, ..)| *version == manner.version);
        let place = found.unwrap_or_else(|| {
            self.versions.push((Arc::clone(&manner.version), 0.0, 0.0));
            self.versions.len() - 1
        });
        self.versions[place].1 += requests;
        self.versions[place].2 += errors;
        for (bucket, count) in &delta.latency {
            entry(&mut self.latency, bucket).1 += *count as f64 * share;
        }
    }

    /// Adds another slot's figures, but for codes and versions.
    fn gather(&mut self, other: &Slot) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.denied += other.denied;
        self.received += other.received;
        self.sent += other.sent;
        for (bucket, count) in &other.latency {
            entry(&mut self.latency, bucket).1 += count;
        }
    }

    fn gather_point(&mut self, point: &Point) {
        self.requests += f64::from(point.requests);
        self.errors += f64::from(point.errors);
        self.denied += f64::from(point.denied);
        self.received += f64::from(point.received);
        self.sent += f64::from(point.sent);
    }

    pub fn point(&self, at: u64) -> Point {
        let mut counts = [0.0; latency::BUCKETS];
        for (bucket, count) in &self.latency {
            counts[usize::from(*bucket).min(latency::BUCKETS - 1)] += count;
        }
        let quantile = |share| latency::quantile(&counts, share).map_or(-1.0, |ms| ms as f32);
        Point {
            at: u32::try_from(at).unwrap_or(u32::MAX),
            requests: self.requests as f32,
            errors: self.errors as f32,
            denied: self.denied as f32,
            received: self.received as f32,
            sent: self.sent as f32,
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        }
    }
}

fn entry<'a, K: PartialEq + Clone>(list: &'a mut Vec<(K, f64)>, key: &K) -> &'a mut (K, f64) {
    let place = list.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        list.push((key.clone(), 0.0));
        list.len() - 1
    });
    &mut list[place]
}

fn put(points: &mut VecDeque<Point>, point: Point) {
    let place = points.partition_point(|known| known.at < point.at);
    match points.get_mut(place).filter(|known| known.at == point.at) {
        Some(known) => *known = point,
        None => points.insert(place, point),
    }
}

impl Point {
    /// How many figures a point has beside its slot.
    pub const FIGURES: usize = 8;

    pub fn figures(&self) -> [f32; Self::FIGURES] {
        let Self { requests, errors, denied, received, sent, p50, p95, p99, .. } = *self;
        [requests, errors, denied, received, sent, p50, p95, p99]
    }

    pub fn from_figures(at: u32, figures: [f32; Self::FIGURES]) -> Self {
        let [requests, errors, denied, received, sent, p50, p95, p99] = figures;
        Self { at, requests, errors, denied, received, sent, p50, p95, p99 }
    }

    /// Adds what else happened at that time. Quantiles of both cannot be had from the quantiles of each; the mean by
    /// the number of requests is near enough for points of one edge.
    fn add(&mut self, other: &Self) {
        let of_all = |mine: f32, theirs: f32| match (mine >= 0.0, theirs >= 0.0) {
            (true, true) => {
                let all = (self.requests + other.requests).max(f32::MIN_POSITIVE);
                (mine * self.requests + theirs * other.requests) / all
            }
            (true, false) => mine,
            _ => theirs,
        };
        (self.p50, self.p95, self.p99) =
            (of_all(self.p50, other.p50), of_all(self.p95, other.p95), of_all(self.p99, other.p99));
        self.requests += other.requests;
        self.errors += other.errors;
        self.denied += other.denied;
        self.received += other.received;
        self.sent += other.sent;
    }
}

impl History {
    /// Adds what happened between two moments, evenly, so that a report that comes late makes no peak.
    pub fn add(&mut self, manner: &Manner, delta: &Delta, from_ms: u64, to_ms: u64) {
        self.requests += delta.requests;
        let from_ms = from_ms.min(to_ms);
        let (first, last) = (slot_of(from_ms), slot_of(to_ms));
        if first == last {
            return self.slot(last, last, |slot| slot.add(manner, delta, 1.0));
        }
        let first = first.max(last.saturating_sub(FINE as u64));
        let whole = (to_ms - from_ms) as f64;
        for at in first..=last {
            let (begin, end) = ((at * SLOT_MS).max(from_ms), ((at + 1) * SLOT_MS).min(to_ms));
            let share = end.saturating_sub(begin) as f64 / whole;
            if share > 0.0 {
                self.slot(at, last, |slot| slot.add(manner, delta, share));
            }
        }
    }

    /// Changes a slot. One that is no longer kept in full becomes part of the points.
    fn slot(&mut self, at: u64, now: u64, change: impl FnOnce(&mut Slot)) {
        self.retire(now);
        if at + LIVE <= now {
            let mut slot = Slot { at, ..Slot::default() };
            change(&mut slot);
            return self.amend(&slot);
        }
        let place = self.live.partition_point(|slot| slot.at < at);
        if self.live.get(place).is_none_or(|slot| slot.at != at) {
            self.live.insert(place, Slot { at, ..Slot::default() });
        }
        change(&mut self.live[place]);
    }

    /// Turns slots that are old enough into points, and forgets points that are too old.
    pub fn retire(&mut self, now: u64) {
        while let Some(slot) = self.live.pop_front_if(|slot| slot.at + LIVE <= now) {
            let point = slot.point(slot.at);
            match self.fine.back_mut().filter(|last| last.at == point.at) {
                Some(last) => last.add(&point),
                None => self.fine.push_back(point),
            }
            let begin = slot.at / COARSE_SLOTS * COARSE_SLOTS;
            match &mut self.gathering {
                Some(gathering) if gathering.at == begin => gathering.slot.gather(&slot),
                other => {
                    let mut fresh = Slot::default();
                    fresh.gather(&slot);
                    let done = other.replace(Box::new(Gathering { at: begin, slot: fresh }));
                    let done = done.map(|done| done.slot.point(done.at));
                    self.coarse.extend(done);
                    self.fresh_coarse.extend(done);
                }
            }
        }
        let oldest = |kept: u64| u32::try_from(now.saturating_sub(kept)).unwrap_or(u32::MAX);
        let (fine, coarse) = (oldest(FINE as u64), oldest(COARSE as u64 * COARSE_SLOTS));
        while self.fine.pop_front_if(|point| point.at <= fine).is_some() {}
        while self.coarse.pop_front_if(|point| point.at <= coarse).is_some() {}
    }

    /// Adds to a point of the past what was told late.
    fn amend(&mut self, slot: &Slot) {
        let late = slot.point(slot.at);
        let place = self.fine.partition_point(|point| point.at < late.at);
        match self.fine.get_mut(place).filter(|point| point.at == late.at) {
            Some(point) => point.add(&late),
            None => self.fine.insert(place, late),
        }
    }

    /// Takes a point of an hour that was kept; a later one of the same slot counts in place of the earlier.
    pub fn restore_fine(&mut self, point: Point) {
        put(&mut self.fine, point);
    }

    /// Takes a point of a day that was kept.
    pub fn restore_coarse(&mut self, point: Point) {
        put(&mut self.coarse, point);
    }

    /// After all was restored: what the day's newest points must be made of.
    pub fn resume(&mut self, now: u64) {
        let known = self.coarse.back().map_or(0, |point| u64::from(point.at) + COARSE_SLOTS);
        let current = now / COARSE_SLOTS * COARSE_SLOTS;
        for point in self.fine.iter().filter(|point| u64::from(point.at) >= known) {
            let begin = u64::from(point.at) / COARSE_SLOTS * COARSE_SLOTS;
            if begin == current {
                let gathering =
                    self.gathering.get_or_insert_with(|| Box::new(Gathering { at: begin, slot: Slot::default() }));
                gathering.slot.gather_point(point);
            } else {
                let mut point = *point;
                point.at = u32::try_from(begin).unwrap_or(u32::MAX);
                match self.coarse.back_mut().filter(|last| last.at == point.at) {
                    Some(last) => last.add(&point),
                    None => self.coarse.push_back(point),
                }
            }
        }
    }

    /// The day's newest point, as far as it is known.
    pub fn newest_coarse(&self) -> Option<Point> {
        self.gathering.as_ref().map(|gathering| gathering.slot.point(gathering.at))
    }

    /// Whether anything is kept.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.fine.is_empty() && self.coarse.is_empty() && self.gathering.is_none()
    }

    /// The newest slot of which anything is known.
    pub fn newest(&self) -> u64 {
        let point = self.fine.back().map_or(0, |point| u64::from(point.at));
        self.live.back().map_or(point, |slot| slot.at)
    }
}
