//! From pieces and what a request left behind to bytes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::LazyLock;

use super::LogContext;
use super::format::{Json, Piece};
use super::operator::{HeaderPair, Operator, Plain};
use crate::http::headers::Headers;

static HOSTNAME: LazyLock<String> =
    LazyLock::new(|| nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default());

/// A log line: absent values are `-`, values are escaped.
pub(super) fn line(pieces: &[Piece], context: &LogContext<'_>, out: &mut Vec<u8>) {
    let mut raw = Vec::with_capacity(64);
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value { operator, max_length } => {
                raw.clear();
                if print(operator, context, &mut raw) {
                    escape(cut(&raw, *max_length), out);
                } else {
                    out.push(b'-');
                }
            }
        }
    }
}

/// A header value: absent values are empty, nothing is escaped.
pub(super) fn value(pieces: &[Piece], context: &LogContext<'_>, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value { operator, max_length } => {
                let start = out.len();
                print(operator, context, out);
                let kept = cut(&out[start..], *max_length).len();
                out.truncate(start + kept);
            }
        }
    }
}

/// One JSON object. A leaf of exactly one numeric operator is a number, an absent one null, as Envoy types them.
pub(super) fn json(fields: &[(String, Json)], context: &LogContext<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json_text(key.as_bytes(), out);
        out.push(b':');
        match value {
            Json::Object(inner) => json(inner, context, out),
            Json::Constant(text) => out.extend_from_slice(text.as_bytes()),
            Json::Text(pieces) => json_leaf(pieces, context, out),
        }
    }
    out.push(b'}');
}

fn json_leaf(pieces: &[Piece], context: &LogContext<'_>, out: &mut Vec<u8>) {
    let mut raw = Vec::new();
    if let [Piece::Value { operator, max_length }] = pieces {
        if !print(operator, context, &mut raw) {
            out.extend_from_slice(b"null");
        } else if is_numeric(operator) {
            out.extend_from_slice(&raw);
        } else {
            json_text(cut(&raw, *max_length), out);
        }
        return;
    }
    for piece in pieces {
        match piece {
            Piece::Literal(text) => raw.extend_from_slice(text.as_bytes()),
            Piece::Value { operator, max_length } => {
                let start = raw.len();
                if print(operator, context, &mut raw) {
                    let kept = cut(&raw[start..], *max_length).len();
                    raw.truncate(start + kept);
                } else {
                    raw.push(b'-');
                }
            }
        }
    }
    json_text(&raw, out);
}

fn json_text(raw: &[u8], out: &mut Vec<u8>) {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(raw)).to_string();
    out.extend_from_slice(quoted.as_bytes());
}

fn is_numeric(operator: &Operator) -> bool {
    use Plain::{
        BytesReceived, BytesSent, ConnectionId, DownstreamLocalPort, DownstreamRemotePort, Duration, GrpcStatusNumber,
        RequestDuration, ResponseCode, ResponseDuration, ResponseTxDuration, UpstreamRequestAttemptCount,
    };
    matches!(
        operator,
        Operator::Plain(
            BytesReceived
                | BytesSent
                | ConnectionId
                | DownstreamLocalPort
                | DownstreamRemotePort
                | Duration
                | GrpcStatusNumber
                | RequestDuration
                | ResponseCode
                | ResponseDuration
                | ResponseTxDuration
                | UpstreamRequestAttemptCount
        )
    )
}

fn cut(raw: &[u8], max_length: Option<usize>) -> &[u8] {
    let end = max_length.unwrap_or(raw.len()).min(raw.len());
    &raw[..end]
}

/// Quotes, backslashes, control bytes and what is not UTF-8 are written as escapes, so that a value stays inside its
/// quotes and its line.
fn escape(raw: &[u8], out: &mut Vec<u8>) {
    if raw.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return out.extend_from_slice(raw);
    }
    for chunk in raw.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                    let _ = write!(out, "\\u{:04x}", char as u32);
                }
                char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Appends a value; false if there is none.
