//! Active health checks.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3 as wire;
use api::envoy::r#type::v3::{CodecClientType, Int64Range};
use wire::header_value_option::HeaderAppendAction;
use wire::health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, payload};

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::config::{HealthCheck, HttpProbe, Intervals, Probe};

/// A cluster has one at most (Envoy).
pub(super) fn convert(wire: &[wire::HealthCheck], at: &At<'_>) -> Result<Option<Arc<HealthCheck>>, ConfigError> {
    match wire {
        [] => Ok(None),
        [one] => check(one, &at.index(0)).map(|check| Some(Arc::new(check))),
        more => Err(at.refuse(more.len(), "a cluster has one health check at most")),
    }
}

fn check(wire: &wire::HealthCheck, at: &At<'_>) -> Result<HealthCheck, ConfigError> {
    let threshold = |value: Option<u32>, name| match value {
        Some(value) if value > 0 => Ok(value),
        Some(value) => Err(at.field(name).refuse(value, "is at least 1")),
        None => Err(at.field(name).missing()),
    };
    let port = at.field("alt_port");
    Ok(HealthCheck {
        probe: probe(wire, at)?,
        timeout: required(wire.timeout.as_ref(), &at.field("timeout"))?,
        initial_jitter: basics::duration(wire.initial_jitter.as_ref(), Duration::ZERO, &at.field("initial_jitter"))?,
        intervals: intervals(wire, at)?,
        unhealthy_threshold: threshold(wire.unhealthy_threshold, "unhealthy_threshold")?,
        healthy_threshold: threshold(wire.healthy_threshold, "healthy_threshold")?,
        reuse_connection: wire.reuse_connection != Some(false),
        alt_port: wire.alt_port.map(|number| basics::port(number, &port)).transpose()?,
    })
}

fn required(wire: Option<&basics::Wire>, at: &At<'_>) -> Result<Duration, ConfigError> {
    let time = basics::maybe_duration(wire, at)?.ok_or_else(|| at.missing())?;
    if time.is_zero() { Err(at.refuse("0s", "is more than 0")) } else { Ok(time) }
}

fn intervals(wire: &wire::HealthCheck, at: &At<'_>) -> Result<Intervals, ConfigError> {
    let time = |value: &Option<_>, default, name| match value {
        Some(_) => required(Option::as_ref(value), &at.field(name)),
        None => Ok(default),
    };
    let healthy = required(wire.interval.as_ref(), &at.field("interval"))?;
    let unhealthy = time(&wire.unhealthy_interval, healthy, "unhealthy_interval")?;
    let no_traffic = time(&wire.no_traffic_interval, Duration::from_secs(60), "no_traffic_interval")?;
    Ok(Intervals {
        healthy,
        unhealthy,
        healthy_edge: time(&wire.healthy_edge_interval, healthy, "healthy_edge_interval")?,
        unhealthy_edge: time(&wire.unhealthy_edge_interval, unhealthy, "unhealthy_edge_interval")?,
        no_traffic,
        no_traffic_healthy: time(&wire.no_traffic_healthy_interval, no_traffic, "no_traffic_healthy_interval")?,
        jitter: basics::duration(wire.interval_jitter.as_ref(), Duration::ZERO, &at.field("interval_jitter"))?,
        jitter_percent: wire.interval_jitter_percent,
    })
}

fn probe(wire: &wire::HealthCheck, at: &At<'_>) -> Result<Probe, ConfigError> {
    match &wire.health_checker {
        Some(HealthChecker::HttpHealthCheck(of)) => http(of, &at.field("http_health_check")).map(Probe::Http),
        Some(HealthChecker::TcpHealthCheck(of)) => tcp(of, &at.field("tcp_health_check")),
        Some(HealthChecker::GrpcHealthCheck(GrpcHealthCheck { service_name, authority, .. })) => {
            Ok(Probe::Grpc { service: service_name.clone(), authority: authority.clone() })
        }
        Some(HealthChecker::CustomHealthCheck(of)) => {
            Err(at.field("custom_health_check").refuse(&of.name, "HTTP, TCP and gRPC checks are supported"))
        }
        None => Err(at.field("http_health_check").missing()),
    }
}

