//! Which HTTP a cluster is spoken to in, and how its connections are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use api::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use api::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use api::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use api::prost_types::Any;

use super::{basics, header_case, http2};
use crate::config::error::{At, ConfigError};
use crate::config::{AutoSni, Http2Options, UpstreamProtocol};

const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) struct UpstreamHttp {
    pub protocol: UpstreamProtocol,
    pub idle_timeout: Duration,
    pub max_requests_per_connection: Option<u32>,
    pub max_connection_duration: Option<Duration>,
    pub auto_sni: Option<AutoSni>,
    /// Whether the certificate has to be for the name of the request.
    pub auto_san_validation: bool,
    pub http2: Http2Options,
    pub proper_case: bool,
}

pub(super) fn convert(options: &BTreeMap<String, Any>, at: &At<'_>) -> Result<UpstreamHttp, ConfigError> {
    let at = at.field("typed_extension_protocol_options");
    if let Some(other) = options.keys().find(|key| *key != KEY) {
        return Err(at.key(other).refuse("set", format!("only {KEY} is supported")));
    }
    let at = at.key(KEY);
    let wire: HttpProtocolOptions = options.get(KEY).map_or(Ok(Default::default()), |any| basics::unpack(any, &at))?;
    let (protocol, http1, options) = match wire.upstream_protocol_options {
        None => (UpstreamProtocol::Http1, None, None),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
            None => (UpstreamProtocol::Http1, None, None),
            Some(ProtocolConfig::HttpProtocolOptions(http1)) => (UpstreamProtocol::Http1, Some(http1), None),
            Some(ProtocolConfig::Http2ProtocolOptions(options)) => (UpstreamProtocol::Http2, None, Some(options)),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => return Err(at.refuse("HTTP/3", "is not supported")),
        },
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(of)) => {
            (UpstreamProtocol::Downstream, of.http_protocol_options, of.http2_protocol_options)
        }
        Some(UpstreamProtocolOptions::AutoConfig(of)) => {
            (UpstreamProtocol::Auto, of.http_protocol_options, of.http2_protocol_options)
        }
    };
    let upstream = wire.upstream_http_protocol_options.clone().unwrap_or_default();
    let header = Some(upstream.override_auto_sni_header.to_ascii_lowercase()).filter(|name| !name.is_empty());
    if upstream.auto_san_validation && !upstream.auto_sni {
        let at = at.field("upstream_http_protocol_options");
        return Err(at.field("auto_san_validation").refuse(true, "goes with `auto_sni`"));
    }
    let common = wire.common_http_protocol_options.unwrap_or_default();
    let common_at = at.field("common_http_protocol_options");
    if common.headers_with_underscores_action != 0 {
        let at = common_at.field("headers_with_underscores_action");
        return Err(at.refuse(common.headers_with_underscores_action, "is supported for requests, not for answers"));
    }
    if let Some(limit) = &common.max_stream_duration {
        let at = common_at.field("max_stream_duration");
        return Err(at.refuse(limit, "is not supported for upstreams; set it on the route"));
    }
    let idle = common_at.field("idle_timeout");
    Ok(UpstreamHttp {
        protocol,
        idle_timeout: basics::duration(common.idle_timeout.as_ref(), Duration::from_secs(3600), &idle)?,
        auto_sni: upstream.auto_sni.then_some(AutoSni { header }),
        auto_san_validation: upstream.auto_san_validation,
        max_requests_per_connection: common.max_requests_per_connection,
        max_connection_duration: basics::maybe_duration(
            common.max_connection_duration.as_ref(),
            &common_at.field("max_connection_duration"),
        )?,
        proper_case: header_case::is_proper(&http1.unwrap_or_default(), &at.field("http_protocol_options"))?,
        http2: http2::upstream(&options.unwrap_or_default(), &at.field("http2_protocol_options"))?,
    })
}
