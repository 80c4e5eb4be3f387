//! What the service counts, under Istio's metric names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::resource::Kind;

/// Upper bounds of the push-duration buckets, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0];
const KINDS: usize = Kind::ALL.len();

#[derive(Default)]
pub(super) struct Counters {
    pushes: [AtomicU64; KINDS],
    rejects: [AtomicU64; KINDS],
    expired_nonces: [AtomicU64; KINDS],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    duration_micros: AtomicU64,
}

/// One reading of the counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// `pilot_xds`: connected proxies.
    pub connected: u64,
    /// `pilot_xds_pushes` by type: responses sent.
    pub pushes: Vec<(Kind, u64)>,
    /// `pilot_total_xds_rejects` by type: NACKs received.
    pub rejects: Vec<(Kind, u64)>,
    /// `pilot_xds_expired_nonce` by type.
    pub expired_nonces: Vec<(Kind, u64)>,
    pub push_durations: PushDurations,
}

/// `pilot_xds_push_time`: seconds from a published change to the last response handed to a proxy's connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushDurations {
    /// Upper bound in seconds and the count of pushes up to it; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    pub sum_seconds: f64,
    pub count: u64,
}

impl Counters {
    pub fn pushed(&self, kind: Kind) {
        self.pushes[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn rejected(&self, kind: Kind) {
        self.rejects[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn expired(&self, kind: Kind) {
        self.expired_nonces[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn took(&self, duration: Duration) {
        let bucket = BOUNDS.iter().position(|bound| duration.as_secs_f64() <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn metrics(&self, connected: usize) -> Metrics {
        let by_kind = |counts: &[AtomicU64; KINDS]| {
            Kind::ALL.into_iter().map(|kind| (kind, counts[kind as usize].load(Ordering::Relaxed))).collect()
        };
        Metrics {
            connected: connected as u64,
            pushes: by_kind(&self.pushes),
            rejects: by_kind(&self.rejects),
            expired_nonces: by_kind(&self.expired_nonces),
            push_durations: self.durations(),
        }
    }

    fn durations(&self) -> PushDurations {
        let mut count = 0;
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let cumulative = bounds.zip(&self.buckets).map(|(bound, bucket)| {
            count += bucket.load(Ordering::Relaxed);
            (bound, count)
        });
        let buckets = cumulative.collect();
        PushDurations { buckets, sum_seconds: self.duration_micros.load(Ordering::Relaxed) as f64 / 1e6, count }
    }
}

impl Metrics {
    /// Adds the Prometheus text form.
    pub fn write_prometheus(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# TYPE pilot_xds gauge\npilot_xds {}", self.connected);
        for (name, counts) in [
            ("pilot_xds_pushes", &self.pushes),
            ("pilot_total_xds_rejects", &self.rejects),
            ("pilot_xds_expired_nonce", &self.expired_nonces),
        ] {
            let _ = writeln!(out, "# TYPE {name} counter");
            for (kind, count) in counts {
                let _ = writeln!(out, "{name}{{type=\"{}\"}} {count}", kind.short_name().to_ascii_lowercase());
            }
        }
        self.push_durations.write_prometheus(out);
    }
}

impl PushDurations {
    fn write_prometheus(&self, out: &mut String) {
        let name = "pilot_xds_push_time";
        let _ = writeln!(out, "# TYPE {name} histogram");
        for (bound, count) in &self.buckets {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {}", self.sum_seconds, self.count);
    }
}
