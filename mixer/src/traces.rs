//! A small store of traces, in memory: the spans that proxies report, put together by trace. When it is full, traces go
//! that neither failed nor were slow, the oldest first.

mod otlp;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::graph::namespace;

/// So many traces are kept, and so many of those that failed or were slow.
const MAX_TRACES: usize = 2000;
const MAX_NOTABLE: usize = 1000;
const MAX_SPANS: usize = 200;
const MAX_ATTRIBUTES: usize = 40;
const LONGEST_TEXT: usize = 1024;
/// From this duration on a trace is slow.
const SLOW_US: u64 = 1_000_000;

/// The traces of a mesh.
#[derive(Debug, Default)]
pub struct Traces {
    traces: HashMap<u128, Trace>,
    /// Oldest first; a trace that became notable is in both, and counts in the second.
    plain: VecDeque<u128>,
    notable: VecDeque<u128>,
    /// Traces that went, and spans that a trace had no room for.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Trace {
    spans: Vec<SpanView>,
    notable: bool,
}

/// One proxy's part in a request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SpanView {
    /// 16 hexadecimal digits.
    pub span_id: String,
    pub parent_id: Option<String>,
    /// The node in the graph.
    pub service: String,
    /// The id of the proxy.
    pub proxy: String,
    pub name: String,
    /// `server` or `client`.
    pub kind: &'static str,
    /// Unix microseconds.
    pub start_us: u64,
    pub duration_us: u64,
    /// `ok` or `error`.
    pub status: &'static str,
    pub attributes: BTreeMap<String, String>,
}

/// A trace in a list.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TraceSummary {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Of its first span.
    pub service: String,
    pub name: String,
    /// Its method and path, `GET /productpage`, where it tells them.
    pub request: Option<String>,
    /// Unix milliseconds.
    pub started_at: u64,
    pub duration_ms: f64,
    pub spans: usize,
    pub error: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TraceView {
    pub trace_id: String,
    /// In the order in which they began.
    pub spans: Vec<SpanView>,
}

/// Which traces are asked for.
#[derive(Clone, Debug, Default)]
pub struct TraceQuery {
    /// A node in the graph that took part.
    pub service: Option<String>,
    pub errors: bool,
    pub min_ms: Option<f64>,
    pub limit: usize,
    /// Only what nodes of these namespaces told; everything without any.
    pub namespaces: Vec<String>,
}

impl Traces {
    /// Takes a report of spans (OTLP, `ExportTraceServiceRequest`) of the proxy of a node.
    pub fn take(&mut self, report: &[u8], node: &str, proxy: &str) {
        for (trace_id, span) in otlp::decode(report, node, proxy) {
            self.add(trace_id, span);
        }
    }

    /// Has the spans of nodes be of others.
    pub fn rename(&mut self, nodes: &HashMap<Arc<str>, Arc<str>>) {
        for span in self.traces.values_mut().flat_map(|trace| &mut trace.spans) {
            if let Some(node) = nodes.get(span.service.as_str()) {
                span.service = node.to_string();
            }
        }
    }

    /// The node of each span.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.traces.values().flat_map(|trace| &trace.spans).map(|span| span.service.as_str())
    }

    fn add(&mut self, trace_id: u128, span: SpanView) {
        if !self.traces.contains_key(&trace_id) {
            self.make_room();
            self.plain.push_back(trace_id);
        }
        let trace = self.traces.entry(trace_id).or_default();
        if trace.spans.len() >= MAX_SPANS {
            self.dropped += 1;
            return;
        }
        let notable = span.status == "error" || span.duration_us >= SLOW_US;
        trace.spans.push(span);
        if notable && !trace.notable {
            trace.notable = true;
            self.notable.push_back(trace_id);
            if self.notable.len() > MAX_NOTABLE {
                let oldest = self.notable.pop_front();
                oldest.map(|id| self.traces.remove(&id));
                self.dropped += 1;
            }
        }
    }

    fn make_room(&mut self) {
        while self.traces.len() >= MAX_TRACES {
            let Some(id) = self.plain.pop_front() else { return };
            if self.traces.get(&id).is_some_and(|trace| !trace.notable) {
                self.traces.remove(&id);
                self.dropped += 1;
            }
        }
        // Ids of traces that are gone, or are kept for another reason, do not pile up.
        if self.plain.len() > 2 * MAX_TRACES {
            let traces = &self.traces;
            self.plain.retain(|id| traces.get(id).is_some_and(|trace| !trace.notable));
        }
    }

    /// Those that are asked for, the newest first.
    pub fn list(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        let wanted = |spans: &[&SpanView]| {
            query.service.as_ref().is_none_or(|service| spans.iter().any(|span| span.service == *service))
        };
        let seen = self.traces.iter().map(|(id, trace)| (id, trace.seen(&query.namespaces)));
        let found =
            seen.filter(|(_, spans)| !spans.is_empty() && wanted(spans)).map(|(id, spans)| summary(*id, &spans));
        let mut found: Vec<TraceSummary> = found
            .filter(|of| !query.errors || of.error)
            .filter(|of| query.min_ms.is_none_or(|least| of.duration_ms >= least))
            .collect();
        found.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| a.trace_id.cmp(&b.trace_id)));
        found.truncate(query.limit);
        found
    }

    pub fn get(&self, trace_id: u128, namespaces: &[String]) -> Option<TraceView> {
        let mut spans: Vec<SpanView> = self.traces.get(&trace_id)?.seen(namespaces).into_iter().cloned().collect();
        if spans.is_empty() {
            return None;
        }
        spans.sort_by_key(|span| (span.start_us, u64::MAX - span.duration_us));
        Some(TraceView { trace_id: format!("{trace_id:032x}"), spans })
    }
}

