//! Which metrics are shown, and with which labels (Envoy, `StatsConfig`). Counting does not change: what is shown is
//! made when it is asked for.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use regex::Regex;

use super::label;
use super::names::{dotted, labels_of};
use crate::config::StringMatch;

#[derive(Clone, Debug, Default)]
pub struct StatsView {
    /// Whether `tags` alone make labels, without those that Envoy gives by default.
    pub own_tags_only: bool,
    pub tags: Vec<Tag>,
    /// `None` shows everything.
    pub shown: Option<Shown>,
}

/// Takes a label out of a metric's name.
#[derive(Clone, Debug)]
pub struct Tag {
    pub name: String,
    pub rule: TagRule,
}

#[derive(Clone, Debug)]
pub enum TagRule {
    Fixed(String),
    /// The first group leaves the name; the second, or the first, is the value. `begins`: what the name must begin
    /// with too.
    Pattern {
        regex: Regex,
        begins: String,
    },
}

/// Metrics by their names, all but those or those alone.
#[derive(Clone, Debug)]
pub struct Shown {
    pub inclusive: bool,
    pub patterns: Vec<StringMatch>,
}

impl Shown {
    fn shows(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name.as_bytes())) == self.inclusive
    }
}

impl StatsView {
    /// What of an exposition is shown, with its labels as they are.
    pub fn select(&self, exposition: String) -> String {
        match &self.shown {
            None => exposition,
            Some(shown) => only(&exposition, |name, _| shown.shows(name)),
        }
    }

    /// What is left of an exposition after [`Self::select`], with the labels that are asked for.
    pub fn relabel(&self, exposition: String) -> String {
        if !self.own_tags_only && self.tags.is_empty() {
            return exposition;
        }
        let mut metrics = Metrics::default();
        for line in lines(&exposition) {
            let (name, own) = dotted(line.base, line.labels);
            let (metric, labels) = match line.base.starts_with("envoy_") {
                true => self.labelled(&name, line.base, line.labels, own),
                false => (line.base.to_owned(), line.labels.to_owned()),
            };
            metrics.add(&line, metric, &labels);
        }
        metrics.text()
    }

    /// The name and labels of a metric that Envoy calls by that name.
    fn labelled(&self, name: &str, base: &str, labels: &str, own: Vec<(&str, String)>) -> (String, String) {
        let mut all = String::new();
        let mut taken: Vec<Range<usize>> = Vec::new();
        for tag in &self.tags {
            match &tag.rule {
                TagRule::Fixed(value) => label(&mut all, &sanitized(&tag.name), value),
                TagRule::Pattern { regex, begins } => {
                    let found = regex.captures(name).filter(|_| name.starts_with(begins.as_str()));
                    let Some(found) = found else { continue };
                    let Some(part) = found.get(1) else { continue };
                    let value = found.get(2).unwrap_or(part);
                    label(&mut all, &sanitized(&tag.name), value.as_str());
                    taken.push(part.range());
                }
            }
        }
        if !self.own_tags_only {
            let parts = taken.iter().filter_map(|range| name.get(range.clone())).map(sanitized);
            // What a default label took out of the name is not there to be taken out again.
            let base = parts.fold(base.to_owned(), |base, part| base.replacen(&part, "", 1));
            for (name, value) in labels_of(labels) {
                label(&mut all, name, &value);
            }
            return (base, all);
        }
        for (name, value) in own {
            label(&mut all, name, &value);
        }
        let rest: String = name
            .char_indices()
            .filter(|(at, _)| !taken.iter().any(|range| range.contains(at)))
            .map(|(_, char)| char)
            .collect();
        (format!("envoy_{}", sanitized(&rest)), all)
    }
}

/// The series of an exposition for which `shows` says so, by the name that Envoy gives them and whether anything was
/// counted. A metric without series is not named.
pub fn only(exposition: &str, shows: impl Fn(&str, bool) -> bool) -> String {
    let used: HashSet<_> = lines(exposition).filter(|line| line.value != "0").map(|line| line.series()).collect();
    let mut metrics = Metrics::default();
    for line in lines(exposition) {
        if shows(&dotted(line.base, line.labels).0, used.contains(&line.series())) {
            metrics.add(&line, line.base.to_owned(), line.labels);
        }
    }
    metrics.text()
}

/// A line of an exposition: a series, or a bucket of one.
struct Line<'a> {
    base: &'a str,
    kind: &'a str,
    /// `_bucket`, `_sum` or `_count` of a histogram.
    suffix: &'a str,
    labels: &'a str,
    value: &'a str,
}

impl<'a> Line<'a> {
    /// The series that it is of: the bound of a bucket comes last among its labels.
    fn series(&self) -> (&'a str, &'a str) {
        let labels = self.labels.rfind("le=\"").filter(|_| self.suffix == "_bucket");
        (self.base, labels.map_or(self.labels, |at| self.labels[..at].trim_end_matches(',')))
    }
}

