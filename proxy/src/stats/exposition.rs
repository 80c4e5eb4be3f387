//! Prometheus' text format, version 0.0.4.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::value::BUCKETS;

/// Series by metric, summed as they are added.
#[derive(Debug, Default)]
pub struct Exposition {
    counters: BTreeMap<Cow<'static, str>, (&'static str, BTreeMap<String, u64>)>,
    histograms: BTreeMap<&'static str, BTreeMap<String, ([u64; BUCKETS.len() + 1], u64)>>,
}

impl Exposition {
    /// Adds to a counter's series. `labels` is what stands between the braces.
    pub fn counter(&mut self, name: impl Into<Cow<'static, str>>, labels: &str, value: u64) {
        self.add(name.into(), "counter", labels, value);
    }

    pub fn gauge(&mut self, name: impl Into<Cow<'static, str>>, labels: &str, value: u64) {
        self.add(name.into(), "gauge", labels, value);
    }

    /// A gauge that every worker sees alike: the greatest counts, not the sum.
    pub fn level(&mut self, name: impl Into<Cow<'static, str>>, labels: &str, value: u64) {
        self.greatest(name.into(), "gauge", labels, value);
    }

    /// A counter that every worker keeps of the same events.
    pub fn level_counter(&mut self, name: &'static str, labels: &str, value: u64) {
        self.greatest(name.into(), "counter", labels, value);
    }

    fn greatest(&mut self, name: Cow<'static, str>, kind: &'static str, labels: &str, value: u64) {
        let (_, series) = self.counters.entry(name).or_insert_with(|| (kind, BTreeMap::new()));
        match series.get_mut(labels) {
            Some(known) => *known = value.max(*known),
            None => drop(series.insert(labels.to_owned(), value)),
        }
    }

    fn add(&mut self, name: Cow<'static, str>, kind: &'static str, labels: &str, value: u64) {
        let (_, series) = self.counters.entry(name).or_insert_with(|| (kind, BTreeMap::new()));
        match series.get_mut(labels) {
            Some(sum) => *sum += value,
            None => drop(series.insert(labels.to_owned(), value)),
        }
    }

    pub fn histogram(&mut self, name: &'static str, labels: &str, read: ([u64; BUCKETS.len() + 1], u64)) {
        let series = self.histograms.entry(name).or_default();
        let (buckets, sum) = series.entry(labels.to_owned()).or_default();
        for (bucket, more) in buckets.iter_mut().zip(read.0) {
            *bucket += more;
        }
        *sum += read.1;
    }

    pub fn finish(self) -> String {
        let mut out = String::new();
        for (name, (kind, series)) in &self.counters {
            let _ = writeln!(out, "# TYPE {name} {kind}");
            for (labels, value) in series {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        }
        for (name, series) in &self.histograms {
            let _ = writeln!(out, "# TYPE {name} histogram");
            for (labels, (buckets, sum)) in series {
                write_histogram(&mut out, name, labels, buckets, *sum);
            }
        }
        out
    }
}

fn write_histogram(out: &mut String, name: &str, labels: &str, buckets: &[u64], sum: u64) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut count = 0;
    for (index, bucket) in buckets.iter().enumerate() {
        count += bucket;
        let bound = BUCKETS.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}");
    let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
}

/// Appends `name="value"` with the value escaped; an empty value is `unknown`, as Istio has it.
pub fn label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for c in if value.is_empty() { "unknown" } else { value }.chars() {
        match c {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            c => labels.push(c),
        }
    }
    labels.push('"');
}
