//! The access log that every listener writes, in Istio's default text format.

use api::envoy::config::accesslog::v3 as accesslog;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::access_loggers::file::v3 as file;
use core::substitution_format_string::Format;

use crate::mesh::MeshConfig;

const FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Empty where the mesh keeps no access log.
pub(crate) fn access_logs(mesh: &MeshConfig) -> Vec<accesslog::AccessLog> {
    let Some(path) = &mesh.access_log else { return Vec::new() };
    let format = core::SubstitutionFormatString {
        format: Some(Format::TextFormatSource(crate::wire::inline(FORMAT))),
        ..Default::default()
    };
    let log = file::FileAccessLog {
        path: path.clone(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    vec![accesslog::AccessLog {
        name: "envoy.access_loggers.file".into(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(api::any(&log))),
        ..Default::default()
    }]
}
