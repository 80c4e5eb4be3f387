//! What expressions ask of a request or of a connection, as Envoy's attributes have it.

use std::net::SocketAddr;
use std::time::Duration;

use api::cel::{Attribute, Attributes, Map, Value};

use super::certificate::CertificateFact;
use super::{LogContext, grpc};

impl Attributes for LogContext<'_> {
    fn attribute(&self, of: Attribute) -> Option<Value<'_>> {
        let info = self.info;
        let connection = &*info.connection;
        match of {
            Attribute::RequestProtocol => info.protocol.map(|version| Value::text(version.as_str())),
            Attribute::RequestDuration => info.duration.map(duration),
            Attribute::RequestSize => Some(Value::count(info.bytes_received)),
            Attribute::ResponseCode => info.response_code.map(|code| Value::Int(code.into())),
            Attribute::ResponseCodeDetails => info.response_code_details.as_deref().map(Value::text),
            Attribute::ResponseGrpcStatus => grpc::status(info).map(|status| Value::Int(status.into())),
            Attribute::ResponseSize => Some(Value::count(info.bytes_sent)),
            Attribute::ConnectionId => Some(Value::count(connection.id)),
            Attribute::ConnectionServerName => {
                Some(Value::text(connection.requested_server_name.as_deref().unwrap_or_default()))
            }
            Attribute::ConnectionTerminationDetails => info.connection_termination_details.as_deref().map(Value::text),
            Attribute::SourceAddress => Some(address(info.remote_address)),
            Attribute::SourcePort => Some(port(info.remote_address)),
            Attribute::DestinationAddress => Some(address(connection.local_address)),
            Attribute::DestinationPort => Some(port(connection.local_address)),
            Attribute::UpstreamAddress => info.upstream_address.map(address),
            Attribute::UpstreamPort => info.upstream_address.map(port),
            Attribute::UpstreamLocalAddress => info.upstream_local_address.map(address),
            Attribute::UpstreamFailureReason => info.upstream_transport_failure_reason.as_deref().map(Value::text),
            Attribute::UpstreamAttempts => Some(Value::Int(info.attempts.into())),
            Attribute::ClusterName => info.upstream_cluster.as_ref().map(|cluster| Value::text(cluster.name.as_str())),
            Attribute::RouteName => info.route.as_ref().map(|route| Value::text(route.name.as_str())),
            Attribute::FilterChainName => {
                connection.filter_chain.as_ref().map(|chain| Value::text(chain.name.as_str()))
            }
            of => self.in_request(of).or_else(|| self.in_tls(of)),
        }
    }

    fn entry(&self, of: Map, key: &str) -> Option<Value<'_>> {
        let headers = match of {
            Map::RequestHeaders => match (self.request?, key) {
                (head, ":method") => return Some(Value::text(head.method.as_str())),
                (head, ":path") => return Some(Value::text(head.path.as_str())),
                (head, ":authority" | "host") => return Some(Value::text(head.authority.as_str())),
                (head, ":scheme") => return Some(Value::text(head.scheme)),
                (head, _) => &head.headers,
            },
            Map::ResponseHeaders if key == ":status" => return self.attribute(Attribute::ResponseCode),
            Map::ResponseHeaders => self.response?,
            Map::ResponseTrailers => self.trailers?,
        };
        headers.get(key).map(Value::of_bytes)
    }
}

impl LogContext<'_> {
    fn in_request(&self, of: Attribute) -> Option<Value<'_>> {
        let head = self.request?;
        let header = |name: &str| head.headers.get(name).map(Value::of_bytes);
        match of {
            Attribute::RequestPath => Some(Value::text(head.path.as_str())),
            Attribute::RequestUrlPath => Some(Value::text(head.path_only())),
            Attribute::RequestQuery => Some(Value::text(head.query().unwrap_or_default())),
            Attribute::RequestHost => Some(Value::text(head.authority.as_str())),
            Attribute::RequestScheme => Some(Value::text(head.scheme)),
            Attribute::RequestMethod => Some(Value::text(head.method.as_str())),
            Attribute::RequestReferer => header("referer"),
            Attribute::RequestUserAgent => header("user-agent"),
            Attribute::RequestId => header("x-request-id"),
            _ => None,
        }
    }

    fn in_tls(&self, of: Attribute) -> Option<Value<'_>> {
        let tls = self.info.connection.tls.as_deref();
        let peer = tls.map_or(&[][..], |tls| &tls.peer_certificates);
        let fact = |of: CertificateFact| Some(Value::text(of.of(peer).filter(|_| !peer.is_empty())?));
        // Of several names the first is the one that counts.
        let first = |of: CertificateFact| of.names(peer).into_iter().next().map(Value::text);
        match of {
            Attribute::ConnectionMtls => Some(Value::Bool(!peer.is_empty())),
            Attribute::ConnectionTlsVersion => tls.map(|tls| Value::text(tls.version)),
            Attribute::ConnectionUriSanLocal => tls?.local_uri_sans.first().map(|name| Value::text(name.as_str())),
            Attribute::ConnectionUriSanPeer => first(CertificateFact::UriSan),
            Attribute::ConnectionDnsSanPeer => first(CertificateFact::DnsSan),
            Attribute::ConnectionSubjectPeer => fact(CertificateFact::Subject),
            _ => None,
        }
    }
}

fn duration(of: Duration) -> Value<'static> {
    Value::Duration(i64::try_from(of.as_nanos()).unwrap_or(i64::MAX))
}

fn address(of: SocketAddr) -> Value<'static> {
    Value::text(of.to_string())
}

fn port(of: SocketAddr) -> Value<'static> {
    Value::Int(of.port().into())
}
