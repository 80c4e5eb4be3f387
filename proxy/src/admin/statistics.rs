//! `/stats`: the metrics of `/stats/prometheus` under the names that Envoy gives them, with the labels as parts of the
//! name. Histograms are shown in Prometheus' format only.

use std::collections::BTreeMap;

use hyper::StatusCode;
use regex::Regex;
use serde_json::{Value, json};

use super::{Admin, Answer, Query, of_kind, text};
use crate::stats::{self, names};

impl Admin {
    pub(super) fn prometheus(&self, query: &Query<'_>) -> Answer {
        let filter = match query.regex("filter") {
            Ok(filter) => filter,
            Err(answer) => return answer,
        };
        let (mut all, used_only) = (self.view.select(self.data_plane.metrics()), query.has("usedonly"));
        if filter.is_some() || used_only {
            let matches = |name: &str| filter.as_ref().is_none_or(|filter| filter.is_match(name));
            all = stats::only(&all, |name, used| (used || !used_only) && matches(name));
        }
        let body = self.view.relabel(all);
        of_kind(StatusCode::OK, "text/plain; version=0.0.4", body)
    }

    pub(super) fn stats(&self, query: &Query<'_>) -> Answer {
        match query.get("format").as_deref() {
            None | Some("" | "text" | "json" | "html") => {}
            Some("prometheus") => return self.prometheus(query),
            Some(other) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("usage: /stats?format=text|json|prometheus, not {other}\n"),
                );
            }
        }
        let filter = match query.regex("filter") {
            Ok(filter) => filter,
            Err(answer) => return answer,
        };
        let kind = query.get("type");
        let all = dotted(&self.view.select(self.data_plane.metrics()), kind.as_deref());
        let shown = |name: &str, value: u64| {
            let inverted = query.has("invert_filter");
            let matches = |filter: &Regex| filter.is_match(name) != inverted;
            (value > 0 || !query.has("usedonly")) && filter.as_ref().is_none_or(matches)
        };
        let all = all.into_iter().filter(|(name, value)| shown(name, *value));
        if query.is_json() {
            let stats: Vec<Value> = all.map(|(name, value)| json!({"name": name, "value": value})).collect();
            return of_kind(StatusCode::OK, "application/json", json!({"stats": stats}).to_string());
        }
        text(StatusCode::OK, all.map(|(name, value)| format!("{name}: {value}\n")).collect::<String>())
    }
}

/// Counters and gauges of an exposition by Envoy's names.
pub fn dotted(exposition: &str, only: Option<&str>) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut kind = "";
    for line in exposition.lines() {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            kind = told.rsplit(' ').next().unwrap_or_default();
            continue;
        }
        let wanted = match only {
            Some("Counters") => kind == "counter",
            Some("Gauges") => kind == "gauge",
            _ => kind != "histogram",
        };
        if let (true, Some((series, value))) = (wanted, line.rsplit_once(' '))
            && let Ok(value) = value.parse::<u64>()
        {
            *all.entry(name_of(series)).or_default() += value;
        }
    }
    all
}

/// `envoy_cluster_upstream_rq_xx{envoy_cluster_name="a",envoy_response_code_class="2"}` is
/// `cluster.a.upstream_rq_2xx`; labels that Envoy does not know follow the name.
fn name_of(series: &str) -> String {
    let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
    let (name, more) = names::dotted(metric, labels.trim_end_matches('}'));
    more.into_iter().fold(name, |name, (label, value)| format!("{name};{label}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_that_envoy_gives_them() {
        let exposition = concat!(
            "# TYPE envoy_cluster_upstream_rq_xx counter\n",
            "envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"a,b=\\\"c\",envoy_response_code_class=\"2\"} 7\n",
            "# TYPE envoy_listener_downstream_cx_active gauge\n",
            "envoy_listener_downstream_cx_active{envoy_listener_address=\"127.0.0.1:80\"} 1\n",
            "# TYPE weft_x counter\nweft_x{cause=\"io\"} 2\n",
            "# TYPE istio_request_bytes histogram\nistio_request_bytes_count{} 1\n",
        );
        let all = dotted(exposition, None);
        let expected = [
            ("cluster.a,b=\"c.upstream_rq_2xx", 7),
            ("listener.127.0.0.1_80.downstream_cx_active", 1),
            ("weft_x;cause=io", 2),
        ];
        assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(dotted(exposition, Some("Gauges")).len(), 1);
    }
}
