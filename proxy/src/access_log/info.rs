//! What a connection and a request leave behind for logs, header values and metrics. The data path fills these in as
//! it goes; nothing here is computed.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use api::prost_types::{Struct, Value, value::Kind};
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;

use super::{ResponseFlags, certificate};
use crate::config::{Cluster, Endpoint, FilterChain, Listener};
use crate::filter::grpc_stats::Messages;
use crate::filter::{DynamicMetadata, rbac};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};
use crate::route::{Route, VirtualHost};

/// Facts of a downstream connection; shared by its requests.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Unique in this process.
    pub id: u64,
    /// Where the connection is to: where it was meant to go, where a listener filter learnt that.
    pub local_address: SocketAddr,
    /// Whether a listener filter learnt where it was meant to go (`ORIGINAL_DST` clusters go there).
    pub local_address_restored: bool,
    /// Who it is from: the peer of the TCP connection, or who a PROXY protocol header names.
    pub remote_address: SocketAddr,
    /// The TCP connection itself, where a listener filter told of other ends.
    pub transport: Option<Box<Transport>>,
    /// SNI.
    pub requested_server_name: Option<String>,
    pub tls: Option<Box<TlsInfo>>,
    pub listener: Option<Arc<Listener>>,
    pub filter_chain: Option<Arc<FilterChain>>,
}

impl ConnectionInfo {
    /// A connection in plaintext of which nothing more is known.
    pub fn between(id: u64, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            id,
            local_address: local,
            local_address_restored: false,
            remote_address: remote,
            transport: None,
            requested_server_name: None,
            tls: None,
            listener: None,
            filter_chain: None,
        }
    }

    /// The proxy's end of the TCP connection itself.
    pub fn direct_local_address(&self) -> SocketAddr {
        self.transport.as_ref().map_or(self.local_address, |transport| transport.local_address)
    }

    /// The peer of the TCP connection itself.
    pub fn direct_remote_address(&self) -> SocketAddr {
        self.transport.as_ref().map_or(self.remote_address, |transport| transport.remote_address)
    }

    /// TLVs of a PROXY protocol header that are to be sent upstream.
    pub fn proxy_tlvs(&self) -> &[(u8, Vec<u8>)] {
        self.transport.as_ref().map_or(&[], |transport| &transport.proxy_tlvs)
    }
}

/// A TCP connection that carries one of other ends: it was redirected, or came through another proxy.
#[derive(Clone, Debug)]
pub struct Transport {
    pub local_address: SocketAddr,
    pub remote_address: SocketAddr,
    pub proxy_tlvs: Vec<(u8, Vec<u8>)>,
}

/// Facts of a finished TLS handshake.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// OpenSSL's or the IANA name.
    pub cipher: String,
    /// The group of the key exchange, by its IANA or NIST name.
    pub group: &'static str,
    pub local_uri_sans: Vec<String>,
    /// The client's certificates, leaf first; none if it showed none.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Read from the certificate when they are first asked for.
    pub peer_names: OnceLock<Vec<String>>,
}

impl TlsInfo {
    /// What the client's certificate calls it: its URIs, its DNS names, and last its subject; empty without one.
    pub fn peer_names(&self) -> &[String] {
        self.peer_names.get_or_init(|| certificate::names(&self.peer_certificates))
    }
}

/// Facts of one request, or of one TCP connection where no HTTP is spoken.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    pub connection: Arc<ConnectionInfo>,
    pub start_time: SystemTime,
    pub start: Instant,
    /// The client's address as believed, after `x-forwarded-for`.
    pub remote_address: SocketAddr,
    pub stream_id: u64,
    pub protocol: Option<Version>,
    pub response_code: Option<u16>,
    pub response_code_details: Option<Cow<'static, str>>,
    pub grpc_status: Option<u32>,
    pub flags: ResponseFlags,
    pub connection_termination_details: Option<Cow<'static, str>>,
    pub downstream_transport_failure_reason: Option<Cow<'static, str>>,
    /// Body bytes from and to the client.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// From the start until: the last byte of the request came, its first byte went upstream, the first byte of the
    /// answer came from upstream, its last came, its first was sent, its last was sent.
    pub request_duration: Option<Duration>,
    pub upstream_send: Option<Duration>,
    pub response_duration: Option<Duration>,
    pub upstream_end: Option<Duration>,
    pub downstream_send: Option<Duration>,
    pub duration: Option<Duration>,
    pub route: Option<Arc<Route>>,
    pub upstream_cluster: Option<Arc<Cluster>>,
    pub upstream_endpoint: Option<Arc<Endpoint>>,
    /// The address that was really dialled (a name resolved).
    pub upstream_address: Option<SocketAddr>,
    pub upstream_local_address: Option<SocketAddr>,
    pub upstream_protocol: Option<Version>,
    pub upstream_connection_id: Option<u64>,
    pub upstream_transport_failure_reason: Option<Cow<'static, str>>,
    /// Tries sent upstream; 0 when none was.
    pub attempts: u32,
    /// Whether the request was chosen to be traced.
    pub traced: bool,
    /// The ids of its trace and of its span here.
    pub trace_ids: Option<Box<(u128, u64)>>,
    /// What filters left for each other and for logs.
    pub metadata: Option<Box<DynamicMetadata>>,
    /// Whether the health check filter knew the request for a health check.
    pub health_check: bool,
    /// The virtual cluster that it counts for: a place in its virtual host.
    pub virtual_cluster: Option<(Arc<VirtualHost>, usize)>,
    /// Messages of a gRPC call, where a filter counts them for logs.
    pub grpc_messages: Option<Rc<Messages>>,
    /// What access control decided, filter by filter; part of the metadata once it is asked for.
    pub authorization: SmallVec<[rbac::Noted; 2]>,
}

