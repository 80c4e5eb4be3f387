//! The sum of what one side told of an edge in a window of time.

use std::sync::Arc;

use api::latency;

use super::{Latency, VersionView, Window, rounded};
use crate::edge::{History, Manner, Manners, Point, Slot};
use crate::intake::EdgeKey;
use crate::names::UNKNOWN;

#[derive(Clone, Debug)]
pub struct Sum {
    pub requests: f64,
    pub errors: f64,
    pub denied: f64,
    mutual_tls: f64,
    /// Requests of which it is known that they came to the other side, and whether over mutual TLS.
    judged: f64,
    pub received: f64,
    pub sent: f64,
    pub codes: Vec<(u16, f64)>,
    /// Requests and errors of each version.
    versions: Vec<(Arc<str>, f64, f64)>,
    latency: [f64; latency::BUCKETS],
    /// Of points, which know their quantiles only: by weight.
    quantiles: [f64; 3],
    weight: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            requests: 0.0,
            errors: 0.0,
            denied: 0.0,
            mutual_tls: 0.0,
            judged: 0.0,
            received: 0.0,
            sent: 0.0,
            codes: Vec::new(),
            versions: Vec::new(),
            latency: [0.0; latency::BUCKETS],
            quantiles: [0.0; 3],
            weight: 0.0,
        }
    }
}

impl Sum {
    pub fn of(history: &History, window: Window) -> Self {
        let mut sum = Self::default();
        let (slots, points) = within(history, window);
        slots.for_each(|slot| sum.add(slot, &history.manners));
        points.for_each(|point| sum.add_point(&point));
        sum
    }

    pub fn is_empty(&self) -> bool {
        self.requests == 0.0 && self.denied == 0.0 && self.received == 0.0 && self.sent == 0.0
    }

    fn add(&mut self, slot: &Slot, manners: &Manners) {
        self.denied += f64::from(slot.denied);
        self.received += slot.received as f64;
        self.sent += slot.sent as f64;
        for (manner, count) in slot.manners(manners) {
            let errors = if manner.error { count } else { 0.0 };
            self.requests += count;
            self.errors += errors;
            if manner.reached {
                self.judged += count;
                self.mutual_tls += if manner.mutual_tls { count } else { 0.0 };
            }
            if manner.code != 0 {
                self.add_code(manner.code, count);
            }
            self.add_version(&manner.version, count, errors);
        }
        for (bucket, count) in slot.counts.durations() {
            self.latency[usize::from(bucket)] += f64::from(count);
        }
    }

