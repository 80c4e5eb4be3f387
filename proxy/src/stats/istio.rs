//! Istio's standard metrics (Istio, standard metrics): requests and TCP connections with both ends' names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exposition::{Exposition, label};
use super::told::Told;
use super::value::{Counter, Histogram, Sketch};
use crate::config::{ServiceRef, WorkloadRef};

/// Which side of a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
}

/// Both ends of a call, as far as known.
#[derive(Clone, Copy, Debug)]
pub struct TcpLabels<'a> {
    pub reporter: Reporter,
    pub source: Option<&'a WorkloadRef>,
    pub source_principal: &'a str,
    pub destination: Option<&'a WorkloadRef>,
    pub destination_principal: &'a str,
    pub service: Option<&'a ServiceRef>,
    pub response_flags: &'a str,
    pub mutual_tls: bool,
}

/// A call and its answer.
#[derive(Clone, Copy, Debug)]
pub struct RequestLabels<'a> {
    pub ends: TcpLabels<'a>,
    /// `http` or `grpc`.
    pub protocol: &'a str,
    pub response_code: u16,
    pub grpc_status: Option<u32>,
}

#[derive(Debug, Default)]
pub struct RequestSeries {
    pub total: Counter,
    /// Requests that access control turned away; part of the total.
    pub denied: Counter,
    pub duration_milliseconds: Histogram,
    /// The same durations, finer; for reports.
    pub latency: Sketch,
    pub request_bytes: Histogram,
    pub response_bytes: Histogram,
    /// gRPC's, where a filter counts them.
    pub request_messages: Counter,
    pub response_messages: Counter,
}

#[derive(Debug, Default)]
pub struct TcpSeries {
    pub opened: Counter,
    pub closed: Counter,
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
}

/// The series of one worker. Its lock is taken for a new series, for a scrape and for a report; workers keep what they
/// got.
#[derive(Debug, Default)]
pub struct Table {
    requests: Mutex<HashMap<Key, Entry<RequestSeries>>>,
    connections: Mutex<HashMap<Key, Entry<TcpSeries>>>,
}

/// What makes a series. Istio's labels do not say whether the caller's side used mutual TLS; reports do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    labels: String,
    mutual_tls: bool,
}

#[derive(Debug)]
pub struct Entry<T> {
    /// What reports say of it; none where series are counted together.
    pub told: Option<Told>,
    pub series: Arc<T>,
}

/// Series beyond this number are counted together under one, so that odd clients cannot fill the memory.
const MAX_SERIES: usize = 10_000;
const OVERFLOW: &str = "overflow=\"true\"";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn series<T: Default>(
    table: &Mutex<HashMap<Key, Entry<T>>>,
    labels: String,
    ends: &TcpLabels<'_>,
    request: Option<&RequestLabels<'_>>,
) -> Arc<T> {
    let mut table = lock(table);
    let key = Key { labels, mutual_tls: ends.mutual_tls };
    if let Some(known) = table.get(&key) {
        return Arc::clone(&known.series);
    }
    let (key, told) = match table.len() >= MAX_SERIES {
        true => (Key { labels: OVERFLOW.to_owned(), mutual_tls: false }, None),
        false => (key, Some(Told::new(ends, request))),
    };
    let entry = table.entry(key).or_insert_with(|| Entry { told, series: Arc::default() });
    Arc::clone(&entry.series)
}

impl Table {
    pub fn requests(&self, labels: &RequestLabels<'_>) -> Arc<RequestSeries> {
        series(&self.requests, request_labels(labels), &labels.ends, Some(labels))
    }

    pub fn connections(&self, labels: &TcpLabels<'_>) -> Arc<TcpSeries> {
        series(&self.connections, tcp_labels(labels, None), labels, None)
    }

