//! Points of an hour or of a day, packed: whole counts up to two thousand are kept as they are, larger ones, bytes and
//! durations to a two-thousandth.

use std::collections::VecDeque;

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

/// A point in twenty bytes.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// The low bits of the slot's number.
    at: u16,
    errors: u16,
    denied: u16,
    received: u16,
    sent: u16,
    quantiles: [u16; 3],
    requests: f32,
}

/// Ten bits of fraction and six of exponent: from a sixty-thousandth to some hundred trillions. 0 is 0.
fn pack(value: f32) -> u16 {
    if value <= 0.0 || value.is_nan() {
        return 0;
    }
    // Rounded to ten bits; a carry goes into the exponent, as it should.
    let short = (value.to_bits() + (1 << 12)) >> 13;
    u16::try_from(short.saturating_sub(LEAST)).unwrap_or(u16::MAX).max(1)
}

fn unpack(value: u16) -> f32 {
    if value == 0 { 0.0 } else { f32::from_bits((u32::from(value) + LEAST) << 13) }
}

/// The exponent below which nothing is told from 0.
const LEAST: u32 = (127 - 16) << 10;

impl Packed {
    fn of(point: &Point) -> Self {
        let Point { at, requests, errors, denied, received, sent, p50, p95, p99 } = *point;
        // A duration of nothing is still one that was told.
        let quantile = |ms: f32| if ms < 0.0 { 0 } else { pack(ms).max(1) };
        Self {
            at: at as u16,
            errors: pack(errors),
            denied: pack(denied),
            received: pack(received),
            sent: pack(sent),
            quantiles: [p50, p95, p99].map(quantile),
            requests,
        }
    }

    fn point(self, at: u32) -> Point {
        let Self { errors, denied, received, sent, quantiles, requests, .. } = self;
        let [p50, p95, p99] = quantiles.map(|ms| if ms == 0 { -1.0 } else { unpack(ms) });
        let [errors, denied, received, sent] = [errors, denied, received, sent].map(unpack);
        Point { at, requests, errors, denied, received, sent, p50, p95, p99 }
    }
}

/// Points in their order.
#[derive(Clone, Debug, Default)]
pub struct Points {
    packed: VecDeque<Packed>,
    /// The slot of the newest.
    newest: u32,
}

/// Room is made for so many points more, so that little of it stays empty.
const ROOM: usize = 24;

impl Points {
    fn at(&self, packed: &Packed) -> u32 {
        self.newest - u32::from((self.newest as u16).wrapping_sub(packed.at))
    }

    pub fn iter(&self) -> impl Iterator<Item = Point> {
        self.packed.iter().map(|packed| packed.point(self.at(packed)))
    }

    /// From this slot on.
    pub fn since(&self, at: u32) -> impl Iterator<Item = Point> {
        self.packed.range(self.place(at)..).map(|packed| packed.point(self.at(packed)))
    }

    pub fn newest(&self) -> Option<u32> {
        (!self.packed.is_empty()).then_some(self.newest)
    }

    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    fn place(&self, at: u32) -> usize {
        self.packed.partition_point(|packed| self.at(packed) < at)
    }

    /// Adds to the point of its slot.
    pub fn add(&mut self, point: &Point) {
        self.change(point, |known| known.add(point));
    }

    /// Takes the place of the point of its slot.
    pub fn put(&mut self, point: &Point) {
        self.change(point, |known| *known = *point);
    }

    fn change(&mut self, point: &Point, change: impl FnOnce(&mut Point)) {
        // So far apart, only the newer one is of interest.
        if point.at.saturating_sub(self.newest) > u32::from(u16::MAX) {
            self.packed.clear();
        } else if !self.is_empty() && self.newest.saturating_sub(point.at) > u32::from(u16::MAX) {
            return;
        }
        if self.is_empty() {
            self.newest = point.at;
        }
        let place = self.place(point.at);
        match self.packed.get(place).filter(|packed| self.at(packed) == point.at) {
            Some(packed) => {
                let mut known = packed.point(point.at);
                change(&mut known);
                self.packed[place] = Packed::of(&known);
            }
            None => {
                if self.packed.len() == self.packed.capacity() {
                    self.packed.reserve_exact(ROOM);
                }
                self.newest = self.newest.max(point.at);
                self.packed.insert(place, Packed::of(point));
            }
        }
    }

    /// Forgets the points up to this slot.
    pub fn forget(&mut self, at: u32) {
        let kept = self.place(at.saturating_add(1));
        self.packed.drain(..kept);
        if self.packed.is_empty() {
            self.packed = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u32, requests: f32) -> Point {
        Point::from_figures(at, [requests, 3.0, 0.0, 123_456_789.0, requests * 1000.0, 0.0, 12.5, -1.0])
    }

    #[test]
    fn small_counts_are_kept_exactly_and_large_ones_to_a_two_thousandth() {
        (0..=2048_u16).for_each(|count| assert_eq!(unpack(pack(f32::from(count))), f32::from(count)));
        for value in [0.001, 0.37, 4097.0, 1e6, 3.3e9, 9.9e13] {
            assert!((unpack(pack(value)) / value - 1.0).abs() <= 1.0 / 2048.0, "{value}: {}", unpack(pack(value)));
        }
        assert_eq!([-1.0, 0.0, f32::NAN].map(pack), [0; 3]);
        assert_eq!(pack(f32::INFINITY), u16::MAX);
    }

    #[test]
    fn points_keep_their_order_whenever_they_come() {
        let mut points = Points::default();
        for at in [70_000, 70_002, 69_000, 70_001] {
            points.add(&point(at, 10.0));
        }
        points.add(&point(70_001, 32.0));
        points.put(&point(69_000, 7.0));
        let told: Vec<_> = points.iter().map(|point| (point.at, point.requests)).collect();
        assert_eq!(told, [(69_000, 7.0), (70_000, 10.0), (70_001, 42.0), (70_002, 10.0)]);
        assert_eq!(points.since(70_001).count(), 2);
        let known = points.since(70_002).next().unwrap();
        assert_eq!((known.errors, known.p95, known.p99), (3.0, 12.5, -1.0));
        assert!((0.0..0.001).contains(&known.p50) && (known.received / 123_456_789.0 - 1.0).abs() < 0.001);
        points.forget(70_000);
        assert_eq!(points.iter().map(|point| point.at).collect::<Vec<_>>(), [70_001, 70_002]);
    }

    #[test]
    fn what_is_a_week_older_than_the_rest_gives_way() {
        let mut points = Points::default();
        points.put(&point(10, 1.0));
        points.put(&point(100_000, 2.0));
        points.put(&point(11, 1.0));
        assert_eq!(points.iter().map(|point| point.at).collect::<Vec<_>>(), [100_000]);
    }
}
