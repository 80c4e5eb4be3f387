//! The command operators that this proxy can print, after Envoy's substitution formatter documentation.

use super::certificate::CertificateFact;
use super::time_format::TimeFormat;

/// One operator, its arguments checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operator {
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Request(HeaderPair),
    Response(HeaderPair),
    Trailer(HeaderPair),
    /// `RESPONSE_CODE_DETAILS`; without spaces unless they are asked for.
    CodeDetails {
        spaces: bool,
    },
    CommonDuration(Point, Point, Precision),
    Address {
        of: AddressOf,
        shown: AddressPart,
    },
    GrpcStatus(GrpcStyle),
    ServerName(NameChoice),
    QueryParameter(String),
    Query,
    Path {
        query: bool,
        source: Source,
    },
    /// An environment variable, read when the configuration is.
    Environment(Option<String>),
    /// A fact of the client's certificate.
    Peer(CertificateFact),
    PeerTime {
        end: bool,
        format: TimeFormat,
    },
    /// `DYNAMIC_METADATA`: a namespace, or what is at a path below it.
    Metadata {
        namespace: String,
        path: Vec<String>,
    },
    /// `COALESCE`: the first that has a value.
    First(Vec<Limited>),
    /// `FILTER_STATE` of `envoy.filters.http.grpc_stats`.
    GrpcMessages {
        json: bool,
    },
    /// `FILTER_STATE` of what no filter of this proxy keeps.
    Nothing,
    Plain(Plain),
}

/// An operator and how much of its text is printed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limited {
    pub operator: Operator,
    pub max_length: Option<usize>,
}

/// `REQ(first?second)`: names in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeaderPair {
    pub first: String,
    pub second: Option<String>,
}

/// A moment in the life of a request (Envoy, `COMMON_DURATION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    DownstreamReceiveBegin,
    DownstreamReceiveEnd,
    UpstreamSendBegin,
    UpstreamSendEnd,
    UpstreamReceiveBegin,
    UpstreamReceiveEnd,
    DownstreamSendBegin,
    DownstreamSendEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressOf {
    UpstreamLocal,
    UpstreamRemote,
    DownstreamLocal,
    DownstreamDirectLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPart {
    Whole,
    /// Without the port.
    Ip,
    /// A network of so many bits.
    Network(u8),
    Port,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcStyle {
    Camel,
    Snake,
    Number,
}

/// Where a text that may have been rewritten is taken from: as it came, as it is now, or the first of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Original,
    Current,
    OriginalOrCurrent,
}

/// `REQUESTED_SERVER_NAME(X:Y)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameChoice {
    SniOnly,
    SniFirst(Source),
    HostFirst(Source),
}

macro_rules! plain {
    ($($name:ident $text:literal)*) => {
        /// Operators without arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Plain { $($name,)* }

        impl Plain {
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

plain! {
    Protocol "PROTOCOL"
    UpstreamProtocol "UPSTREAM_PROTOCOL"
    ResponseCode "RESPONSE_CODE"
    ResponseFlags "RESPONSE_FLAGS"
    ResponseFlagsLong "RESPONSE_FLAGS_LONG"
    ConnectionTerminationDetails "CONNECTION_TERMINATION_DETAILS"
    UpstreamTransportFailureReason "UPSTREAM_TRANSPORT_FAILURE_REASON"
    DownstreamTransportFailureReason "DOWNSTREAM_TRANSPORT_FAILURE_REASON"
    RequestHeadersBytes "REQUEST_HEADERS_BYTES"
    ResponseHeadersBytes "RESPONSE_HEADERS_BYTES"
    ResponseTrailersBytes "RESPONSE_TRAILERS_BYTES"
    BytesReceived "BYTES_RECEIVED"
    BytesSent "BYTES_SENT"
    BytesRetransmitted "BYTES_RETRANSMITTED"
    PacketsRetransmitted "PACKETS_RETRANSMITTED"
    Duration "DURATION"
    RequestDuration "REQUEST_DURATION"
    RequestTxDuration "REQUEST_TX_DURATION"
    ResponseDuration "RESPONSE_DURATION"
    ResponseTxDuration "RESPONSE_TX_DURATION"
    RoundtripDuration "ROUNDTRIP_DURATION"
    UpstreamHost "UPSTREAM_HOST"
    UpstreamHostName "UPSTREAM_HOST_NAME"
    UpstreamHostNameWithoutPort "UPSTREAM_HOST_NAME_WITHOUT_PORT"
    UpstreamCluster "UPSTREAM_CLUSTER"
    UpstreamClusterRaw "UPSTREAM_CLUSTER_RAW"
    UpstreamRequestAttemptCount "UPSTREAM_REQUEST_ATTEMPT_COUNT"
    UpstreamConnectionId "UPSTREAM_CONNECTION_ID"
    DownstreamLocalUriSan "DOWNSTREAM_LOCAL_URI_SAN"
    DownstreamTlsVersion "DOWNSTREAM_TLS_VERSION"
    DownstreamTlsCipher "DOWNSTREAM_TLS_CIPHER"
    DownstreamTlsGroup "DOWNSTREAM_TLS_GROUP"
    RouteName "ROUTE_NAME"
    VirtualClusterName "VIRTUAL_CLUSTER_NAME"
    ListenerName "LISTENER_NAME"
    FilterChainName "FILTER_CHAIN_NAME"
    AccessLogType "ACCESS_LOG_TYPE"
    LocalReplyBody "LOCAL_REPLY_BODY"
    CustomFlags "CUSTOM_FLAGS"
    GrpcStatusNumber "GRPC_STATUS_NUMBER"
    Hostname "HOSTNAME"
    ConnectionId "CONNECTION_ID"
    StreamId "STREAM_ID"
    UniqueId "UNIQUE_ID"
    TraceId "TRACE_ID"
    SpanId "SPAN_ID"
}
