//! What the service counts, under Istio's metric names.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::resource::Kind;

/// Upper bounds of the push-duration buckets, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0];
/// Of the sizes of responses, in bytes (Istio's).
const SIZES: [f64; 6] = [1.0, 10_000.0, 1_000_000.0, 4_000_000.0, 10_000_000.0, 40_000_000.0];
/// Of the time from a change to a proxy that has it, in seconds (Istio's).
const CONVERGENCE: [f64; 8] = [0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];
const KINDS: usize = Kind::ALL.len();

#[derive(Default)]
pub(super) struct Counters {
    pushes: [AtomicU64; KINDS],
    rejects: [AtomicU64; KINDS],
    expired_nonces: [AtomicU64; KINDS],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    duration_micros: AtomicU64,
    converged: [AtomicU64; CONVERGENCE.len() + 1],
    converged_micros: AtomicU64,
    sizes: [[AtomicU64; SIZES.len() + 1]; KINDS],
    bytes: [AtomicU64; KINDS],
    /// Pushes that a change of endpoints, or of anything else, made necessary.
    triggers: [AtomicU64; 2],
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
    /// `pilot_push_triggers` by type: `endpoint` and `config`.
    pub triggers: Vec<(&'static str, u64)>,
    /// `pilot_xds_push_time`: seconds from a published change to the last response handed to a proxy's connection.
    pub push_durations: PushDurations,
    /// `pilot_proxy_convergence_time`: the same from the moment of the change, before it was published.
    pub convergence: PushDurations,
    /// `pilot_xds_config_size_bytes` by type.
    pub sizes: Vec<(Kind, PushDurations)>,
}

/// A distribution, mostly of seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushDurations {
    /// Upper bound and the count of what lies up to it; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    pub sum_seconds: f64,
    pub count: u64,
}

impl Counters {
    pub fn pushed(&self, kind: Kind, bytes: usize) {
        self.pushes[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.sizes[kind as usize][place(&SIZES, bytes as f64)].fetch_add(1, Ordering::Relaxed);
        self.bytes[kind as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn triggered(&self, by_endpoints: bool) {
        self.triggers[usize::from(!by_endpoints)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn converged(&self, duration: Duration) {
        self.converged[place(&CONVERGENCE, duration.as_secs_f64())].fetch_add(1, Ordering::Relaxed);
        self.converged_micros.fetch_add(micros(duration), Ordering::Relaxed);
    }

    pub fn rejected(&self, kind: Kind) {
        self.rejects[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn expired(&self, kind: Kind) {
        self.expired_nonces[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn took(&self, duration: Duration) {
        self.buckets[place(&BOUNDS, duration.as_secs_f64())].fetch_add(1, Ordering::Relaxed);
        self.duration_micros.fetch_add(micros(duration), Ordering::Relaxed);
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
            triggers: ["endpoint", "config"].into_iter().zip(self.triggers.iter().map(read)).collect(),
            push_durations: distribution(&BOUNDS, &self.buckets, read(&self.duration_micros) as f64 / 1e6),
            convergence: distribution(&CONVERGENCE, &self.converged, read(&self.converged_micros) as f64 / 1e6),
            sizes: Kind::ALL.map(|kind| (kind, self.sizes_of(kind as usize))).into(),
        }
    }

    fn sizes_of(&self, kind: usize) -> PushDurations {
        distribution(&SIZES, &self.sizes[kind], read(&self.bytes[kind]) as f64)
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The bucket of a value.
fn place(bounds: &[f64], value: f64) -> usize {
    bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len())
}

fn distribution(bounds: &[f64], counts: &[AtomicU64], sum_seconds: f64) -> PushDurations {
    let mut count = 0;
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    let cumulative = bounds.zip(counts).map(|(bound, bucket)| {
        count += read(bucket);
        (bound, count)
    });
    let buckets = cumulative.collect();
    PushDurations { buckets, sum_seconds, count }
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
        let _ = writeln!(out, "# TYPE pilot_push_triggers counter");
        for (trigger, count) in &self.triggers {
            let _ = writeln!(out, "pilot_push_triggers{{type=\"{trigger}\"}} {count}");
        }
        for (name, durations) in
            [("pilot_xds_push_time", &self.push_durations), ("pilot_proxy_convergence_time", &self.convergence)]
        {
            let _ = writeln!(out, "# TYPE {name} histogram");
            durations.write_prometheus(name, "", out);
        }
        let name = "pilot_xds_config_size_bytes";
        let _ = writeln!(out, "# TYPE {name} histogram");
        for (kind, sizes) in &self.sizes {
            sizes.write_prometheus(name, &format!("type=\"{}\"", kind.short_name().to_ascii_lowercase()), out);
        }
    }
}

impl PushDurations {
    fn write_prometheus(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, count) in &self.buckets {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{braces} {}\n{name}_count{braces} {}", self.sum_seconds, self.count);
    }
}
