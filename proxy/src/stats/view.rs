//! Which metrics are shown, and with which labels (Envoy, `StatsConfig`). Counting does not change: what is shown is
//! made when it is asked for.

use std::collections::BTreeMap;
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
            Some(shown) => self.write(&exposition, |name| shown.shows(name), false),
        }
    }

    /// What is left of an exposition after [`Self::select`], with the labels that are asked for.
    pub fn relabel(&self, exposition: String) -> String {
        match !self.own_tags_only && self.tags.is_empty() {
            true => exposition,
            false => self.write(&exposition, |_| true, true),
        }
    }

    fn write(&self, exposition: &str, shows: impl Fn(&str) -> bool, relabel: bool) -> String {
        let mut metrics: BTreeMap<String, (&str, Vec<String>)> = BTreeMap::new();
        let (mut base, mut kind) = ("", "");
        for line in exposition.lines() {
            if let Some(told) = line.strip_prefix("# TYPE ") {
                (base, kind) = told.split_once(' ').unwrap_or((told, ""));
                continue;
            }
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            let suffix = metric.strip_prefix(base).unwrap_or_default();
            let (name, own) = dotted(base, labels.trim_end_matches('}'));
            if !shows(&name) {
                continue;
            }
            let (metric, labels) = match relabel && base.starts_with("envoy_") {
                true => self.labelled(&name, base, labels, own),
                false => (base.to_owned(), labels.trim_end_matches('}').to_owned()),
            };
            let (_, lines) = metrics.entry(metric.clone()).or_insert_with(|| (kind, Vec::new()));
            lines.push(format!("{metric}{suffix}{{{labels}}} {value}\n"));
        }
        let one =
            |(name, (kind, lines)): (String, (&str, Vec<String>))| format!("# TYPE {name} {kind}\n") + &lines.concat();
        metrics.into_iter().map(one).collect()
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
            for (name, value) in labels_of(labels.trim_end_matches('}')) {
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
        let shown = Some(Shown { inclusive: true, patterns: vec![prefix("cluster.xds-grpc"), prefix("istio")] });
        let mut view = StatsView { shown, ..StatsView::default() };
        let shown = view.select(EXPOSITION.to_owned());
        assert_eq!(shown.lines().filter(|line| !line.starts_with('#')).count(), 2, "{shown}");
        view.shown = Some(Shown { inclusive: false, patterns: vec![prefix("cluster.")] });
        let shown = view.select(EXPOSITION.to_owned());
        assert!(shown.contains("envoy_server_uptime") && !shown.contains("envoy_cluster"), "{shown}");
    }
}
