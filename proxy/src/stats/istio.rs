//! Istio's standard metrics (Istio, standard metrics): requests and TCP connections with both ends' names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exposition::{Exposition, label};
use super::rules::{Metric, Shape};
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
    /// Whether bytes of it came to another host.
    pub reached: bool,
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
    requests: Mutex<Map<RequestSeries>>,
    connections: Mutex<Map<TcpSeries>>,
}

/// By what makes a series, and by what is said of its labels where something is.
type Map<T> = HashMap<(Key, Option<Shape>), Entry<T>>;

/// What makes a series. Istio's labels do not say whether the caller's side used mutual TLS, nor whether it had anybody
/// to use it with; reports do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    labels: String,
    mutual_tls: bool,
    reached: bool,
}

#[derive(Debug)]
pub struct Entry<T> {
    /// What reports say of it; none where series are counted together.
    pub told: Option<Told>,
    /// The labels of each metric, where they are not as always.
    labels: Option<Box<[Option<String>; Metric::ALL.len()]>>,
    pub series: Arc<T>,
}

/// Series beyond this number are counted together under one, so that odd clients cannot fill the memory.
const MAX_SERIES: usize = 10_000;
const OVERFLOW: &str = "overflow=\"true\"";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn series<T: Default>(
    table: &Mutex<Map<T>>,
    labels: String,
    shape: Option<&Shape>,
    ends: &TcpLabels<'_>,
    request: Option<&RequestLabels<'_>>,
) -> Arc<T> {
    let mut table = lock(table);
    let key = (Key { labels, mutual_tls: ends.mutual_tls, reached: ends.reached }, shape.cloned());
    if let Some(known) = table.get(&key) {
        return Arc::clone(&known.series);
    }
    let (key, told) = match table.len() >= MAX_SERIES {
        true => ((Key { labels: OVERFLOW.to_owned(), mutual_tls: false, reached: false }, None), None),
        false => (key, Some(Told::new(ends, request))),
    };
    let labels = key.1.as_ref().map(|shape| Box::new(shape.labels(&key.0.labels)));
    let entry = table.entry(key).or_insert_with(|| Entry { told, labels, series: Arc::default() });
    Arc::clone(&entry.series)
}

impl Table {
    pub fn requests(&self, labels: &RequestLabels<'_>, shape: Option<&Shape>) -> Arc<RequestSeries> {
        series(&self.requests, request_labels(labels), shape, &labels.ends, Some(labels))
    }

    pub fn connections(&self, labels: &TcpLabels<'_>, shape: Option<&Shape>) -> Arc<TcpSeries> {
        series(&self.connections, tcp_labels(labels, None), shape, labels, None)
    }

    /// Shows every series.
    pub fn visit(
        &self,
        mut requests: impl FnMut(&Key, &Entry<RequestSeries>),
        mut connections: impl FnMut(&Key, &Entry<TcpSeries>),
    ) {
        lock(&self.requests).iter().for_each(|((key, _), entry)| requests(key, entry));
        lock(&self.connections).iter().for_each(|((key, _), entry)| connections(key, entry));
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

impl<T> Entry<T> {
    fn labels_of<'a>(&'a self, key: &'a Key, metric: Metric) -> Option<&'a str> {
        match &self.labels {
            None => Some(&key.labels),
            Some(labels) => labels[metric as usize].as_deref(),
        }
    }
}

/// Writes the series of all workers.
pub fn write<'a>(tables: impl Iterator<Item = &'a Table>, out: &mut Exposition) {
    for table in tables {
        for ((key, _), entry) in lock(&table.requests).iter() {
            write_requests(key, entry, out);
        }
        for ((key, _), entry) in lock(&table.connections).iter() {
            let series = &entry.series;
            for (metric, name, counter) in [
                (Metric::Opened, "istio_tcp_connections_opened_total", &series.opened),
                (Metric::Closed, "istio_tcp_connections_closed_total", &series.closed),
                (Metric::Sent, "istio_tcp_sent_bytes_total", &series.sent_bytes),
                (Metric::Received, "istio_tcp_received_bytes_total", &series.received_bytes),
            ] {
                if let Some(labels) = entry.labels_of(key, metric) {
                    out.counter(name, labels, counter.get());
                }
            }
        }
    }
}

fn write_requests(key: &Key, entry: &Entry<RequestSeries>, out: &mut Exposition) {
    let series = &entry.series;
    if let Some(labels) = entry.labels_of(key, Metric::Requests) {
        out.counter("istio_requests_total", labels, series.total.get());
    }
    for (metric, name, histogram) in [
        (Metric::Duration, "istio_request_duration_milliseconds", &series.duration_milliseconds),
        (Metric::RequestBytes, "istio_request_bytes", &series.request_bytes),
        (Metric::ResponseBytes, "istio_response_bytes", &series.response_bytes),
    ] {
        if let Some(labels) = entry.labels_of(key, metric) {
            out.histogram(name, labels, histogram.read());
        }
    }
    let messages = [&series.request_messages, &series.response_messages].map(Counter::get);
    if messages == [0, 0] {
        return;
    }
    let of = [
        (Metric::RequestMessages, "istio_request_messages_total"),
        (Metric::ResponseMessages, "istio_response_messages_total"),
    ];
    for ((metric, name), count) in of.into_iter().zip(messages) {
        if let Some(labels) = entry.labels_of(key, metric) {
            out.counter(name, labels, count);
        }
    }
}
