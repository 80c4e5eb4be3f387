//! Prints one operator's value from what a request left behind.

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use super::operator::{
    AddressOf, AddressPart, GrpcStyle, HeaderPair, NameChoice, Operator, Plain, Point, Precision, Source,
};
use super::{LogContext, RequestInfo, certificate, grpc};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};

static HOSTNAME: LazyLock<String> =
    LazyLock::new(|| nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default());

/// What was printed, for formats that tell kinds of values apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// Nothing: there is no such thing in this request.
    Absent,
    Text,
    Number,
    /// A JSON value.
    Json,
}

/// Appends a value.
pub(super) fn print(operator: &Operator, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    match operator {
        Operator::StartTime(format) => format.write(context.info.start_time, out),
        Operator::EmitTime(format) => format.write(SystemTime::now(), out),
        Operator::Request(pair) => return request_header(pair, context, out),
        Operator::Response(pair) => return header(pair, context.response, context.info.response_code, out),
        Operator::Trailer(pair) => return header(pair, context.trailers, None, out),
        Operator::CodeDetails { spaces } => return details(*spaces, context, out),
        Operator::CommonDuration(from, to, precision) => {
            return number(between(context.info, *from, *to, *precision), out);
        }
        Operator::Address { of, shown } => return address(*of, *shown, context, out),
        Operator::GrpcStatus(style) => return grpc_status(*style, context, out),
        Operator::ServerName(choice) => return server_name(*choice, context, out),
        Operator::QueryParameter(name) => return query_parameter(name, context, out),
        Operator::Query => return text(context.request.and_then(RequestHead::query), out),
        Operator::Path { query, source } => return path(*query, *source, context, out),
        Operator::Environment(value) => return text(value.as_deref(), out),
        Operator::Peer(fact) => return text(fact.of(peer_chain(context)), out),
        Operator::PeerTime { end, format } => match certificate::validity(peer_chain(context), *end) {
            Some(at) => format.write(at, out),
            None => return Printed::Absent,
        },
        Operator::Metadata { namespace, path } => return metadata(namespace, path, context, out),
        Operator::First(choices) => return first(choices, context, out),
        Operator::GrpcMessages { json } => return grpc_messages(*json, context, out),
        Operator::Nothing => return Printed::Absent,
        Operator::Plain(plain) => return print_plain(*plain, context, out),
    }
    Printed::Text
}

fn text<T: Display>(value: Option<T>, out: &mut Vec<u8>) -> Printed {
    let start = out.len();
    if let Some(value) = value {
        let _ = write!(out, "{value}");
    }
    if out.len() > start { Printed::Text } else { Printed::Absent }
}

fn number<T: Display>(value: Option<T>, out: &mut Vec<u8>) -> Printed {
    match text(value, out) {
        Printed::Text => Printed::Number,
        other => other,
    }
}

fn empty() -> Printed {
    Printed::Text
}

fn request_header(pair: &HeaderPair, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let Some(head) = context.request else { return Printed::Absent };
    let found = std::iter::once(&pair.first).chain(&pair.second).find_map(|name| request_value(head, name));
    bytes(found, out)
}

/// The first header of a name, or a part of the request line.
fn request_value<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let part = match name {
        ":method" => &head.method,
        ":path" => &head.path,
        ":authority" | "host" => &head.authority,
        ":scheme" => head.scheme,
        _ => return head.headers.get(name),
    };
    (!part.is_empty()).then_some(part.as_bytes())
}

fn header(pair: &HeaderPair, headers: Option<&Headers>, status: Option<u16>, out: &mut Vec<u8>) -> Printed {
    for name in std::iter::once(&pair.first).chain(&pair.second) {
        if name == ":status" && status.is_some() {
            return text(status, out);
        }
        let found = headers.and_then(|headers| headers.get(name));
        if found.is_some() {
            return bytes(found, out);
        }
    }
    Printed::Absent
}

/// A header that is there and empty is an empty text.
fn bytes(value: Option<&[u8]>, out: &mut Vec<u8>) -> Printed {
    let Some(value) = value else { return Printed::Absent };
    out.extend_from_slice(value);
    Printed::Text
}

fn details(spaces: bool, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    match context.info.response_code_details.as_deref() {
        Some(details) if !spaces && details.contains(char::is_whitespace) => {
            text(Some(details.replace(char::is_whitespace, "_")), out)
        }
        details => text(details, out),
    }
}

