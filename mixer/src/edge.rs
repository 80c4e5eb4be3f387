//! What passed between two nodes, in slots of time: the last minutes in full, an hour and a day as points.

mod points;
mod slot;

use std::collections::VecDeque;

pub use points::{Point, Points};
use slot::{Counts, Total};
pub use slot::{Delta, Manner, Manners, Slot};

/// The length of a slot, in milliseconds.
pub const SLOT_MS: u64 = 10_000;
/// Slots that are kept in full.
const LIVE: u32 = 31;
/// Points of an hour.
const FINE: u32 = 360;
/// Slots in a point of the day, and how many of those there are.
pub const COARSE_SLOTS: u32 = 30;
const COARSE: u32 = 288;

/// What one side of the calls reported.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub live: VecDeque<Slot>,
    pub manners: Manners,
    pub fine: Points,
    pub coarse: Points,
    /// The newest point of the day that a snapshot has.
    kept_coarse: u32,
    /// What of the day's newest point is already known.
    gathering: Option<Box<Gathering>>,
}

#[derive(Clone, Debug)]
struct Gathering {
    at: u32,
    total: Total,
    durations: Counts,
}

/// The number of the slot of a moment.
pub fn slot_of(at_ms: u64) -> u32 {
    u32::try_from(at_ms / SLOT_MS).unwrap_or(u32::MAX)
}

/// When a slot begins.
pub fn begin_of(at: u32) -> u64 {
    u64::from(at) * SLOT_MS
}

fn coarse_of(at: u32) -> u32 {
    at / COARSE_SLOTS * COARSE_SLOTS
}

impl Gathering {
    fn point(&self) -> Point {
        self.total.point(self.at, &self.durations)
    }
}

impl History {
    /// Adds what happened between two moments, evenly, so that a report that comes late makes no peak.
    pub fn add(&mut self, manner: &Manner, delta: &Delta, from_ms: u64, to_ms: u64) {
        let from_ms = from_ms.min(to_ms);
        let (first, last) = (slot_of(from_ms), slot_of(to_ms));
        self.retire(last);
        let manner = self.manners.key(manner, self.live.iter_mut());
        if first == last {
            return self.add_to(last, last, manner, delta);
        }
        let whole = to_ms - from_ms;
        for at in first.max(last.saturating_sub(FINE))..=last {
            let (begin, end) = (begin_of(at).max(from_ms), begin_of(at + 1).min(to_ms));
            if end > begin {
                self.add_to(at, last, manner, &delta.part(begin - from_ms, end - from_ms, whole));
            }
        }
    }

    /// Changes a slot. One that is no longer kept in full becomes part of the points.
    fn add_to(&mut self, at: u32, now: u32, manner: u8, delta: &Delta) {
        if delta.is_nothing() {
            return;
        }
        if at + LIVE <= now {
            let mut slot = Slot::new(at);
            slot.add(manner, delta);
            return self.fine.add(&slot.point(&self.manners));
        }
        let place = self.live.partition_point(|slot| slot.at < at);
        if self.live.get(place).is_none_or(|slot| slot.at != at) {
            self.live.insert(place, Slot::new(at));
        }
        self.live[place].add(manner, delta);
    }

    /// Turns slots that are old enough into points, and forgets points that are too old.
    pub fn retire(&mut self, now: u32) {
        while let Some(slot) = self.live.pop_front_if(|slot| slot.at + LIVE <= now) {
            self.fine.add(&slot.point(&self.manners));
            let total = slot.total(&self.manners);
            let gathering = self.gathering(coarse_of(slot.at));
            gathering.total.add(&total);
            slot.counts.durations().for_each(|(bucket, count)| gathering.durations.add(bucket, count.into()));
            if self.live.is_empty() {
                self.live = VecDeque::new();
                self.manners.clear();
            }
        }
        self.fine.forget(now.saturating_sub(FINE));
        self.coarse.forget(now.saturating_sub(COARSE * COARSE_SLOTS));
    }

    /// What is gathered for a point of the day; what was for another is done.
    fn gathering(&mut self, at: u32) -> &mut Gathering {
        if let Some(done) = self.gathering.take_if(|known| known.at != at) {
            self.coarse.put(&done.point());
        }
        let fresh = || Box::new(Gathering { at, total: Total::default(), durations: Counts::default() });
        self.gathering.get_or_insert_with(fresh)
    }

    /// Takes in what was told of the same calls under another name.
    pub fn absorb(&mut self, mut other: Self, now: u32) {
        self.retire(now);
        other.retire(now);
        for slot in &other.live {
            let latency = slot.counts.durations().map(|(bucket, count)| (bucket, count.into())).collect();
            let denied = u64::from(slot.denied);
            let mut rest = Delta { requests: 0, denied, received: slot.received, sent: slot.sent, latency };
            for (manner, requests) in slot.manners(&other.manners) {
                let manner = self.manners.key(manner, self.live.iter_mut());
                let delta = Delta { requests: requests as u64, ..std::mem::take(&mut rest) };
                self.add_to(slot.at, now, manner, &delta);
            }
            // Where nothing but bytes was told, or denials, there is no manner to it.
            self.add_to(slot.at, now, 0, &rest);
        }
        other.fine.iter().for_each(|point| self.fine.add(&point));
        // What a snapshot has under the other name comes back by that.
        self.kept_coarse = self.kept_coarse.max(other.kept_coarse);
        if let Some(theirs) = other.gathering {
            if self.gathering.as_ref().is_some_and(|own| own.at > theirs.at) {
                self.coarse.add(&theirs.point());
            } else {
                let own = self.gathering(theirs.at);
                own.total.add(&theirs.total);
                theirs.durations.durations().for_each(|(bucket, count)| own.durations.add(bucket, count.into()));
            }
        }
        // Last, since a point that is gathered to its end takes the place of what is there.
        other.coarse.iter().for_each(|point| self.coarse.add(&point));
    }

