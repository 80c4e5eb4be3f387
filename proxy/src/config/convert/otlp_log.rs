//! Access logs over OTLP.

use std::time::Duration;

use api::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig as Wire;
use api::opentelemetry::proto::common::v1::{AnyValue, KeyValueList, any_value::Value};

use super::access_log::text_format;
use super::{basics, tracing};
use crate::access_log::{Format, OtlpLog};
use crate::config::error::{At, ConfigError};
use crate::trace::Destination;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Envoy's defaults.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
const FLUSH_BYTES: u32 = 16 * 1024;

#[expect(deprecated, reason = "control planes in use still send the old field")]
pub(super) fn convert(wire: &Wire, at: &At<'_>) -> Result<OtlpLog, ConfigError> {
    let common = wire.common_config.clone().unwrap_or_default();
    let (to, grpc) = destination(wire, at)?;
    let flush = at.field("buffer_flush_interval");
    let interval = wire.buffer_flush_interval.as_ref().or(common.buffer_flush_interval.as_ref());
    let body = at.field("body");
    Ok(OtlpLog {
        to,
        grpc,
        log_name: if wire.log_name.is_empty() { common.log_name } else { wire.log_name.clone() },
        builtin_labels: !wire.disable_builtin_labels,
        resource: constants(wire.resource_attributes.as_ref(), &at.field("resource_attributes"))?,
        body: wire.body.as_ref().map(|value| format(value, &body)).transpose()?,
        attributes: formats(wire.attributes.as_ref(), &at.field("attributes"))?,
        flush_after: basics::duration(interval, FLUSH_AFTER, &flush)?.max(Duration::from_millis(1)),
        flush_bytes: wire.buffer_size_bytes.or(common.buffer_size_bytes).unwrap_or(FLUSH_BYTES) as usize,
    })
}

#[expect(deprecated, reason = "control planes in use still send the old field")]
fn destination(wire: &Wire, at: &At<'_>) -> Result<(Destination, bool), ConfigError> {
    let common = wire.common_config.as_ref().and_then(|common| common.grpc_service.as_ref());
    let in_common = at.field("common_config");
    match (&wire.grpc_service, &wire.http_service, common) {
        (Some(grpc), None, None) => Ok((tracing::grpc_service(grpc, LOGS, &at.field("grpc_service"))?, true)),
        (None, Some(http), None) => Ok((tracing::http_service(http, &at.field("http_service"))?, false)),
        (None, None, Some(grpc)) => Ok((tracing::grpc_service(grpc, LOGS, &in_common.field("grpc_service"))?, true)),
        (None, None, None) => Err(at.field("grpc_service").missing()),
        _ => Err(at.refuse("two services", "`grpc_service`, `http_service` or `common_config` takes the records")),
    }
}

fn format(value: &AnyValue, at: &At<'_>) -> Result<Format, ConfigError> {
    match &value.value {
        Some(Value::StringValue(text)) => text_format(text, &at.field("string_value")),
        _ => Err(at.refuse("this value", "texts with command operators are supported: `string_value`")),
    }
}

fn formats(wire: Option<&KeyValueList>, at: &At<'_>) -> Result<Vec<(String, Format)>, ConfigError> {
    let values = wire.iter().flat_map(|list| &list.values);
    let of = |pair: &api::opentelemetry::proto::common::v1::KeyValue| {
        let at = at.key(&pair.key);
        let value = pair.value.as_ref().ok_or_else(|| at.missing())?;
        Ok((pair.key.clone(), format(value, &at)?))
    };
    values.map(of).collect()
}

fn constants(wire: Option<&KeyValueList>, at: &At<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let values = wire.iter().flat_map(|list| &list.values);
    let of =
        |pair: &api::opentelemetry::proto::common::v1::KeyValue| match pair.value.as_ref().map(|value| &value.value) {
            Some(Some(Value::StringValue(text))) => Ok((pair.key.clone(), text.clone())),
            _ => Err(at.key(&pair.key).refuse("this value", "texts are supported: `string_value`")),
        };
    values.map(of).collect()
}
