//! Log lines as OTLP's records (Envoy `OpenTelemetryAccessLogConfig`; opentelemetry-proto, `collector/logs/v1`).

use std::time::{Duration, UNIX_EPOCH};

use api::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use api::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use api::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use api::opentelemetry::proto::resource::v1::Resource;
use api::prost::Message as _;

use super::{Format, LogContext};
use crate::config::WorkloadRef;
use crate::trace::Destination;

/// What is told, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpLog {
    pub to: Destination,
    /// By gRPC, or by a POST.
    pub grpc: bool,
    pub log_name: String,
    /// Whether records say which proxy they are of.
    pub builtin_labels: bool,
    pub resource: Vec<(String, String)>,
    pub body: Option<Format>,
    pub attributes: Vec<(String, Format)>,
    pub flush_after: Duration,
    /// Records are sent once they are of this size together.
    pub flush_bytes: usize,
}

impl OtlpLog {
    pub fn record(&self, context: &LogContext<'_>) -> LogRecord {
        let info = context.info;
        let since = info.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ids = info.trace_ids.as_deref().filter(|_| info.traced);
        LogRecord {
            time_unix_nano: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            body: self.body.as_ref().map(|format| text(printed(format, context))),
            attributes: self.attributes.iter().map(|(name, format)| pair(name, printed(format, context))).collect(),
            trace_id: ids.map(|(trace, _)| trace.to_be_bytes().to_vec()).unwrap_or_default(),
            span_id: ids.map(|(_, span)| span.to_be_bytes().to_vec()).unwrap_or_default(),
        }
    }

    /// An `ExportLogsServiceRequest`.
    pub fn encode(&self, records: Vec<LogRecord>, own: &WorkloadRef) -> Vec<u8> {
        let builtin =
            [("log_name", &self.log_name), ("cluster_name", &own.canonical_service), ("node_name", &own.name)];
        let builtin = builtin.into_iter().filter(|(name, value)| {
            self.builtin_labels && !value.is_empty() && !self.resource.iter().any(|(known, _)| known == name)
        });
        let labels = builtin.map(|(name, value)| pair(name, value.clone()));
        let given = self.resource.iter().map(|(name, value)| pair(name, value.clone()));
        let resource = Resource { attributes: labels.chain(given).collect(), ..Default::default() };
        let scope_logs = vec![ScopeLogs { log_records: records, ..Default::default() }];
        let resource_logs = vec![ResourceLogs { resource: Some(resource), scope_logs }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }
}

fn printed(format: &Format, context: &LogContext<'_>) -> String {
    let mut out = Vec::with_capacity(64);
    format.write(context, &mut out);
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn text(text: String) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text)) }
}

fn pair(name: &str, value: String) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(text(value)), ..Default::default() }
}
