//! The HTTP connection manager.

mod local_reply;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3::HttpProtocolOptions;
use api::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use wire::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig,
};

use super::basics::{self, maybe_duration};
use super::{access_log, http_filter, http2, istio_stats, route, source, tracing};
use crate::config::error::{At, ConfigError};
use crate::config::{
    ClientCertDetails, Codec, EscapedSlashes, ForwardClientCert, HttpManager, RouteSource, Underscores,
};

const HOUR: Duration = Duration::from_secs(3600);
const STREAM_IDLE: Duration = Duration::from_secs(300);
const DELAYED_CLOSE: Duration = Duration::from_secs(1);

pub(super) fn convert(
    wire: &wire::HttpConnectionManager,
    at: &At<'_>,
    read_file: super::ReadFile<'_>,
) -> Result<HttpManager, ConfigError> {
    let common = wire.common_http_protocol_options.unwrap_or_default();
    let http1 = wire.http_protocol_options.clone().unwrap_or_default();
    let options = wire.http2_protocol_options.clone().unwrap_or_default();
    let time = |value: &Option<_>, default, name| {
        Ok::<_, ConfigError>(maybe_duration(value.as_ref(), &at.field(name))?.unwrap_or(default))
    };
    if http1.allow_absolute_url == Some(false) {
        let field = at.field("http_protocol_options");
        return Err(field.field("allow_absolute_url").refuse(false, "cannot be turned off"));
    }
    let common_at = at.field("common_http_protocol_options");
    let idle = common_at.field("idle_timeout");
    let (http_filters, metrics) =
        istio_stats::extract(&wire.http_filters, &at.field("http_filters"), |filter| match &filter.config_type {
            Some(wire::http_filter::ConfigType::TypedConfig(any)) => Some(any),
            _ => None,
        })?;
    Ok(HttpManager {
        metrics,
        stat_prefix: wire.stat_prefix.clone(),
        codec: codec(wire.codec_type, &at.field("codec_type"))?,
        routes: routes(wire.route_specifier.as_ref(), at)?,
        filters: http_filter::chain(&http_filters, &at.field("http_filters"), read_file)?,
        access_logs: access_log::convert_all(&wire.access_log, &at.field("access_log"))?,
        logs_new_requests: wire
            .access_log_options
            .as_ref()
            .is_some_and(|options| options.flush_access_log_on_new_request),
        logs_tunnels: wire
            .access_log_options
            .as_ref()
            .is_some_and(|options| options.flush_log_on_tunnel_successfully_established),
        use_remote_address: wire.use_remote_address == Some(true),
        xff_num_trusted_hops: wire.xff_num_trusted_hops,
        forward_client_cert: forward_client_cert(wire, at)?,
        client_cert_details: client_cert_details(wire),
        normalize_path: wire.normalize_path == Some(true),
        merge_slashes: wire.merge_slashes,
        escaped_slashes: escaped_slashes(wire, &at.field("path_with_escaped_slashes_action"))?,
        underscores: underscores(&common, &common_at)?,
        custom_methods: http1.allow_custom_methods,
        server_name: if wire.server_name.is_empty() { "envoy".to_owned() } else { wire.server_name.clone() },
        generate_request_id: wire.generate_request_id != Some(false),
        preserve_external_request_id: wire.preserve_external_request_id,
        skip_xff_append: wire.skip_xff_append,
        request_rules: rules::request(wire, at)?.map(Box::new),
        answer_rules: rules::answer(wire, at)?.map(Box::new),
        local_replies: local_reply::convert(wire.local_reply_config.as_ref(), at, read_file)?.map(Box::new),
        scheme_of_upstream: rules::matches_upstream(wire),
        suppress_envoy_headers: http_filter::suppresses_envoy_headers(&http_filters, &at.field("http_filters"))?,
        lifetime: rules::lifetime(&common, wire.drain_timeout.as_ref(), at)?,
        idle_timeout: basics::duration(common.idle_timeout.as_ref(), HOUR, &idle)?,
        stream_idle_timeout: time(&wire.stream_idle_timeout, STREAM_IDLE, "stream_idle_timeout")?,
        request_timeout: time(&wire.request_timeout, Duration::ZERO, "request_timeout")?,
        request_headers_timeout: time(&wire.request_headers_timeout, Duration::ZERO, "request_headers_timeout")?,
        max_stream_duration: max_stream_duration(&common, at)?,
        delayed_close_timeout: time(&wire.delayed_close_timeout, DELAYED_CLOSE, "delayed_close_timeout")?,
        max_request_headers_bytes: headers_bytes(wire.max_request_headers_kb, &at.field("max_request_headers_kb"))?,
        max_request_headers_count: common.max_headers_count.unwrap_or(100) as usize,
        upgrades: upgrades(&wire.upgrade_configs),
        accept_http_10: http1.accept_http_10,
        proper_case: super::header_case::is_proper(&http1, &at.field("http_protocol_options"))?,
        default_host_for_http_10: rules::default_host(http1.default_host_for_http_10, at)?,
        tracing: match &wire.tracing {
            Some(wire) => Some(Arc::new(tracing::convert(wire, &at.field("tracing"))?)),
            None => None,
        },
        request_ids: tracing::request_ids(wire, at)?,
        http2: http2::downstream(&options, &at.field("http2_protocol_options"))?,
    })
}

