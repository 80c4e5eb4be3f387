//! What expressions may ask for (Envoy, attributes).

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    RequestPath,
    RequestUrlPath,
    RequestHost,
    RequestScheme,
    RequestMethod,
    RequestReferer,
    RequestUserAgent,
    RequestId,
    RequestProtocol,
    RequestQuery,
    RequestDuration,
    RequestSize,
    ResponseCode,
    ResponseCodeDetails,
    ResponseGrpcStatus,
    ResponseSize,
    ConnectionId,
    ConnectionMtls,
    ConnectionServerName,
    ConnectionTlsVersion,
    ConnectionUriSanLocal,
    ConnectionUriSanPeer,
    ConnectionDnsSanPeer,
    ConnectionSubjectPeer,
    ConnectionTerminationDetails,
    SourceAddress,
    SourcePort,
    DestinationAddress,
    DestinationPort,
    UpstreamAddress,
    UpstreamPort,
    UpstreamLocalAddress,
    UpstreamFailureReason,
    UpstreamAttempts,
    ClusterName,
    RouteName,
    FilterChainName,
}

/// What holds values by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Map {
    RequestHeaders,
    ResponseHeaders,
    ResponseTrailers,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    One(Attribute),
    Map(Map),
}

const NAMES: [(&str, Kind); 40] = [
    ("request.path", Kind::One(Attribute::RequestPath)),
    ("request.url_path", Kind::One(Attribute::RequestUrlPath)),
    ("request.host", Kind::One(Attribute::RequestHost)),
    ("request.scheme", Kind::One(Attribute::RequestScheme)),
    ("request.method", Kind::One(Attribute::RequestMethod)),
    ("request.referer", Kind::One(Attribute::RequestReferer)),
    ("request.useragent", Kind::One(Attribute::RequestUserAgent)),
    ("request.id", Kind::One(Attribute::RequestId)),
    ("request.protocol", Kind::One(Attribute::RequestProtocol)),
    ("request.query", Kind::One(Attribute::RequestQuery)),
    ("request.duration", Kind::One(Attribute::RequestDuration)),
    ("request.size", Kind::One(Attribute::RequestSize)),
    ("request.headers", Kind::Map(Map::RequestHeaders)),
    ("response.code", Kind::One(Attribute::ResponseCode)),
    ("response.code_details", Kind::One(Attribute::ResponseCodeDetails)),
    ("response.grpc_status", Kind::One(Attribute::ResponseGrpcStatus)),
    ("response.size", Kind::One(Attribute::ResponseSize)),
    ("response.headers", Kind::Map(Map::ResponseHeaders)),
    ("response.trailers", Kind::Map(Map::ResponseTrailers)),
    ("connection.id", Kind::One(Attribute::ConnectionId)),
    ("connection.mtls", Kind::One(Attribute::ConnectionMtls)),
    ("connection.requested_server_name", Kind::One(Attribute::ConnectionServerName)),
    ("connection.tls_version", Kind::One(Attribute::ConnectionTlsVersion)),
    ("connection.uri_san_local_certificate", Kind::One(Attribute::ConnectionUriSanLocal)),
    ("connection.uri_san_peer_certificate", Kind::One(Attribute::ConnectionUriSanPeer)),
    ("connection.dns_san_peer_certificate", Kind::One(Attribute::ConnectionDnsSanPeer)),
    ("connection.subject_peer_certificate", Kind::One(Attribute::ConnectionSubjectPeer)),
    ("connection.termination_details", Kind::One(Attribute::ConnectionTerminationDetails)),
    ("source.address", Kind::One(Attribute::SourceAddress)),
    ("source.port", Kind::One(Attribute::SourcePort)),
    ("destination.address", Kind::One(Attribute::DestinationAddress)),
    ("destination.port", Kind::One(Attribute::DestinationPort)),
    ("upstream.address", Kind::One(Attribute::UpstreamAddress)),
    ("upstream.port", Kind::One(Attribute::UpstreamPort)),
    ("upstream.local_address", Kind::One(Attribute::UpstreamLocalAddress)),
    ("upstream.transport_failure_reason", Kind::One(Attribute::UpstreamFailureReason)),
    ("upstream.request_attempt_count", Kind::One(Attribute::UpstreamAttempts)),
    ("xds.cluster_name", Kind::One(Attribute::ClusterName)),
    ("xds.route_name", Kind::One(Attribute::RouteName)),
    ("xds.filter_chain_name", Kind::One(Attribute::FilterChainName)),
];

pub(super) fn named(name: &str) -> Option<Kind> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// What to say of a name that there is not.
pub(super) fn unknown(name: &str) -> String {
    let root = name.split('.').next().unwrap_or_default();
    let of_root = NAMES.iter().map(|(known, _)| *known).filter(|known| known.split('.').next() == Some(root));
    let known: Vec<&str> = of_root.collect();
    if known.is_empty() {
        let roots = "request, response, connection, source, destination, upstream and xds";
        return format!("no attribute {name:?} is known here; there are those of {roots}");
    }
    format!("no attribute {name:?} is known here; there are {}", known.join(", "))
}