fn http(wire: &HttpHealthCheck, at: &At<'_>) -> Result<HttpProbe, ConfigError> {
    if !wire.path.starts_with('/') {
        return Err(at.field("path").refuse(&wire.path, "begins with `/`"));
    }
    let method = match wire::RequestMethod::try_from(wire.method) {
        Ok(wire::RequestMethod::MethodUnspecified) => "GET",
        Ok(method) if method != wire::RequestMethod::Connect => method.as_str_name(),
        _ => return Err(at.field("method").refuse(wire.method, "is a method other than CONNECT")),
    };
    let http2 = match CodecClientType::try_from(wire.codec_client_type) {
        Ok(CodecClientType::Http1) => false,
        Ok(CodecClientType::Http2) => true,
        _ => return Err(at.field("codec_client_type").refuse(wire.codec_client_type, "HTTP1 and HTTP2 are supported")),
    };
    let expected = ranges(&wire.expected_statuses, &at.field("expected_statuses"))?;
    Ok(HttpProbe {
        host: wire.host.clone(),
        path: wire.path.clone(),
        method: method.to_owned(),
        http2,
        headers: headers(&wire.request_headers_to_add, &at.field("request_headers_to_add"))?,
        headers_to_remove: wire.request_headers_to_remove.iter().map(|name| name.to_ascii_lowercase()).collect(),
        expected: if expected.is_empty() { std::iter::once(200..201).collect() } else { expected },
        retriable: ranges(&wire.retriable_statuses, &at.field("retriable_statuses"))?,
    })
}

fn ranges(wire: &[Int64Range], at: &At<'_>) -> Result<Vec<Range<u16>>, ConfigError> {
    let one = |(index, range): (usize, &Int64Range)| {
        let at = at.index(index);
        let status = |value: i64| u16::try_from(value).ok().filter(|value| (100..=600).contains(value));
        match (status(range.start), status(range.end)) {
            (Some(start), Some(end)) if start < end => Ok(start..end),
            _ => Err(at.refuse(format_args!("[{}, {})", range.start, range.end), "is a range from 100 up to 600")),
        }
    };
    wire.iter().enumerate().map(one).collect()
}

/// A check stands for no request, so that there is nothing for a format to print.
fn headers(wire: &[wire::HeaderValueOption], at: &At<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let one = |(index, option): (usize, &wire::HeaderValueOption)| {
        let at = at.index(index);
        let header = option.header.as_ref().ok_or_else(|| at.field("header").missing())?;
        let added = option.append_action == HeaderAppendAction::AppendIfExistsOrAdd as i32;
        if !added || has_append_off(option) {
            return Err(at.field("append_action").refuse(option.append_action, "a check's header is added"));
        }
        if !header.raw_value.is_empty() {
            return Err(at.field("header").field("raw_value").refuse("set", "give a check's header as `value`"));
        }
        if header.value.contains('%') {
            return Err(at.field("header").field("value").refuse(&header.value, "formats are not supported here"));
        }
        Ok((header.key.to_ascii_lowercase(), header.value.clone()))
    };
    let kept = wire.iter().filter(|option| {
        option.keep_empty_value || option.header.as_ref().is_none_or(|header| !header.value.is_empty())
    });
    kept.enumerate().map(one).collect()
}

#[expect(deprecated, reason = "control planes in use still send this field")]
fn has_append_off(option: &wire::HeaderValueOption) -> bool {
    option.append == Some(false)
}

fn tcp(wire: &TcpHealthCheck, at: &At<'_>) -> Result<Probe, ConfigError> {
    let send_at = at.field("send");
    let receive_at = at.field("receive");
    let receive = wire.receive.iter().enumerate().map(|(index, block)| payload(block, &receive_at.index(index)));
    Ok(Probe::Tcp {
        send: wire.send.as_ref().map(|send| payload(send, &send_at)).transpose()?.unwrap_or_default(),
        receive: receive.collect::<Result<_, _>>()?,
    })
}

fn payload(wire: &Payload, at: &At<'_>) -> Result<Vec<u8>, ConfigError> {
    match &wire.payload {
        Some(payload::Payload::Text(text)) => {
            hex::decode(text).map_err(|_| at.field("text").refuse(text, "is hexadecimal"))
        }
        Some(payload::Payload::Binary(bytes)) => Ok(bytes.clone()),
        None => Err(at.field("text").missing()),
    }
}
