//! Metrics of several proxies as one: each series gets a label with its workload; and the same as a JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Expositions in Prometheus' text format as one; `None` is nobody's in particular.
pub fn together(all: &[(Option<String>, String)]) -> String {
    // By metric, with the line that tells its type.
    let mut metrics: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    for (workload, exposition) in all {
        let mut current = "";
        for line in exposition.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                current = declared.split(' ').next().unwrap_or_default();
                metrics.entry(current).or_insert_with(|| (line, Vec::new()));
            } else if let Some((_, lines)) = metrics.get_mut(current) {
                lines.push(workload.as_ref().map_or_else(|| line.to_owned(), |workload| labelled(line, workload)));
            }
        }
    }
    let mut out = String::new();
    for (declared, lines) in metrics.into_values() {
        let _ = writeln!(out, "{declared}");
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

fn labelled(line: &str, workload: &str) -> String {
    let Some((name, rest)) = line.split_once('{') else { return line.to_owned() };
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!("{name}{{workload=\"{workload}\"{comma}{rest}")
}

/// The buckets of a histogram: how many are not above each bound.
type Buckets = Vec<(f64, f64)>;

/// An exposition as one object, by series. A histogram is its `.count`, `.sum` and `.avg`, and the bounds below which
/// the shares `.p50`, `.p90`, `.p95` and `.p99` lie.
pub fn as_json(exposition: &str) -> Value {
    let (mut out, mut histograms) = (Map::new(), BTreeMap::<String, Buckets>::new());
    let kinds = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: BTreeMap<&str, &str> = kinds.collect();
    let is_histogram = |name: &str| kinds.get(name) == Some(&"histogram");
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_at(series.find('{').unwrap_or(series.len()));
        let part = |suffix: &str| name.strip_suffix(suffix).filter(|name| is_histogram(name));
        if let Some(name) = part("_bucket") {
            let Some((labels, bound)) = without_bound(labels) else { continue };
            histograms.entry(format!("{name}{labels}")).or_default().push((bound, value));
        } else if let Some(name) = part("_sum") {
            out.insert(format!("{name}{labels}.sum"), number(value));
        } else if let Some(name) = part("_count") {
            out.insert(format!("{name}{labels}.count"), number(value));
        } else {
            out.insert(series.to_owned(), number(value));
        }
    }
    for (series, buckets) in histograms {
        let told = |out: &Map<String, Value>, what: &str| out.get(&format!("{series}.{what}")).and_then(Value::as_f64);
        if let (Some(sum), Some(count)) = (told(&out, "sum"), told(&out, "count"))
            && count > 0.0
        {
            out.insert(format!("{series}.avg"), number(sum / count));
            for (share, what) in [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")] {
                let bound = buckets.iter().find(|(_, below)| *below >= share * count).map(|(bound, _)| *bound);
                out.insert(format!("{series}.{what}"), bound.map_or(Value::Null, number));
            }
        }
    }
    Value::Object(out)
}

/// The labels without `le`, and what it was.
fn without_bound(labels: &str) -> Option<(String, f64)> {
    let (before, rest) = labels.rsplit_once("le=\"")?;
    let (bound, after) = rest.split_once('"')?;
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    Some((format!("{}{after}", before.trim_end_matches(',')), bound))
}

/// Whole numbers as such; an infinite one is none of JSON's.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { Value::from(value as i64) } else { Value::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# TYPE a_total counter\na_total{code=\"200\"} 3\n# TYPE up gauge\nup{} 1\n# TYPE took histogram\n\
        took_bucket{code=\"200\",le=\"1\"} 5\ntook_bucket{code=\"200\",le=\"5\"} 9\ntook_bucket{code=\"200\",le=\"+Inf\"} 10\n\
        took_sum{code=\"200\"} 25\ntook_count{code=\"200\"} 10\n";

    #[test]
    fn each_metric_stands_once_with_the_series_of_all() {
        let two = "# TYPE a_total counter\na_total{code=\"500\"} 4\n";
        let own = "# TYPE refused counter\nrefused{reason=\"x\"} 0\n";
        let all = [(Some("r.d"), ONE), (Some("s.d"), two), (None, own)];
        let text = together(&all.map(|(workload, text)| (workload.map(str::to_owned), text.to_owned())));
        assert_eq!(text.matches("# TYPE a_total counter").count(), 1);
        for line in [
            "a_total{workload=\"r.d\",code=\"200\"} 3",
            "a_total{workload=\"s.d\",code=\"500\"} 4",
            "up{workload=\"r.d\"} 1",
            "refused{reason=\"x\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }

    #[test]
    fn the_object_has_the_figures_and_the_shares_of_histograms() {
        let told = as_json(ONE);
        assert_eq!(told["a_total{code=\"200\"}"], 3);
        assert_eq!(told["took{code=\"200\"}.count"], 10);
        assert_eq!(told["took{code=\"200\"}.avg"], 2.5);
        assert_eq!(told["took{code=\"200\"}.p50"], 1);
        assert_eq!(told["took{code=\"200\"}.p90"], 5);
        assert_eq!(told["took{code=\"200\"}.p99"], Value::Null);
    }
}
