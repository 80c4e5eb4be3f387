//! Which requests are written down, and where (Istio, `Telemetry.accessLogging`); without a word of it, in one file in
//! Istio's default format.

use std::collections::{BTreeMap, BTreeSet};

use api::envoy::config::accesslog::v3 as accesslog;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::access_loggers::file::v3 as file;
use api::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use api::envoy::extensions::access_loggers::grpc::v3::CommonGrpcAccessLogConfig;
use api::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use api::opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};
use api::prost::Name;
use core::substitution_format_string::Format;
use galley::kinds::{LogFormat, MeshConfig, OtlpTransport, Provider, ProviderKind};
use serde_json::{Map, Value};

use super::Scene;
use crate::diagnostic::{Code, Findings};
use crate::wire;

const FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Istio's fields of a log in JSON.
const LABELS: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

/// Empty where the side keeps no access log.
pub(super) fn compile(scene: &Scene<'_>, findings: &mut Findings) -> Vec<accesslog::AccessLog> {
    let named = merge(scene);
    named.into_iter().filter_map(|(name, filter)| log(scene, &name, filter, findings)).collect()
}

/// Providers in lower case, each with the expression that says what is written. Providers that are named take the place
/// of those of wider scopes.
fn merge<'a>(scene: &'a Scene<'_>) -> BTreeMap<String, Option<&'a str>> {
    let defaults = scene.mesh.and_then(|mesh| mesh.defaults.access_logging.clone());
    let usual = || scene.view.index.mesh().access_log.iter().map(|_| MeshConfig::FILE_LOG.to_owned()).collect();
    let defaults: Vec<String> = defaults.unwrap_or_else(usual);
    let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>();
    let scopes = scene.scopes.iter().map(|scope| &scope.spec.access_logging).filter(|entries| !entries.is_empty());
    let scopes: Vec<_> = scopes.collect();
    if scopes.is_empty() {
        return lower(&defaults).into_iter().map(|name| (name, None)).collect();
    }
    let of_scope = |entries: &Vec<_>| {
        let names: BTreeSet<String> =
            entries.iter().flat_map(|entry: &galley::kinds::AccessLogging| lower(&entry.providers)).collect();
        Some(names).filter(|names| !names.is_empty())
    };
    let in_force = scopes.iter().rev().find_map(|entries| of_scope(entries)).unwrap_or_else(|| lower(&defaults));
    let mut merged = BTreeMap::new();
    let mut of_parent = lower(&defaults);
    for entry in scopes.into_iter().flatten() {
        if !entry.providers.is_empty() {
            of_parent = lower(&entry.providers);
        }
        if !entry.mode.covers(scene.server) {
            continue;
        }
        for name in of_parent.intersection(&in_force) {
            match entry.disabled {
                Some(true) => drop(merged.remove(name)),
                _ => drop(merged.insert(name.clone(), entry.filter.as_deref())),
            }
        }
    }
    merged
}

fn log(scene: &Scene<'_>, name: &str, filter: Option<&str>, findings: &mut Findings) -> Option<accesslog::AccessLog> {
    let known = scene.mesh.and_then(|mesh| mesh.provider(name));
    let logger = match known {
        None if name == MeshConfig::FILE_LOG => {
            let path = scene.view.index.mesh().access_log.as_deref().unwrap_or("/dev/stdout");
            file_log(path, None, false)
        }
        _ => of_provider(scene, scene.provider(name, findings)?, findings)?,
    };
    if filter.is_some() && !scene.view.audience.features.telemetry {
        let message = "access logs with a filter are written by proxies of this version only; others write none";
        findings.add(Code::Unsupported, scene.object(), message);
        return None;
    }
    Some(accesslog::AccessLog { filter: filter.map(expression), ..logger })
}

fn expression(text: &str) -> accesslog::AccessLogFilter {
    use accesslog::access_log_filter::FilterSpecifier::ExtensionFilter;
    use accesslog::extension_filter::ConfigType::TypedConfig;
    let filter = ExpressionFilter { expression: text.to_owned(), ..Default::default() };
    let extension = accesslog::ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(TypedConfig(api::any(&filter))),
    };
    accesslog::AccessLogFilter { filter_specifier: Some(ExtensionFilter(extension)) }
}

fn of_provider(scene: &Scene<'_>, provider: &Provider, findings: &mut Findings) -> Option<accesslog::AccessLog> {
    match &provider.kind {
        ProviderKind::FileLog { path, format, omit_empty } => Some(file_log(path, format.as_ref(), *omit_empty)),
        ProviderKind::OtlpLog { service, transport, log_name, body, attributes } => {
            if !scene.view.audience.features.telemetry {
                let message = "access logs go over OTLP from proxies of this version only; others write none";
                findings.add(Code::Unsupported, scene.object(), message);
                return None;
            }
            let reached = scene.reach(&provider.name, service, findings)?;
            let (grpc, http) = reached.otlp(transport);
            Some(otlp_log(grpc, http, transport, log_name, body.as_deref(), attributes))
        }
        _ => {
            scene.unfit(provider, "access logs", findings);
            None
        }
    }
}

fn file_log(path: &str, format: Option<&LogFormat>, omit_empty: bool) -> accesslog::AccessLog {
    let format = match format {
        None => Format::TextFormatSource(wire::inline(FORMAT)),
        // A line ends, whether or not the format says so.
        Some(LogFormat::Text(text)) => {
            Format::TextFormatSource(wire::inline(&format!("{}\n", text.strip_suffix('\n').unwrap_or(text))))
        }
        Some(LogFormat::Labels(labels)) if labels.is_empty() => {
            let labels = LABELS.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
            Format::JsonFormat(wire::json_object(&labels))
        }
        Some(LogFormat::Labels(labels)) => Format::JsonFormat(wire::json_object(labels)),
    };
    let format =
        core::SubstitutionFormatString { format: Some(format), omit_empty_values: omit_empty, ..Default::default() };
    let log = file::FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    logger("envoy.access_loggers.file", &log)
}

#[expect(deprecated, reason = "Envoys in use know the old field for gRPC only")]
fn otlp_log(
    grpc: Option<core::GrpcService>,
    http: Option<core::HttpService>,
    transport: &OtlpTransport,
    log_name: &str,
    body: Option<&str>,
    attributes: &Map<String, Value>,
) -> accesslog::AccessLog {
    let common = CommonGrpcAccessLogConfig {
        log_name: log_name.to_owned(),
        grpc_service: grpc,
        transport_api_version: core::ApiVersion::V3 as i32,
        ..Default::default()
    };
    let over_http = matches!(transport, OtlpTransport::Http { .. });
    let text = |text: &str| AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) };
    let attributes = attributes.iter().filter_map(|(name, value)| {
        Some(KeyValue { key: name.clone(), value: Some(text(value.as_str()?)), ..Default::default() })
    });
    let attributes: Vec<KeyValue> = attributes.collect();
    let log = OpenTelemetryAccessLogConfig {
        common_config: (!over_http).then_some(common),
        http_service: http,
        log_name: if over_http { log_name.to_owned() } else { String::new() },
        body: Some(text(body.unwrap_or(FORMAT))),
        attributes: (!attributes.is_empty()).then_some(KeyValueList { values: attributes }),
        ..Default::default()
    };
    logger("envoy.access_loggers.open_telemetry", &log)
}

fn logger<M: Name>(name: &str, log: &M) -> accesslog::AccessLog {
    accesslog::AccessLog {
        name: name.to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(api::any(log))),
        ..Default::default()
    }
}