fn print(operator: &Operator, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    match operator {
        Operator::StartTime(format) => {
            let mut text = String::with_capacity(24);
            format.write(context.info.start_time, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
        Operator::Request(pair) => request_header(pair, context, out),
        Operator::Response(pair) => header(pair, context.response, context.info.response_code, out),
        Operator::Trailer(pair) => header(pair, context.trailers, None, out),
        Operator::Plain(plain) => return print_plain(*plain, context, out),
    }
    out.len() > start
}

fn request_header(pair: &HeaderPair, context: &LogContext<'_>, out: &mut Vec<u8>) {
    let Some(head) = context.request else { return };
    for name in std::iter::once(&pair.first).chain(&pair.second) {
        let start = out.len();
        if let Some(value) = crate::route::header_value(head, name) {
            out.extend_from_slice(&value);
        }
        if out.len() > start {
            return;
        }
    }
}

fn header(pair: &HeaderPair, headers: Option<&Headers>, status: Option<u16>, out: &mut Vec<u8>) {
    for name in std::iter::once(&pair.first).chain(&pair.second) {
        if name == ":status" {
            if let Some(status) = status {
                let _ = write!(out, "{status}");
                return;
            }
        } else if let Some(value) = headers.and_then(|headers| headers.get(name)).filter(|value| !value.is_empty()) {
            out.extend_from_slice(value);
            return;
        }
    }
}

fn print_plain(plain: Plain, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    let info = context.info;
    let connection = &info.connection;
    let millis = |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_millis());
    let tls = connection.tls.as_ref();
    let cluster = info.upstream_cluster.as_ref().map(|cluster| cluster.name.as_str());
    match plain {
        Plain::Protocol => show(info.protocol.map(crate::http::message::Version::as_str), out),
        Plain::ResponseCode => show(Some(info.response_code.unwrap_or(0)), out),
        Plain::ResponseFlags => show(Some(info.flags).filter(|flags| !flags.is_empty()), out),
        Plain::ResponseCodeDetails => show(info.response_code_details.as_deref(), out),
        Plain::ConnectionTerminationDetails => show(info.connection_termination_details.as_deref(), out),
        Plain::UpstreamTransportFailureReason => show(info.upstream_transport_failure_reason.as_deref(), out),
        Plain::BytesReceived => show(Some(info.bytes_received), out),
        Plain::BytesSent => show(Some(info.bytes_sent), out),
        Plain::Duration => show(millis(info.duration), out),
        Plain::RequestDuration => show(millis(info.request_duration), out),
        Plain::ResponseDuration => show(millis(info.response_duration), out),
        Plain::ResponseTxDuration => show(millis(tx_duration(info)), out),
        Plain::UpstreamHost => upstream_host(context, out),
        Plain::UpstreamRemoteAddress => show(info.upstream_address, out),
        Plain::UpstreamCluster | Plain::UpstreamClusterRaw => show(cluster, out),
        Plain::UpstreamLocalAddress => show(info.upstream_local_address, out),
        Plain::UpstreamRequestAttemptCount => show(Some(info.attempts), out),
        Plain::DownstreamLocalAddress => show(Some(connection.local_address), out),
        Plain::DownstreamLocalAddressWithoutPort => show(Some(connection.local_address.ip()), out),
        Plain::DownstreamLocalPort => show(Some(connection.local_address.port()), out),
        Plain::DownstreamRemoteAddress => show(Some(info.remote_address), out),
        Plain::DownstreamRemoteAddressWithoutPort => show(Some(info.remote_address.ip()), out),
        Plain::DownstreamRemotePort => show(Some(info.remote_address.port()), out),
        Plain::DownstreamDirectRemoteAddress => show(Some(connection.direct_remote_address), out),
        Plain::DownstreamDirectRemoteAddressWithoutPort => show(Some(connection.direct_remote_address.ip()), out),
        Plain::DownstreamPeerUriSan => show(tls.map(|tls| tls.peer_uri_sans.join(",")), out),
        Plain::DownstreamLocalUriSan => show(tls.map(|tls| tls.local_uri_sans.join(",")), out),
        Plain::DownstreamPeerSubject => show(tls.map(|tls| tls.peer_subject.as_str()), out),
        Plain::DownstreamTlsVersion => show(tls.map(|tls| tls.version), out),
        Plain::DownstreamTlsCipher => show(tls.map(|tls| tls.cipher.as_str()), out),
        Plain::RequestedServerName => show(connection.requested_server_name.as_deref(), out),
        Plain::RouteName => show(info.route.as_ref().map(|route| route.name.as_str()), out),
        Plain::VirtualClusterName => false,
        Plain::GrpcStatusNumber => show(info.grpc_status, out),
        Plain::Hostname => show(Some(HOSTNAME.as_str()), out),
        Plain::ConnectionId => show(Some(connection.id), out),
        Plain::StreamId => show(Some(info.stream_id), out),
    }
}

fn tx_duration(info: &super::RequestInfo) -> Option<std::time::Duration> {
    info.duration?.checked_sub(info.response_duration?)
}

fn upstream_host(context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    use crate::config::EndpointAddress;
    if let Some(address) = context.info.upstream_address {
        return show::<SocketAddr>(Some(address), out);
    }
    match context.info.upstream_endpoint.as_ref().map(|endpoint| &endpoint.address) {
        None => false,
        Some(EndpointAddress::Socket(address)) => show(Some(address), out),
        Some(EndpointAddress::Name(name, port)) => show(Some(format_args!("{name}:{port}")), out),
        Some(EndpointAddress::Unix(path)) => show(Some(path), out),
    }
}

fn show<T: std::fmt::Display>(value: Option<T>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    if let Some(value) = value {
        let _ = write!(out, "{value}");
    }
    out.len() > start
}
