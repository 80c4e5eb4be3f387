//! What a connection manager changes of requests and answers, and how long it keeps connections.

use std::time::Duration;

use api::envoy::config::core::v3::HttpProtocolOptions;
use api::envoy::config::core::v3::scheme_header_transformation::Transformation;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use wire::http_connection_manager::proxy_status_config::ProxyName;
use wire::http_connection_manager::{ServerHeaderTransformation, StripPortMode};

use crate::config::convert::basics::{self, maybe_duration};
use crate::config::error::{At, ConfigError};
use crate::config::{AnswerRules, Lifetime, ProxyStatus, RequestRules, ServerHeader, StripPort};

/// `None` if there are none.
pub(super) fn request(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<Option<RequestRules>, ConfigError> {
    let any = matches!(wire.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)));
    if any && wire.strip_matching_host_port {
        let at = at.field("strip_any_host_port");
        return Err(at.refuse(true, "goes without `strip_matching_host_port`"));
    }
    let rules = RequestRules {
        strip_port: match any {
            true => Some(StripPort::Any),
            false => wire.strip_matching_host_port.then_some(StripPort::Matching),
        },
        strip_trailing_dot: wire.strip_trailing_host_dot,
        append_x_forwarded_port: wire.append_x_forwarded_port && wire.use_remote_address == Some(true),
        scheme: scheme(wire, at)?,
        via: via(wire, at)?,
    };
    Ok((rules != RequestRules::default()).then_some(rules))
}

fn scheme(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<Option<&'static str>, ConfigError> {
    match wire.scheme_header_transformation.as_ref().and_then(|wire| wire.transformation.as_ref()) {
        Some(Transformation::SchemeToOverwrite(scheme)) => match scheme.as_str() {
            "http" => Ok(Some("http")),
            "https" => Ok(Some("https")),
            other => {
                let at = at.field("scheme_header_transformation");
                Err(at.field("scheme_to_overwrite").refuse(other, "is `http` or `https`"))
            }
        },
        _ => Ok(None),
    }
}

pub(super) fn matches_upstream(wire: &wire::HttpConnectionManager) -> bool {
    wire.scheme_header_transformation.as_ref().is_some_and(|change| change.match_upstream)
}

fn via(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<String, ConfigError> {
    text(&wire.via, &at.field("via"))
}

/// A text that may stand in a header.
fn text(value: &str, at: &At<'_>) -> Result<String, ConfigError> {
    match value.bytes().all(|byte| byte >= b' ' && byte != 0x7f) {
        true => Ok(value.to_owned()),
        false => Err(at.refuse(format_args!("{value:?}"), "a header value has no control characters")),
    }
}

/// The host of an HTTP/1.0 request that names none.
pub(super) fn default_host(host: String, at: &At<'_>) -> Result<String, ConfigError> {
    let at = at.field("http_protocol_options");
    match host.is_empty() || crate::http::h1::valid_authority(&host) {
        true => Ok(host),
        false => Err(at.field("default_host_for_http_10").refuse(host, "is a host, perhaps with a port")),
    }
}

/// `None` if there are none.
pub(super) fn answer(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<Option<AnswerRules>, ConfigError> {
    let rules = AnswerRules {
        server: server(wire, at)?,
        via: via(wire, at)?,
        request_id: wire.always_set_request_id_in_response,
        proxy_status: proxy_status(wire, &at.field("proxy_status_config"))?,
    };
    Ok((rules != AnswerRules::default()).then_some(rules))
}

fn server(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<ServerHeader, ConfigError> {
    Ok(match ServerHeaderTransformation::try_from(wire.server_header_transformation) {
        Ok(ServerHeaderTransformation::Overwrite) => ServerHeader::Overwrite,
        Ok(ServerHeaderTransformation::AppendIfAbsent) => ServerHeader::AppendIfAbsent,
        Ok(ServerHeaderTransformation::PassThrough) => ServerHeader::PassThrough,
        Err(_) => {
            let at = at.field("server_header_transformation");
            return Err(at.refuse(wire.server_header_transformation, "is not known"));
        }
    })
}

fn proxy_status(wire: &wire::HttpConnectionManager, at: &At<'_>) -> Result<Option<ProxyStatus>, ConfigError> {
    let Some(status) = &wire.proxy_status_config else { return Ok(None) };
    let name = match &status.proxy_name {
        Some(ProxyName::LiteralProxyName(name)) => text(name, &at.field("literal_proxy_name"))?,
        _ if wire.server_name.is_empty() => "envoy".to_owned(),
        _ => text(&wire.server_name, at)?,
    };
    Ok(Some(ProxyStatus {
        name,
        details: !status.remove_details,
        flags: !status.remove_response_flags,
        termination_details: !status.remove_connection_termination_details,
        sets_status: status.set_recommended_response_code,
    }))
}

/// `None` if nothing bounds a connection.
pub(super) fn lifetime(
    common: &HttpProtocolOptions,
    drain_timeout: Option<&basics::Wire>,
    at: &At<'_>,
) -> Result<Option<Lifetime>, ConfigError> {
    const DRAIN: Duration = Duration::from_secs(5);
    let drain_timeout = basics::duration(drain_timeout, DRAIN, &at.field("drain_timeout"))?;
    let at = at.field("common_http_protocol_options");
    let max_requests = u64::from(common.max_requests_per_connection.unwrap_or(0));
    let max_duration = maybe_duration(common.max_connection_duration.as_ref(), &at.field("max_connection_duration"))?;
    let bounded = max_requests > 0 || max_duration.is_some();
    Ok(bounded.then_some(Lifetime { max_requests, max_duration, drain_timeout }))
}