impl Point {
    /// How long after the request's start it came.
    fn of(self, info: &RequestInfo) -> Option<Duration> {
        match self {
            Self::DownstreamReceiveBegin => Some(Duration::ZERO),
            Self::DownstreamReceiveEnd => info.request_duration,
            Self::UpstreamSendBegin => info.upstream_send,
            Self::UpstreamSendEnd => upstream_sent(info),
            Self::UpstreamReceiveBegin => info.response_duration,
            Self::UpstreamReceiveEnd => info.upstream_end,
            Self::DownstreamSendBegin => info.downstream_send,
            Self::DownstreamSendEnd => info.duration,
        }
    }
}

/// The body goes upstream as it comes.
fn upstream_sent(info: &RequestInfo) -> Option<Duration> {
    Some(info.upstream_send?.max(info.request_duration?))
}

fn between(info: &RequestInfo, from: Point, to: Point, precision: Precision) -> Option<i128> {
    let unit = match precision {
        Precision::Milliseconds => 1_000_000,
        Precision::Microseconds => 1000,
        Precision::Nanoseconds => 1,
    };
    let nanos = |point: Point| Some(point.of(info)?.as_nanos() as i128);
    Some((nanos(to)? - nanos(from)?) / unit)
}

fn address(of: AddressOf, shown: AddressPart, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let info = context.info;
    let address = match of {
        AddressOf::UpstreamLocal => info.upstream_local_address,
        AddressOf::UpstreamRemote => info.upstream_address,
        AddressOf::DownstreamLocal => Some(info.connection.local_address),
        AddressOf::DownstreamDirectLocal => Some(info.connection.direct_local_address()),
        AddressOf::DownstreamRemote => Some(info.remote_address),
        AddressOf::DownstreamDirectRemote => Some(info.connection.direct_remote_address()),
    };
    match (shown, address) {
        (AddressPart::Port, address) => number(address.map(|address| address.port()), out),
        (AddressPart::Whole, address) => text(address, out),
        (AddressPart::Ip, address) => text(address.map(|address| address.ip()), out),
        (AddressPart::Network(bits), address) => text(address.map(|address| network(address.ip(), bits)), out),
    }
}

fn network(ip: IpAddr, bits: u8) -> String {
    let most = if ip.is_ipv4() { 32 } else { 128 };
    ipnet::IpNet::new(ip, bits.min(most)).map_or_else(|_| ip.to_string(), |net| net.trunc().to_string())
}

fn grpc_status(style: GrpcStyle, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let Some(status) = grpc_code(context) else { return Printed::Absent };
    match (style, grpc::names(status)) {
        (GrpcStyle::Number, _) => number(Some(status), out),
        (_, None) => text(Some(status), out),
        (GrpcStyle::Camel, Some((camel, _))) => text(Some(camel), out),
        (GrpcStyle::Snake, Some((_, snake))) => text(Some(snake), out),
    }
}

/// Only of gRPC requests: others have no such status, whatever a header says.
fn grpc_code(context: &LogContext<'_>) -> Option<u32> {
    context.request.filter(|head| head.is_grpc()).and_then(|_| grpc::status(context.info))
}

fn original<'a>(source: Source, header: &str, current: &str, head: &'a RequestHead) -> Option<&'a [u8]> {
    let original = || head.headers.get(header);
    match source {
        Source::Original => original(),
        Source::Current => request_value(head, current),
        Source::OriginalOrCurrent => original().or_else(|| request_value(head, current)),
    }
}

fn server_name(choice: NameChoice, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let sni = context.info.connection.requested_server_name.as_deref().filter(|name| !name.is_empty());
    let host = |source| original(source, "x-envoy-original-host", ":authority", context.request?);
    let name = match choice {
        NameChoice::SniOnly => sni.map(str::as_bytes),
        NameChoice::SniFirst(source) => sni.map(str::as_bytes).or_else(|| host(source)),
        NameChoice::HostFirst(source) => host(source),
    };
    let Some(name) = name else { return Printed::Absent };
    // What is not a host name is not printed as one: a name can be anything that a client says.
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
    out.extend(name.iter().map(|byte| if safe(byte) { *byte } else { b'_' }));
    Printed::Text
}