    /// Takes a point of an hour that was kept; a later one of the same slot counts in place of the earlier.
    pub fn restore_fine(&mut self, point: &Point) {
        self.fine.put(point);
    }

    /// Takes a point of a day that was kept.
    pub fn restore_coarse(&mut self, point: &Point) {
        self.coarse.put(point);
        self.kept_coarse = self.kept_coarse.max(point.at);
    }

    /// After all was restored: what the day's newest points must be made of.
    pub fn resume(&mut self, now: u32) {
        let known = self.coarse.newest().map_or(0, |at| at + COARSE_SLOTS);
        let current = coarse_of(now);
        let later: Vec<Point> = self.fine.since(known).collect();
        for mut point in later {
            let begin = coarse_of(point.at);
            if begin == current {
                self.gathering(begin).total.add(&Total::of_point(&point));
            } else {
                point.at = begin;
                self.coarse.add(&point);
            }
        }
    }

    /// Points of the day that no snapshot has yet; the next one is taken for one that has them.
    pub fn fresh_coarse(&mut self) -> Vec<Point> {
        let fresh: Vec<Point> = self.coarse.since(self.kept_coarse + 1).collect();
        self.kept_coarse = self.coarse.newest().unwrap_or(0).max(self.kept_coarse);
        fresh
    }

    /// The day's newest point, as far as it is known.
    pub fn newest_coarse(&self) -> Option<Point> {
        self.gathering.as_ref().map(|gathering| gathering.point())
    }

    /// Slots in full as points.
    pub fn live_points(&self) -> impl Iterator<Item = Point> {
        self.live.iter().map(|slot| slot.point(&self.manners))
    }

    /// Whether anything is kept.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.fine.is_empty() && self.coarse.is_empty() && self.gathering.is_none()
    }

    /// The newest slot of which anything is known.
    pub fn newest(&self) -> u32 {
        self.live.back().map_or_else(|| self.fine.newest().unwrap_or(0), |slot| slot.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner() -> Manner {
        Manner { code: 200, error: false, reached: true, mutual_tls: true, version: "v1".into(), from: "v1".into() }
    }

    #[test]
    fn slots_become_points_and_points_become_those_of_the_day() {
        let mut history = History::default();
        for slot in 3000..3700_u64 {
            let delta = Delta { requests: 20, latency: vec![(40, 20)], ..Delta::default() };
            history.add(&manner(), &delta, slot * SLOT_MS, slot * SLOT_MS + 5000);
        }
        assert_eq!((history.live.len(), history.fine.iter().count(), history.coarse.iter().count()), (31, 329, 22));
        assert_eq!(history.coarse.iter().map(|point| point.requests).next(), Some(600.0));
        assert_eq!(history.newest_coarse().unwrap().at, 3660);
        assert_eq!(history.fresh_coarse().len(), 22);
        assert!(history.fresh_coarse().is_empty());
        history.retire(20_000);
        assert!(history.live.is_empty() && history.fine.is_empty());
    }

    #[test]
    fn nothing_is_lost_of_two_histories_that_become_one() {
        let failed = Manner { code: 503, error: true, ..manner() };
        let told = |manner: &Manner, slots: std::ops::Range<u64>, denied: u64| {
            let mut history = History::default();
            for slot in slots {
                let delta = Delta { requests: 20, denied, sent: 100, latency: vec![(40, 20)], ..Delta::default() };
                history.add(manner, &delta, slot * SLOT_MS, slot * SLOT_MS + 5000);
            }
            history
        };
        let cases =
            [(3700, 3300..3690), (3700, 3000..3010), (3700, 3680..3690), (3400, 3000..3690), (3095, 3000..3690)];
        for (end, others) in cases {
            let other = told(&failed, others, 1);
            let mut history = told(&manner(), 3000..end, 0);
            history.retire(3699);
            let sums = |all: [&History; 2]| {
                let points = |of: fn(&History) -> Vec<Point>| all.iter().flat_map(|history| of(history)).collect();
                let fine: Vec<Point> = points(|of| of.fine.iter().chain(of.live_points()).collect());
                let coarse: Vec<Point> = points(|of| of.coarse.iter().chain(of.newest_coarse()).collect());
                let sum = |points: &[Point], of: fn(&Point) -> f32| points.iter().map(of).sum::<f32>();
                [&fine, &coarse].map(|points| {
                    let of_all: [fn(&Point) -> f32; 4] =
                        [|point| point.requests, |point| point.errors, |point| point.denied, |point| point.sent];
                    of_all.map(|of| sum(points, of))
                })
            };
            let mut late = other.clone();
            late.retire(3699);
            let before = sums([&history, &late]);
            history.absorb(other, 3699);
            let after = sums([&history, &History::default()]);
            let is_same = |(one, other): (&f32, &f32)| (one - other).abs() <= one / 1000.0;
            assert!(before.iter().flatten().zip(after.iter().flatten()).all(is_same), "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_is_told_late_is_added_to_the_past() {
        let mut history = History::default();
        history.add(&manner(), &Delta { requests: 1000, ..Delta::default() }, 0, 100 * SLOT_MS);
        let all: f32 = history.fine.iter().chain(history.live_points()).map(|point| point.requests).sum();
        assert_eq!(all, 1000.0);
        assert_eq!(history.fine.iter().map(|point| point.requests).collect::<Vec<_>>(), vec![10.0; 70]);
    }
}