impl Trace {
    /// The spans of these namespaces; all without any.
    fn seen(&self, namespaces: &[String]) -> Vec<&SpanView> {
        let own = |span: &&SpanView| namespaces.iter().any(|own| own == namespace(&span.service));
        self.spans.iter().filter(|span| namespaces.is_empty() || own(span)).collect()
    }
}

fn summary(id: u128, spans: &[&SpanView]) -> TraceSummary {
    let first = spans.iter().min_by_key(|span| (span.start_us, u64::MAX - span.duration_us));
    let start = first.map_or(0, |span| span.start_us);
    let end = spans.iter().map(|span| span.start_us + span.duration_us).max().unwrap_or(start);
    TraceSummary {
        trace_id: format!("{id:032x}"),
        service: first.map(|span| span.service.clone()).unwrap_or_default(),
        name: first.map(|span| span.name.clone()).unwrap_or_default(),
        request: first.and_then(|span| request(&span.attributes)),
        started_at: start / 1000,
        duration_ms: (end - start) as f64 / 1000.0,
        spans: spans.len(),
        error: spans.iter().any(|span| span.status == "error"),
    }
}

/// As proxies name them, which is as Envoy does.
fn request(attributes: &BTreeMap<String, String>) -> Option<String> {
    let (method, url) = (attributes.get("http.method")?, attributes.get("http.url")?);
    let path = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    Some(format!("{method} {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(number: u64, status: &'static str, duration_us: u64) -> SpanView {
        SpanView {
            span_id: format!("{number:016x}"),
            parent_id: None,
            service: "default/reviews".into(),
            proxy: "p".into(),
            name: "reviews:9080/*".into(),
            kind: "server",
            start_us: 1_700_000_000_000_000 + number,
            duration_us,
            status,
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_list_tells_the_requests_without_what_was_asked_of_whom() {
        let tell = |url: &str| {
            let tags = [("http.method".into(), "GET".into()), ("http.url".into(), url.into())];
            request(&tags.into_iter().collect::<BTreeMap<String, String>>())
        };
        assert_eq!(tell("http://127.0.0.1:8080/productpage?u=a").as_deref(), Some("GET /productpage?u=a"));
        assert_eq!(tell("http://reviews:9080").as_deref(), Some("GET /"));
        assert_eq!(tell("/reviews/0").as_deref(), Some("GET /reviews/0"));
        assert_eq!(request(&BTreeMap::new()), None);
    }

    #[test]
    fn traces_that_failed_or_were_slow_outlive_the_others() {
        let mut traces = Traces::default();
        traces.add(1, span(1, "error", 1000));
        traces.add(2, span(2, "ok", 2_000_000));
        (3..10_000).for_each(|number| traces.add(number, span(number as u64, "ok", 1000)));
        assert_eq!(traces.traces.len(), MAX_TRACES);
        assert!(traces.get(1, &[]).is_some() && traces.get(2, &[]).is_some() && traces.get(3, &[]).is_none());
        let all = TraceQuery { limit: 3000, ..TraceQuery::default() };
        assert_eq!(traces.list(&all).len(), MAX_TRACES);
        assert_eq!(traces.list(&TraceQuery { errors: true, ..all.clone() }).len(), 1);
        assert_eq!(traces.list(&TraceQuery { min_ms: Some(1000.0), ..all }).len(), 1);
    }

    #[test]
    fn of_a_trace_each_namespace_sees_its_own_spans() {
        let mut traces = Traces::default();
        traces.add(1, span(1, "ok", 9000));
        traces.add(1, SpanView { service: "workload:shop/cart".into(), ..span(2, "error", 10) });
        traces.add(2, span(3, "ok", 10));
        let shop = vec!["shop".to_owned()];
        let list = |query: &TraceQuery| traces.list(query).iter().map(|of| of.trace_id.clone()).collect::<Vec<_>>();
        let query = TraceQuery { limit: 10, namespaces: shop.clone(), ..TraceQuery::default() };
        let [seen] = &traces.list(&query)[..] else { panic!("one trace touches the shop") };
        assert_eq!((&*seen.service, seen.spans, seen.duration_ms), ("workload:shop/cart", 1, 0.01));
        assert_eq!(list(&TraceQuery { service: Some("default/reviews".into()), ..query }), Vec::<String>::new());
        assert_eq!(traces.get(1, &shop).unwrap().spans.len(), 1);
        assert_eq!((traces.get(2, &shop), traces.get(1, &[]).unwrap().spans.len()), (None, 2));
    }

    #[test]
    fn a_flood_of_failures_is_bounded_too() {
        let mut traces = Traces::default();
        (0..10_000).for_each(|number| traces.add(number, span(number as u64, "error", 1000)));
        assert!(traces.traces.len() <= MAX_TRACES && traces.plain.len() <= 2 * MAX_TRACES + 1);
        (0..1000).for_each(|number| traces.add(9999, span(number, "ok", 1000)));
        assert_eq!(traces.get(9999, &[]).unwrap().spans.len(), MAX_SPANS);
    }
}