fn lines(exposition: &str) -> impl Iterator<Item = Line<'_>> {
    let (mut base, mut kind) = ("", "");
    exposition.lines().filter_map(move |line| {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            (base, kind) = told.split_once(' ').unwrap_or((told, ""));
            return None;
        }
        let (series, value) = line.rsplit_once(' ')?;
        let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
        let (suffix, labels) = (metric.strip_prefix(base).unwrap_or_default(), labels.trim_end_matches('}'));
        Some(Line { base, kind, suffix, labels, value })
    })
}

/// Lines by metric, with the kind of each.
#[derive(Default)]
struct Metrics<'a>(BTreeMap<String, (&'a str, String)>);

impl<'a> Metrics<'a> {
    fn add(&mut self, line: &Line<'a>, metric: String, labels: &str) {
        let shown = format!("{metric}{}{{{labels}}} {}\n", line.suffix, line.value);
        let (_, lines) = self.0.entry(metric).or_insert_with(|| (line.kind, String::new()));
        lines.push_str(&shown);
    }

    fn text(self) -> String {
        let one = |(name, (kind, lines))| format!("# TYPE {name} {kind}\n{lines}");
        self.0.into_iter().map(one).collect()
    }
}

/// As Prometheus takes a name.
fn sanitized(name: &str) -> String {
    name.chars().map(|char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPOSITION: &str = concat!(
        "# TYPE envoy_cluster_upstream_cx_total counter\n",
        "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"xds-grpc\"} 3\n",
        "# TYPE envoy_cluster_upstream_rq_xx counter\n",
        "envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"a.b.svc.cluster.local\",envoy_response_code_class=\"2\"} 7\n",
        "# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{} 1\n",
        "# TYPE istio_requests_total counter\nistio_requests_total{reporter=\"source\"} 2\n",
    );

    fn tag(name: &str, pattern: &str) -> Tag {
        Tag {
            name: name.to_owned(),
            rule: TagRule::Pattern { regex: Regex::new(pattern).unwrap(), begins: String::new() },
        }
    }

    #[test]
    fn istios_labels_take_the_place_of_the_default_ones() {
        let view = StatsView {
            own_tags_only: true,
            tags: vec![
                tag("cluster_name", r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"),
                tag("response_code_class", r"_rq(_(\dxx))$"),
            ],
            shown: None,
        };
        let shown = view.relabel(EXPOSITION.to_owned());
        for line in [
            "# TYPE envoy_cluster_upstream_cx_total counter\nenvoy_cluster_upstream_cx_total{cluster_name=\"xds-grpc\"} 3\n",
            "envoy_cluster_upstream_rq{cluster_name=\"a.b.svc.cluster.local\",response_code_class=\"2xx\"} 7\n",
            "envoy_server_uptime{} 1\n",
            "istio_requests_total{reporter=\"source\"} 2\n",
        ] {
            assert!(shown.contains(line), "{line} is not in {shown}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_shown() {
        let prefix = |text: &str| StringMatch::Prefix { text: text.to_owned(), ignore_case: false };
        let shown = Some(Shown { inclusive: true, patterns: vec![prefix("cluster.xds-grpc"), prefix("istiocustom.")] });
        let mut view = StatsView { shown, ..StatsView::default() };
        let shown = view.select(EXPOSITION.to_owned());
        assert_eq!(shown.lines().filter(|line| !line.starts_with('#')).count(), 2, "{shown}");
        // As Istio's bootstrap asks for what it always wants (`requiredEnvoyStatsMatcherInclusionPrefixes`).
        let regex = |text: &str| StringMatch::Regex(regex::bytes::Regex::new(text).unwrap());
        view.shown =
            Some(Shown { inclusive: true, patterns: vec![regex(r"^server\..*"), regex(r".*\.upstream_rq_\dxx")] });
        let shown = view.select(EXPOSITION.to_owned());
        let metrics: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(metrics, ["envoy_cluster_upstream_rq_xx counter", "envoy_server_uptime gauge"]);
        view.shown = Some(Shown { inclusive: false, patterns: vec![prefix("cluster.")] });
        let shown = view.select(EXPOSITION.to_owned());
        assert!(shown.contains("envoy_server_uptime") && !shown.contains("envoy_cluster"), "{shown}");
    }

    #[test]
    fn a_histogram_that_counted_is_shown_whole_and_one_that_did_not_not_at_all() {
        let counted = concat!(
            "# TYPE t histogram\n",
            "t_bucket{a=\"1\",le=\"0.5\"} 0\nt_bucket{a=\"1\",le=\"+Inf\"} 1\nt_sum{a=\"1\"} 0\nt_count{a=\"1\"} 1\n",
        );
        let idle = "t_bucket{a=\"2\",le=\"+Inf\"} 0\nt_sum{a=\"2\"} 0\nt_count{a=\"2\"} 0\n";
        let never = "# TYPE u counter\nu{} 0\n";
        assert_eq!(only(&format!("{counted}{idle}{never}"), |_, used| used), counted);
    }
}