fn max_stream_duration(common: &HttpProtocolOptions, at: &At<'_>) -> Result<Duration, ConfigError> {
    let at = at.field("common_http_protocol_options");
    basics::duration(common.max_stream_duration.as_ref(), Duration::ZERO, &at.field("max_stream_duration"))
}

fn headers_bytes(kilobytes: Option<u32>, at: &At<'_>) -> Result<usize, ConfigError> {
    match kilobytes.unwrap_or(60) {
        kilobytes @ 1..=8192 => Ok(kilobytes as usize * 1024),
        other => Err(at.refuse(other, "is from 1 to 8192")),
    }
}

fn codec(wire: i32, at: &At<'_>) -> Result<Codec, ConfigError> {
    match CodecType::try_from(wire) {
        Ok(CodecType::Auto) => Ok(Codec::Auto),
        Ok(CodecType::Http1) => Ok(Codec::Http1),
        Ok(CodecType::Http2) => Ok(Codec::Http2),
        _ => Err(at.refuse(wire, "AUTO, HTTP1 and HTTP2 are supported")),
    }
}

fn routes(wire: Option<&RouteSpecifier>, at: &At<'_>) -> Result<RouteSource, ConfigError> {
    match wire {
        Some(RouteSpecifier::RouteConfig(config)) => {
            Ok(RouteSource::Inline(Arc::new(route::table(config, &at.field("route_config"))?)))
        }
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            source::convert(rds.config_source.as_ref(), &at.field("config_source"))?;
            if rds.route_config_name.is_empty() {
                return Err(at.field("route_config_name").missing());
            }
            Ok(RouteSource::Rds(rds.route_config_name.clone()))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(at.field("scoped_routes").refuse("set", "is not supported")),
        None => Err(at.field("route_config").missing()),
    }
}

fn forward_client_cert(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<ForwardClientCert, ConfigError> {
    Ok(match ForwardClientCertDetails::try_from(wire.forward_client_cert_details) {
        Ok(ForwardClientCertDetails::Sanitize) => ForwardClientCert::Sanitize,
        Ok(ForwardClientCertDetails::ForwardOnly) => ForwardClientCert::ForwardOnly,
        Ok(ForwardClientCertDetails::AppendForward) => ForwardClientCert::AppendForward,
        Ok(ForwardClientCertDetails::SanitizeSet) => ForwardClientCert::SanitizeSet,
        Ok(ForwardClientCertDetails::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        Err(_) => {
            let at = at.field("forward_client_cert_details");
            return Err(at.refuse(wire.forward_client_cert_details, "is not known"));
        }
    })
}

fn client_cert_details(wire: &wire::HttpConnectionManager) -> ClientCertDetails {
    let wire = wire.set_current_client_cert_details.unwrap_or_default();
    ClientCertDetails {
        subject: wire.subject == Some(true),
        cert: wire.cert,
        chain: wire.chain,
        dns: wire.dns,
        uri: wire.uri,
    }
}

fn underscores(common: &HttpProtocolOptions, at: &At<'_>) -> Result<Underscores, ConfigError> {
    use HeadersWithUnderscoresAction as Action;
    match Action::try_from(common.headers_with_underscores_action) {
        Ok(Action::Allow) => Ok(Underscores::Allow),
        Ok(Action::RejectRequest) => Ok(Underscores::RejectRequest),
        Ok(Action::DropHeader) => Ok(Underscores::DropHeader),
        Err(_) => {
            let at = at.field("headers_with_underscores_action");
            Err(at.refuse(common.headers_with_underscores_action, "is not known"))
        }
    }
}

fn escaped_slashes(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<EscapedSlashes, ConfigError> {
    use PathWithEscapedSlashesAction as Action;
    match Action::try_from(wire.path_with_escaped_slashes_action) {
        Ok(Action::ImplementationSpecificDefault | Action::KeepUnchanged) => Ok(EscapedSlashes::KeepUnchanged),
        Ok(Action::RejectRequest) => Ok(EscapedSlashes::RejectRequest),
        Ok(Action::UnescapeAndForward) => Ok(EscapedSlashes::UnescapeAndForward),
        Ok(Action::UnescapeAndRedirect) => Ok(EscapedSlashes::UnescapeAndRedirect),
        Err(_) => Err(at.refuse(wire.path_with_escaped_slashes_action, "is not known")),
    }
}

fn upgrades(wire: &[UpgradeConfig]) -> Vec<String> {
    let enabled = wire.iter().filter(|upgrade| upgrade.enabled != Some(false));
    enabled.map(|upgrade| upgrade.upgrade_type.to_ascii_lowercase()).collect()
}
