//! Access loggers: files, standard output, standard error.

use std::sync::Arc;

use api::envoy::config::accesslog::v3 as wire;
use api::envoy::config::core::v3::SubstitutionFormatString;
use api::envoy::config::core::v3::substitution_format_string::Format as WireFormat;
use api::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log::AccessLogFormat};
use api::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use api::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use wire::access_log::ConfigType;

use super::{ReadFile, basics, log_filter, otlp_log};
use crate::access_log::{AccessLog, Format, Logger, Target};
use crate::config::error::{At, ConfigError};

pub(super) fn convert_all(wire: &[wire::AccessLog], at: &At<'_>) -> Result<Vec<AccessLog>, ConfigError> {
    wire.iter().enumerate().map(|(index, log)| convert(log, &at.index(index))).collect()
}

fn convert(wire: &wire::AccessLog, at: &At<'_>) -> Result<AccessLog, ConfigError> {
    let filter = wire.filter.as_ref().map(|filter| log_filter::convert(filter, &at.field("filter"))).transpose()?;
    Ok(AccessLog { filter, logger: logger(wire, at)? })
}

fn logger(wire: &wire::AccessLog, at: &At<'_>) -> Result<Logger, ConfigError> {
    let typed = at.field("typed_config");
    let Some(ConfigType::TypedConfig(any)) = &wire.config_type else { return Err(typed.missing()) };
    if basics::is_a::<FileAccessLog>(any) {
        return file(&basics::unpack(any, &typed)?, &typed);
    }
    if basics::is_a::<OpenTelemetryAccessLogConfig>(any) {
        return otlp_log::convert(&basics::unpack(any, &typed)?, &typed).map(|log| Logger::Otlp(Arc::new(log)));
    }
    let (target, format) = if basics::is_a::<StdoutAccessLog>(any) {
        let log: StdoutAccessLog = basics::unpack(any, &typed)?;
        (Target::Stdout, log.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format))
    } else if basics::is_a::<StderrAccessLog>(any) {
        let log: StderrAccessLog = basics::unpack(any, &typed)?;
        (Target::Stderr, log.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format))
    } else {
        return Err(at.refuse(&any.type_url, "this access logger is not supported"));
    };
    let at = typed.field("log_format");
    let format = format.map_or_else(|| Ok(Format::envoy()), |wire| substitution(&wire, &at))?;
    Ok(Logger::File { target, format })
}

#[expect(deprecated, reason = "control planes in use still send the old fields")]
fn file(wire: &FileAccessLog, at: &At<'_>) -> Result<Logger, ConfigError> {
    if wire.path.is_empty() {
        return Err(at.field("path").missing());
    }
    let format = match &wire.access_log_format {
        None => Format::envoy(),
        Some(AccessLogFormat::LogFormat(wire)) => substitution(wire, &at.field("log_format"))?,
        Some(AccessLogFormat::Format(text)) => text_format(text, &at.field("format"))?,
        Some(AccessLogFormat::JsonFormat(fields)) => json_format(fields, &at.field("json_format"))?,
        Some(AccessLogFormat::TypedJsonFormat(fields)) => json_format(fields, &at.field("typed_json_format"))?,
    };
    Ok(Logger::File { target: Target::of_path(&wire.path), format })
}

/// The format of a log's lines.
pub(super) fn substitution(wire: &SubstitutionFormatString, at: &At<'_>) -> Result<Format, ConfigError> {
    if !wire.content_type.is_empty() {
        return Err(at.field("content_type").refuse(&wire.content_type, "is for the bodies of answers"));
    }
    format_of(wire, at, None)
}

/// The format of an answer's body, whose text may stand in a file.
pub(super) fn body_format(
    wire: &SubstitutionFormatString,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Format, ConfigError> {
    format_of(wire, at, Some(read_file))
}

#[expect(deprecated, reason = "control planes in use still send the old fields")]
fn format_of(
    wire: &SubstitutionFormatString,
    at: &At<'_>,
    read_file: Option<ReadFile<'_>>,
) -> Result<Format, ConfigError> {
    let format = match &wire.format {
        Some(WireFormat::TextFormat(text)) => text_format(text, &at.field("text_format")),
        Some(WireFormat::TextFormatSource(source)) => {
            let at = at.field("text_format_source");
            let bytes = basics::data_source(source, &at, read_file)?;
            let text = String::from_utf8(bytes).map_err(|_| at.refuse("bytes", "a format is UTF-8"))?;
            text_format(&text, &at)
        }
        Some(WireFormat::JsonFormat(fields)) => json_format(fields, &at.field("json_format")),
        None => Err(at.missing()),
    };
    format.map(|format| if wire.omit_empty_values { format.omitting_empty() } else { format })
}

pub(super) fn text_format(text: &str, at: &At<'_>) -> Result<Format, ConfigError> {
    Format::parse(text).map_err(|error| at.refuse(text, error.to_string()))
}

fn json_format(fields: &api::prost_types::Struct, at: &At<'_>) -> Result<Format, ConfigError> {
    Format::parse_json(fields).map_err(|error| at.refuse("this JSON", error.to_string()))
}