    /// Shows every series.
    pub fn visit(
        &self,
        mut requests: impl FnMut(&Key, &Entry<RequestSeries>),
        mut connections: impl FnMut(&Key, &Entry<TcpSeries>),
    ) {
        lock(&self.requests).iter().for_each(|(key, entry)| requests(key, entry));
        lock(&self.connections).iter().for_each(|(key, entry)| connections(key, entry));
    }
}

fn request_labels(labels: &RequestLabels<'_>) -> String {
    let mut text = tcp_labels(&labels.ends, Some(labels));
    if let Some(status) = labels.grpc_status {
        label(&mut text, "grpc_response_status", &status.to_string());
    }
    text
}

fn tcp_labels(ends: &TcpLabels<'_>, request: Option<&RequestLabels<'_>>) -> String {
    let mut text = String::with_capacity(1024);
    let reporter = if ends.reporter == Reporter::Source { "source" } else { "destination" };
    label(&mut text, "reporter", reporter);
    workload(&mut text, SOURCE, ends.source, ends.source_principal);
    workload(&mut text, DESTINATION, ends.destination, ends.destination_principal);
    let service = |field: fn(&ServiceRef) -> &String| ends.service.map_or("", |service| field(service));
    label(&mut text, "destination_service", service(|s| &s.host));
    label(&mut text, "destination_service_name", service(|s| &s.name));
    label(&mut text, "destination_service_namespace", service(|s| &s.namespace));
    match request {
        Some(request) => {
            label(&mut text, "request_protocol", request.protocol);
            label(&mut text, "response_code", &request.response_code.to_string());
        }
        None => label(&mut text, "request_protocol", "tcp"),
    }
    label(&mut text, "response_flags", if ends.response_flags.is_empty() { "-" } else { ends.response_flags });
    let policy = match (ends.reporter, ends.mutual_tls) {
        (Reporter::Source, _) => "unknown",
        (Reporter::Destination, true) => "mutual_tls",
        (Reporter::Destination, false) => "none",
    };
    label(&mut text, "connection_security_policy", policy);
    text
}

/// The names of one end's labels.
type EndNames = [&'static str; 8];

const SOURCE: EndNames = [
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
];
const DESTINATION: EndNames = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
];

fn workload(text: &mut String, names: EndNames, end: Option<&WorkloadRef>, principal: &str) {
    let of = |field: fn(&WorkloadRef) -> &String| end.map_or("", |end| field(end));
    let (service, revision) = (of(|w| &w.canonical_service), of(|w| &w.canonical_revision));
    let values =
        [of(|w| &w.name), of(|w| &w.namespace), principal, service, revision, of(|w| &w.cluster), service, revision];
    for (name, value) in names.into_iter().zip(values) {
        label(text, name, value);
    }
}

/// Writes the series of all workers.
pub fn write<'a>(tables: impl Iterator<Item = &'a Table>, out: &mut Exposition) {
    for table in tables {
        for (Key { labels, .. }, Entry { series, .. }) in lock(&table.requests).iter() {
            out.counter("istio_requests_total", labels, series.total.get());
            out.histogram("istio_request_duration_milliseconds", labels, series.duration_milliseconds.read());
            out.histogram("istio_request_bytes", labels, series.request_bytes.read());
            out.histogram("istio_response_bytes", labels, series.response_bytes.read());
            let messages = [&series.request_messages, &series.response_messages].map(Counter::get);
            if messages != [0, 0] {
                out.counter("istio_request_messages_total", labels, messages[0]);
                out.counter("istio_response_messages_total", labels, messages[1]);
            }
        }
        for (Key { labels, .. }, Entry { series, .. }) in lock(&table.connections).iter() {
            out.counter("istio_tcp_connections_opened_total", labels, series.opened.get());
            out.counter("istio_tcp_connections_closed_total", labels, series.closed.get());
            out.counter("istio_tcp_sent_bytes_total", labels, series.sent_bytes.get());
            out.counter("istio_tcp_received_bytes_total", labels, series.received_bytes.get());
        }
    }
}
