//! The command operators that this proxy can print, after Envoy's access log documentation.

use super::time_format::TimeFormat;

/// One operator, its arguments checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operator {
    StartTime(TimeFormat),
    Request(HeaderPair),
    Response(HeaderPair),
    Trailer(HeaderPair),
    Plain(Plain),
}

/// `REQ(first?second)`: names in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeaderPair {
    pub first: String,
    pub second: Option<String>,
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
    ResponseCode "RESPONSE_CODE"
    ResponseFlags "RESPONSE_FLAGS"
    ResponseCodeDetails "RESPONSE_CODE_DETAILS"
    ConnectionTerminationDetails "CONNECTION_TERMINATION_DETAILS"
    UpstreamTransportFailureReason "UPSTREAM_TRANSPORT_FAILURE_REASON"
    BytesReceived "BYTES_RECEIVED"
    BytesSent "BYTES_SENT"
    Duration "DURATION"
    RequestDuration "REQUEST_DURATION"
    ResponseDuration "RESPONSE_DURATION"
    ResponseTxDuration "RESPONSE_TX_DURATION"
    UpstreamHost "UPSTREAM_HOST"
    UpstreamRemoteAddress "UPSTREAM_REMOTE_ADDRESS"
    UpstreamCluster "UPSTREAM_CLUSTER"
    UpstreamClusterRaw "UPSTREAM_CLUSTER_RAW"
    UpstreamLocalAddress "UPSTREAM_LOCAL_ADDRESS"
    UpstreamRequestAttemptCount "UPSTREAM_REQUEST_ATTEMPT_COUNT"
    DownstreamLocalAddress "DOWNSTREAM_LOCAL_ADDRESS"
    DownstreamLocalAddressWithoutPort "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT"
    DownstreamLocalPort "DOWNSTREAM_LOCAL_PORT"
    DownstreamRemoteAddress "DOWNSTREAM_REMOTE_ADDRESS"
    DownstreamRemoteAddressWithoutPort "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
    DownstreamRemotePort "DOWNSTREAM_REMOTE_PORT"
    DownstreamDirectRemoteAddress "DOWNSTREAM_DIRECT_REMOTE_ADDRESS"
    DownstreamDirectRemoteAddressWithoutPort "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"
    DownstreamPeerUriSan "DOWNSTREAM_PEER_URI_SAN"
    DownstreamLocalUriSan "DOWNSTREAM_LOCAL_URI_SAN"
    DownstreamPeerSubject "DOWNSTREAM_PEER_SUBJECT"
    DownstreamTlsVersion "DOWNSTREAM_TLS_VERSION"
    DownstreamTlsCipher "DOWNSTREAM_TLS_CIPHER"
    RequestedServerName "REQUESTED_SERVER_NAME"
    RouteName "ROUTE_NAME"
    VirtualClusterName "VIRTUAL_CLUSTER_NAME"
    GrpcStatusNumber "GRPC_STATUS_NUMBER"
    Hostname "HOSTNAME"
    ConnectionId "CONNECTION_ID"
    StreamId "STREAM_ID"
}
