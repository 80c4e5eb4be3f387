//! What a gRPC service is told of a request or connection (`envoy.service.auth.v3.AttributeContext`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use api::envoy::config::core::v3 as core;
use api::envoy::service::auth::v3 as wire;
use core::address::Address;
use core::socket_address::PortSpecifier;
use wire::attribute_context::{HttpRequest, Peer, Request, TlsSession};

use super::{ExtAuthz, Held};
use crate::access_log::{ConnectionInfo, RequestInfo};
use crate::config::StringMatch;
use crate::filter::Stream;
use crate::http::message::RequestHead;
use crate::tls::pem;

pub const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

pub fn check_request(
    own: &ExtAuthz,
    held: Option<&Held>,
    extensions: BTreeMap<String, String>,
    stream: &Stream<'_>,
) -> wire::CheckRequest {
    let info = &stream.exchange.info;
    let known = of_connection(info, own.include_peer_certificate, own.include_tls_session, &own.metadata_namespaces);
    let service = stream.head.headers.get_str("x-envoy-downstream-service-cluster").unwrap_or_default();
    let attributes = wire::AttributeContext {
        source: known.source.map(|source| Peer { service: service.to_owned(), ..source }),
        request: Some(Request {
            time: Some(SystemTime::into(info.start_time)),
            http: Some(http_request(own, held, stream)),
        }),
        context_extensions: extensions,
        route_metadata_context: Some(core::Metadata::default()),
        ..known
    };
    wire::CheckRequest { attributes: Some(attributes) }
}

/// What is known of the connection alone.
pub fn of_connection(
    info: &RequestInfo,
    certificate: bool,
    session: bool,
    namespaces: &[String],
) -> wire::AttributeContext {
    let tls = info.connection.tls.as_ref();
    let own_name = tls.and_then(|tls| tls.local_uri_sans.first());
    wire::AttributeContext {
        source: Some(source(&info.connection, certificate)),
        destination: Some(Peer {
            address: Some(address(info.connection.local_address)),
            principal: own_name.cloned().unwrap_or_default(),
            ..Peer::default()
        }),
        metadata_context: Some(metadata(namespaces, info)),
        tls_session: session
            .then(|| TlsSession { sni: info.connection.requested_server_name.clone().unwrap_or_default() }),
        ..wire::AttributeContext::default()
    }
}

fn source(connection: &ConnectionInfo, certificate: bool) -> Peer {
    let tls = connection.tls.as_ref();
    let certificate = tls.and_then(|tls| tls.peer_certificates.first()).filter(|_| certificate);
    Peer {
        address: Some(address(connection.remote_address)),
        principal: tls.and_then(|tls| tls.peer_names().first()).cloned().unwrap_or_default(),
        certificate: certificate.map(|certificate| pem::url_encoded(certificate)).unwrap_or_default(),
        ..Peer::default()
    }
}

fn address(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..core::SocketAddress::default()
        })),
    }
}

fn metadata(namespaces: &[String], info: &RequestInfo) -> core::Metadata {
    let mut all = core::Metadata::default();
    let Some(known) = info.metadata.as_deref() else { return all };
    for name in namespaces {
        if let Some(fields) = known.namespace(name) {
            all.filter_metadata.insert(name.clone(), fields.clone());
        }
    }
    all
}

fn http_request(own: &ExtAuthz, held: Option<&Held>, stream: &Stream<'_>) -> HttpRequest {
    let head = &*stream.head;
    let as_bytes = held.is_some_and(|held| held.as_bytes);
    let bytes = held.map(|held| held.bytes.as_ref()).unwrap_or_default();
    // The framing has taken the header away; a body of unknown length is as long as what was held of it.
    let length = (!stream.body.is_end()).then(|| stream.body.length()).flatten();
    let mut request = HttpRequest {
        id: stream.worker().random().to_string(),
        method: head.method.clone(),
        path: head.path.clone(),
        host: head.authority.clone(),
        scheme: head.scheme.to_owned(),
        size: length.map_or(bytes.len() as i64, |length| i64::try_from(length).unwrap_or(i64::MAX)),
        protocol: head.version.as_str().to_owned(),
        body: if as_bytes { String::new() } else { clean(bytes) },
        raw_body: if as_bytes { bytes.to_vec() } else { Vec::new() },
        ..HttpRequest::default()
    };
    let mut headers = told(own, head);
    if let Some(length) = length.filter(|_| own.tells(b"content-length")) {
        headers.push(("content-length".to_owned(), length.to_string().into_bytes()));
    }
    if let Some(held) = held {
        headers.push((PARTIAL_BODY.to_owned(), held.partial.to_string().into_bytes()));
    }
    if own.raw_headers {
        let raw = |(key, raw_value)| core::HeaderValue { key, raw_value, ..core::HeaderValue::default() };
        request.header_map = Some(core::HeaderMap { headers: headers.into_iter().map(raw).collect() });
    } else {
        for (name, value) in headers {
            let entry = request.headers.entry(name).or_default();
            if !entry.is_empty() {
                entry.push(',');
            }
            entry.push_str(&clean(&value));
        }
    }
    request
}

/// The headers that the service may see, the parts of the head among them.
fn told(own: &ExtAuthz, head: &RequestHead) -> Vec<(String, Vec<u8>)> {
    let parts = [
        (":authority", head.authority.as_str()),
        (":method", head.method.as_str()),
        (":path", head.path.as_str()),
        (":scheme", head.scheme),
    ];
    let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
    let parts = parts.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let all = parts.chain(head.headers.iter()).filter(|(name, _)| own.tells(name));
    all.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec())).collect()
}

impl ExtAuthz {
    fn tells(&self, name: &[u8]) -> bool {
        self.allowed_headers.as_ref().is_none_or(|allowed| matches(allowed, name))
            && !matches(&self.disallowed_headers, name)
    }
}

pub fn matches(list: &[StringMatch], name: &[u8]) -> bool {
    list.iter().any(|one| one.matches(name))
}

/// Text; each byte that is no part of a character is a `!`.
pub fn clean(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}