fn query_parameter(name: &str, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let query = context.request.and_then(RequestHead::query).unwrap_or_default();
    let found = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let Some(value) = found else { return Printed::Absent };
    percent_decode(value, out);
    Printed::Text
}

fn percent_decode(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low]).ok().and_then(hex_byte),
            _ => None,
        };
        out.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
}

fn hex_byte(digits: &str) -> Option<u8> {
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn path(query: bool, source: Source, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let path = context.request.and_then(|head| original(source, "x-envoy-original-path", ":path", head));
    let end = |path: &[u8]| path.iter().position(|byte| matches!(byte, b'?' | b'#')).filter(|_| !query);
    bytes(path.map(|path| &path[..end(path).unwrap_or(path.len())]), out)
}

fn peer_chain<'a>(context: &'a LogContext<'_>) -> &'a [rustls::pki_types::CertificateDer<'static>] {
    context.info.connection.tls.as_ref().map_or(&[], |tls| &tls.peer_certificates)
}

fn metadata(namespace: &str, path: &[String], context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let all = context.info.metadata_namespace(namespace);
    all.map_or(Printed::Absent, |all| super::metadata::print_at(&all, path, out))
}

fn first(choices: &[super::operator::Limited], context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let start = out.len();
    for choice in choices {
        let printed = choice.print(context, out);
        if out.len() > start {
            return printed;
        }
    }
    Printed::Absent
}

fn print_plain(plain: Plain, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let info = context.info;
    let connection = &info.connection;
    let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_millis());
    let tls = connection.tls.as_ref();
    let size = |headers: Option<&Headers>| headers.map_or(0, Headers::byte_len);
    match plain {
        Plain::Protocol => text(info.protocol.map(Version::as_str), out),
        Plain::UpstreamProtocol => text(info.upstream_protocol.map(Version::as_str), out),
        Plain::ResponseCode => number(Some(info.response_code.unwrap_or(0)), out),
        Plain::ResponseFlags => text(Some(info.flags), out),
        Plain::ResponseFlagsLong if info.flags.is_empty() => text(Some("-"), out),
        Plain::ResponseFlagsLong => text(Some(info.flags.long_names().collect::<Vec<_>>().join(",")), out),
        Plain::ConnectionTerminationDetails => text(info.connection_termination_details.as_deref(), out),
        Plain::UpstreamTransportFailureReason => text(info.upstream_transport_failure_reason.as_deref(), out),
        Plain::DownstreamTransportFailureReason => text(info.downstream_transport_failure_reason.as_deref(), out),
        Plain::RequestHeadersBytes => number(Some(context.request.map_or(0, request_size)), out),
        Plain::ResponseHeadersBytes => {
            let status = if context.response.is_some() { ":status".len() + 3 } else { 0 };
            number(Some(size(context.response) + status), out)
        }
        Plain::ResponseTrailersBytes => number(Some(size(context.trailers)), out),
        Plain::BytesReceived => number(Some(info.bytes_received), out),
        Plain::BytesSent => number(Some(info.bytes_sent), out),
        Plain::BytesRetransmitted | Plain::PacketsRetransmitted => number(Some(0), out),
        Plain::Duration => number(millis(info.duration), out),
        Plain::RequestDuration => number(millis(info.request_duration), out),
        Plain::RequestTxDuration => number(millis(upstream_sent(info)), out),
        Plain::ResponseDuration => number(millis(info.response_duration), out),
        Plain::ResponseTxDuration => {
            let sent = info.duration.zip(info.response_duration);
            number(millis(sent.and_then(|(end, begin)| end.checked_sub(begin))), out)
        }
        Plain::UpstreamHost => upstream_host(context, out),
        Plain::UpstreamHostName => match upstream_name(context) {
            Some(name) => text(Some(name), out),
            None => upstream_host(context, out),
        },
        Plain::UpstreamHostNameWithoutPort => match upstream_name(context) {
            Some(name) => text(name.split(':').next(), out),
            None => text(info.upstream_address.map(|address| address.ip()), out),
        },
        Plain::UpstreamCluster | Plain::UpstreamClusterRaw => {
            text(info.upstream_cluster.as_ref().map(|cluster| cluster.name.as_str()), out)
        }
        Plain::UpstreamRequestAttemptCount => number(Some(info.attempts), out),
        Plain::UpstreamConnectionId => number(Some(info.upstream_connection_id.unwrap_or(0)), out),
        Plain::DownstreamLocalUriSan => text(tls.map(|tls| tls.local_uri_sans.join(",")), out),
        Plain::DownstreamTlsVersion => text(tls.map(|tls| tls.version), out),
        Plain::DownstreamTlsCipher => text(tls.map(|tls| tls.cipher.as_str()), out),
        Plain::DownstreamTlsGroup => text(tls.map(|tls| tls.group), out),
        Plain::RouteName => text(info.route.as_ref().map(|route| route.name.as_str()), out),
        Plain::ListenerName => text(connection.listener.as_ref().map(|listener| listener.name.as_str()), out),
        Plain::FilterChainName => text(connection.filter_chain.as_ref().map(|chain| chain.name.as_str()), out),
        Plain::AccessLogType => text(Some(format_args!("{:?}", context.kind)), out),
        Plain::LocalReplyBody => bytes(Some(context.local_reply_body), out),
        Plain::CustomFlags => empty(),
        Plain::GrpcStatusNumber => number(grpc_code(context), out),
        Plain::Hostname => text(Some(HOSTNAME.as_str()), out),
        Plain::ConnectionId => number(Some(connection.id), out),
        Plain::StreamId => stream_id(context, out),
        Plain::UniqueId => text(Some(uuid(rand::random(), rand::random())), out),
        Plain::VirtualClusterName => {
            let found = info.virtual_cluster.as_ref();
            let found = found.and_then(|(host, place)| host.virtual_clusters.get(*place));
            text(found.map(|cluster| cluster.name.as_str()), out)
        }
        // HTTP/3's, which this proxy does not speak.
        Plain::RoundtripDuration => Printed::Absent,
        Plain::TraceId => text(info.trace_ids.as_ref().map(|ids| format!("{:032x}", ids.0)), out),
        Plain::SpanId => text(info.trace_ids.as_ref().map(|ids| format!("{:016x}", ids.1)), out),
    }
}