/// All that a format may print. Header lists are those at the end of the request: as sent upstream, as sent downstream.
#[derive(Clone, Copy, Debug)]
pub struct LogContext<'a> {
    pub info: &'a RequestInfo,
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a Headers>,
    pub trailers: Option<&'a Headers>,
    pub kind: LogKind,
    /// The body that an answer made here is about to get (`LOCAL_REPLY_BODY`).
    pub local_reply_body: &'a [u8],
}

/// When a line is written (Envoy, `AccessLogType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogKind {
    #[default]
    NotSet,
    TcpUpstreamConnected,
    TcpPeriodic,
    TcpConnectionEnd,
    DownstreamStart,
    DownstreamPeriodic,
    DownstreamEnd,
    DownstreamTunnelSuccessfullyEstablished,
}

impl RequestInfo {
    /// A request or connection that begins now.
    pub fn new(connection: Arc<ConnectionInfo>, stream_id: u64) -> Self {
        Self {
            start_time: SystemTime::now(),
            start: Instant::now(),
            remote_address: connection.remote_address,
            connection,
            stream_id,
            protocol: None,
            response_code: None,
            response_code_details: None,
            grpc_status: None,
            flags: ResponseFlags::NONE,
            connection_termination_details: None,
            downstream_transport_failure_reason: None,
            bytes_received: 0,
            bytes_sent: 0,
            request_duration: None,
            upstream_send: None,
            response_duration: None,
            upstream_end: None,
            downstream_send: None,
            duration: None,
            route: None,
            upstream_cluster: None,
            upstream_endpoint: None,
            upstream_address: None,
            upstream_local_address: None,
            upstream_protocol: None,
            upstream_connection_id: None,
            upstream_transport_failure_reason: None,
            attempts: 0,
            metadata: None,
            health_check: false,
            virtual_cluster: None,
            grpc_messages: None,
            traced: false,
            trace_ids: None,
            authorization: SmallVec::new(),
        }
    }

    /// Whether access control turned it away: rules, a missing or wrong token, or an external check.
    pub fn is_denied(&self) -> bool {
        let details = self.response_code_details.as_deref().unwrap_or_default();
        self.flags.contains(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE)
            || ["rbac_access_denied", "jwt_authn_access_denied"].iter().any(|denial| details.starts_with(denial))
    }

    /// All dynamic metadata of a namespace.
    pub fn metadata_namespace(&self, namespace: &str) -> Option<Cow<'_, Struct>> {
        let set = self.metadata.as_ref().and_then(|metadata| metadata.namespace(namespace));
        match rbac::Noted::metadata(&self.authorization, namespace) {
            None => set.map(Cow::Borrowed),
            Some(mut noted) => {
                for (name, value) in set.into_iter().flat_map(|set| &set.fields) {
                    noted.fields.entry(name.clone()).or_insert_with(|| value.clone());
                }
                Some(Cow::Owned(noted))
            }
        }
    }

    /// The value of dynamic metadata at a path below a namespace; the whole namespace without a path.
    pub fn metadata_value<'p>(
        &self,
        namespace: &str,
        path: impl IntoIterator<Item = &'p str>,
    ) -> Option<Cow<'_, Value>> {
        match self.metadata_namespace(namespace)? {
            Cow::Borrowed(fields) => value_at(fields, path),
            Cow::Owned(fields) => value_at(&fields, path).map(|value| Cow::Owned(value.into_owned())),
        }
    }
}

fn value_at<'p>(fields: &Struct, path: impl IntoIterator<Item = &'p str>) -> Option<Cow<'_, Value>> {
    let mut path = path.into_iter();
    let Some(first) = path.next() else {
        return Some(Cow::Owned(Value { kind: Some(Kind::StructValue(fields.clone())) }));
    };
    let mut value = fields.fields.get(first)?;
    for key in path {
        let Some(Kind::StructValue(inner)) = &value.kind else { return None };
        value = inner.fields.get(key)?;
    }
    Some(Cow::Borrowed(value))
}