    fn add_code(&mut self, code: u16, count: f64) {
        match self.codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, known)) => *known += count,
            None => self.codes.push((code, count)),
        }
    }

    fn add_version(&mut self, version: &Arc<str>, requests: f64, errors: f64) {
        match self.versions.iter_mut().find(|(known, ..)| known == version) {
            Some((_, of, failed)) => (*of, *failed) = (*of + requests, *failed + errors),
            None => self.versions.push((Arc::clone(version), requests, errors)),
        }
    }

    /// What went to the other side in plain text.
    pub fn plain(&self) -> f64 {
        (self.judged - self.mutual_tls).max(0.0)
    }

    fn add_point(&mut self, point: &Point) {
        self.requests += f64::from(point.requests);
        self.errors += f64::from(point.errors);
        self.denied += f64::from(point.denied);
        self.received += f64::from(point.received);
        self.sent += f64::from(point.sent);
        if point.p50 >= 0.0 {
            let weight = f64::from(point.requests);
            self.weight += weight;
            for (sum, quantile) in self.quantiles.iter_mut().zip([point.p50, point.p95, point.p99]) {
                *sum += weight * f64::from(quantile);
            }
        }
    }

    /// Adds what an edge to a node tells. Whom nobody knows is turned away for a reason; that says nothing of the node.
    pub fn merge_from(&mut self, key: &EdgeKey, other: &Sum) {
        self.merge(other);
        if &*key.source != UNKNOWN {
            self.denied += other.denied;
        }
    }

    /// Adds what another edge of the same node tells.
    fn merge(&mut self, other: &Sum) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.weight += other.weight;
        for (sum, more) in self.quantiles.iter_mut().zip(other.quantiles) {
            *sum += more;
        }
        for (sum, more) in self.latency.iter_mut().zip(other.latency) {
            *sum += more;
        }
        for (version, requests, errors) in &other.versions {
            self.add_version(version, *requests, *errors);
        }
    }

    /// Takes a share of everything.
    pub fn scale(&mut self, share: f64) {
        let figures = [
            &mut self.requests,
            &mut self.errors,
            &mut self.denied,
            &mut self.received,
            &mut self.sent,
            &mut self.judged,
        ];
        figures.into_iter().for_each(|figure| *figure *= share);
        self.mutual_tls = self.mutual_tls.min(self.judged);
        self.codes.iter_mut().for_each(|(_, count)| *count *= share);
        self.versions.iter_mut().for_each(|(_, of, failed)| (*of, *failed) = (*of * share, *failed * share));
    }

    pub fn error_ratio(&self) -> Option<f64> {
        ratio(self.errors, self.requests)
    }

    /// Those that were turned away. The other side counts them, so that there may seem to be more than were asked.
    pub fn denied_ratio(&self) -> Option<f64> {
        ratio(self.denied.min(self.requests), self.requests)
    }

    pub fn mtls_ratio(&self) -> Option<f64> {
        ratio(self.mutual_tls, self.judged)
    }

    pub fn latency(&self) -> Latency {
        let total: f64 = self.latency.iter().sum();
        let of = |share: f64, place: usize| {
            let exact = latency::quantile(&self.latency, share).unwrap_or_default() * total;
            let weight = total + self.weight;
            (weight > 0.0).then(|| rounded((exact + self.quantiles[place]) / weight))
        };
        Latency { p50: of(0.5, 0), p95: of(0.95, 1), p99: of(0.99, 2) }
    }

    pub fn versions(&self, window: Window) -> Vec<VersionView> {
        let known = self.versions.iter().filter(|(version, ..)| !version.is_empty());
        let view = |(version, requests, errors): &(Arc<str>, f64, f64)| VersionView {
            version: version.to_string(),
            requests_per_second: rounded(requests / window.seconds),
            error_ratio: ratio(*errors, *requests),
        };
        let mut views: Vec<VersionView> = known.map(view).collect();
        views.sort_unstable_by(|a, b| a.version.cmp(&b.version));
        views
    }
}

/// Requests of a window of time by how they went, as far as that is kept in full.
pub fn manners(history: &History, window: Window) -> Vec<(Manner, f64)> {
    let mut found: Vec<(Manner, f64)> = Vec::new();
    for (manner, count) in within(history, window).0.flat_map(|slot| slot.manners(&history.manners)) {
        match found.iter_mut().find(|(known, _)| known == manner) {
            Some((_, known)) => *known += count,
            None => found.push((manner.clone(), count)),
        }
    }
    found
}

/// What one side turned away in a window of time.
pub fn denied(history: &History, window: Window) -> f64 {
    let (slots, points) = within(history, window);
    slots.map(|slot| f64::from(slot.denied)).sum::<f64>() + points.map(|point| f64::from(point.denied)).sum::<f64>()
}

/// The slots of a window, and the points of what of it is older than all slots.
pub(super) fn within(history: &History, window: Window) -> (impl Iterator<Item = &Slot>, impl Iterator<Item = Point>) {
    let inside = move |at: u32| (window.first..=window.last).contains(&at);
    let older = history.live.front().is_none_or(|oldest| oldest.at > window.first);
    let points = history.fine.since(if older { window.first } else { u32::MAX });
    let slots = history.live.iter().filter(move |slot| inside(slot.at));
    (slots, points.take_while(move |point| inside(point.at)))
}

pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| ((part / whole) * 10_000.0).round() / 10_000.0)
}
