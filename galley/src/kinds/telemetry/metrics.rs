//! Which of Istio's metrics are counted, and with which labels.

use std::collections::BTreeMap;

use super::{WorkloadMode, expression, mode, providers};
use crate::diagnostic::code;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Empty: those of the next wider scope.
    pub providers: Vec<String>,
    pub overrides: Vec<MetricsOverride>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsOverride {
    pub mode: WorkloadMode,
    /// `None`: every metric.
    pub metric: Option<IstioMetric>,
    pub disabled: Option<bool>,
    pub tags: BTreeMap<String, TagOverride>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TagOverride {
    /// An expression in CEL.
    Upsert(String),
    Remove,
}

/// Istio's standard metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IstioMetric {
    RequestCount,
    RequestDuration,
    RequestSize,
    ResponseSize,
    TcpOpenedConnections,
    TcpClosedConnections,
    TcpSentBytes,
    TcpReceivedBytes,
    GrpcRequestMessages,
    GrpcResponseMessages,
}

impl IstioMetric {
    pub const ALL: [Self; 10] = [
        Self::RequestCount,
        Self::RequestDuration,
        Self::RequestSize,
        Self::ResponseSize,
        Self::TcpOpenedConnections,
        Self::TcpClosedConnections,
        Self::TcpSentBytes,
        Self::TcpReceivedBytes,
        Self::GrpcRequestMessages,
        Self::GrpcResponseMessages,
    ];

    /// Its name without `istio_`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestCount => "requests_total",
            Self::RequestDuration => "request_duration_milliseconds",
            Self::RequestSize => "request_bytes",
            Self::ResponseSize => "response_bytes",
            Self::TcpOpenedConnections => "tcp_connections_opened_total",
            Self::TcpClosedConnections => "tcp_connections_closed_total",
            Self::TcpSentBytes => "tcp_sent_bytes_total",
            Self::TcpReceivedBytes => "tcp_received_bytes_total",
            Self::GrpcRequestMessages => "request_messages_total",
            Self::GrpcResponseMessages => "response_messages_total",
        }
    }
}

pub(super) fn read(place: &Place<'_>) -> Option<Metrics> {
    place.object(|o| {
        if o.field("reportingInterval").and_then(|place| place.duration()).is_some() {
            const WHY: &str = "counters of TCP connections are always those of the moment; there is no interval to set";
            o.warn_at(code::SCHEMA_WARNING, "reportingInterval", WHY);
        }
        Metrics { providers: providers(o), overrides: o.each("overrides", change) }
    })
}

fn change(place: &Place<'_>) -> Option<MetricsOverride> {
    place.object(|o| {
        let (mode, metric) = o.read("match", |place| place.object(selector)).unwrap_or_default();
        MetricsOverride {
            mode,
            metric,
            disabled: o.flag_if_set("disabled"),
            tags: o.field("tagOverrides").map(|place| tags(&place)).unwrap_or_default(),
        }
    })
}

fn selector(o: &Object<'_>) -> (WorkloadMode, Option<IstioMetric>) {
    const NAMES: [(&str, Option<IstioMetric>); 11] = [
        ("ALL_METRICS", None),
        ("REQUEST_COUNT", Some(IstioMetric::RequestCount)),
        ("REQUEST_DURATION", Some(IstioMetric::RequestDuration)),
        ("REQUEST_SIZE", Some(IstioMetric::RequestSize)),
        ("RESPONSE_SIZE", Some(IstioMetric::ResponseSize)),
        ("TCP_OPENED_CONNECTIONS", Some(IstioMetric::TcpOpenedConnections)),
        ("TCP_CLOSED_CONNECTIONS", Some(IstioMetric::TcpClosedConnections)),
        ("TCP_SENT_BYTES", Some(IstioMetric::TcpSentBytes)),
        ("TCP_RECEIVED_BYTES", Some(IstioMetric::TcpReceivedBytes)),
        ("GRPC_REQUEST_MESSAGES", Some(IstioMetric::GrpcRequestMessages)),
        ("GRPC_RESPONSE_MESSAGES", Some(IstioMetric::GrpcResponseMessages)),
    ];
    o.at_most_one(&["metric", "customMetric"]);
    o.refuse("customMetric", "there are no metrics but Istio's own; name one of them as metric");
    (mode(o), o.choice("metric", &NAMES).flatten())
}

fn tags(place: &Place<'_>) -> BTreeMap<String, TagOverride> {
    let entries = place.entries().into_iter();
    entries.filter_map(|(name, place)| Some((name.to_owned(), tag(name, &place)?))).collect()
}

fn tag(name: &str, place: &Place<'_>) -> Option<TagOverride> {
    const OPERATIONS: [(&str, bool); 2] = [("UPSERT", false), ("REMOVE", true)];
    let is_label = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_label) {
        place.error(format!("{name:?} is no name of a label: a-z A-Z 0-9 _, and no digit first"));
    }
    place.object(|o| {
        if o.choice("operation", &OPERATIONS).unwrap_or_default() {
            if o.field("value").is_some() {
                o.error_at("value", "a label that is removed has no value");
            }
            return Some(TagOverride::Remove);
        }
        Some(TagOverride::Upsert(expression(&o.required("value")?)?))
    })?
}