/// As the filter state of `envoy.filters.http.grpc_stats`.
fn grpc_messages(json: bool, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    let messages = context.info.grpc_messages.as_ref();
    let messages = messages.map(|messages| (messages.requests.get(), messages.responses.get()));
    let shown = messages.map(|(requests, responses)| match json {
        true => format!("{{\"requestMessageCount\":\"{requests}\",\"responseMessageCount\":\"{responses}\"}}"),
        false => format!("{requests},{responses}"),
    });
    text(shown, out)
}

/// As Envoy counts headers: the bytes of names and values, those of the request line among them.
fn request_size(head: &RequestHead) -> usize {
    let line = [(":method", head.method.as_str()), (":path", &head.path), (":authority", &head.authority)];
    let line = line.iter().filter(|(_, value)| !value.is_empty());
    line.map(|(name, value)| name.len() + value.len()).sum::<usize>()
        + ":scheme".len()
        + head.scheme.len()
        + head.headers.byte_len()
}

/// The request's id; for a connection one that is its own, and the same in all its lines.
fn stream_id(context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);
    match context.request {
        Some(head) => bytes(head.headers.get("x-request-id"), out),
        None => text(Some(uuid(*PROCESS, context.info.connection.id)), out),
    }
}

/// A UUID of version 4 from random bits (RFC 9562 section 5.4).
fn uuid(a: u64, b: u64) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        0x8000 | b >> 48 & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

/// The name that the endpoint is given, or under which it was found.
fn upstream_name<'a>(context: &'a LogContext<'_>) -> Option<&'a str> {
    context.info.upstream_endpoint.as_ref()?.hostname.as_deref()
}

fn upstream_host(context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
    use crate::config::EndpointAddress;
    if let Some(address) = context.info.upstream_address {
        return text::<SocketAddr>(Some(address), out);
    }
    match context.info.upstream_endpoint.as_ref().map(|endpoint| &endpoint.address) {
        None => Printed::Absent,
        Some(EndpointAddress::Socket(address)) => text(Some(address), out),
        Some(EndpointAddress::Name(name, port)) => text(Some(format_args!("{name}:{port}")), out),
        Some(EndpointAddress::Unix(path)) => text(Some(path), out),
    }
}
