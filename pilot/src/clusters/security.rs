//! Which TLS a cluster's connections use: what the rule says, else the mesh's mutual TLS to every endpoint that
//! speaks it (Istio, auto mTLS).

use std::collections::BTreeSet;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use cluster::cluster::TransportSocketMatch;
use core::proxy_protocol_config::Version;
use galley::kinds::{ClientTls, ClientTlsMode, MtlsMode, ProxyProtocol};
use registry::{Location, TlsMode};

use super::{Target, subset_name};
use crate::diagnostic::{Code, Findings};
use crate::tls::{self, Mutual};
use crate::{names, wire};

pub(super) fn apply(target: &Target<'_>, cluster: &mut cluster::Cluster, findings: &mut Findings) {
    match &target.traffic.tls {
        Some(client) => cluster.transport_socket = declared(target, client, findings),
        None if is_automatic(target) => cluster.transport_socket_matches = automatic(target),
        None => {}
    }
    if let Some(protocol) = target.traffic.proxy_protocol {
        announce(protocol, cluster);
    }
}

/// Begins each connection, whatever else it is, with whose it is.
fn announce(protocol: ProxyProtocol, cluster: &mut cluster::Cluster) {
    let version = match protocol {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    };
    let within = |socket: Option<core::TransportSocket>| {
        let transport = ProxyProtocolUpstreamTransport {
            config: Some(core::ProxyProtocolConfig { version: version as i32, ..Default::default() }),
            transport_socket: Some(socket.unwrap_or_else(plain)),
            ..Default::default()
        };
        Some(wire::transport_socket("envoy.transport_sockets.upstream_proxy_protocol", &transport))
    };
    if cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket = within(cluster.transport_socket.take());
    }
    for socket in &mut cluster.transport_socket_matches {
        socket.transport_socket = within(socket.transport_socket.take());
    }
}

fn plain() -> core::TransportSocket {
    wire::transport_socket("envoy.transport_sockets.raw_buffer", &RawBuffer {})
}

fn is_automatic(target: &Target<'_>) -> bool {
    let service = &target.entry.service;
    let index = target.view.index;
    index.mesh().auto_mtls
        && service.location == Location::MeshInternal
        && index.config.peers.of_namespace(service.namespace()) != MtlsMode::Disable
}

fn declared(target: &Target<'_>, client: &ClientTls, findings: &mut Findings) -> Option<core::TransportSocket> {
    match client.mode {
        ClientTlsMode::Disable => None,
        ClientTlsMode::IstioMutual => {
            let sans =
                if client.subject_alt_names.is_empty() { &identities(target) } else { &client.subject_alt_names };
            let sni = if client.sni.is_empty() { &default_sni(target) } else { &client.sni };
            Some(tls::mutual_upstream(&Mutual { sni, sans, http2: target.is_http2() }))
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            if !client.credential_name.is_empty() {
                let object = target.rule_name().unwrap_or_default();
                let message = format!(
                    "credentialName {:?} is not available on this platform yet; name files",
                    client.credential_name
                );
                findings.add(Code::Unsupported, object, message);
            }
            let mut client = client.clone();
            if client.sni.is_empty() && !target.entry.service.host().is_wildcard() {
                client.sni = target.entry.service.host().to_string();
            }
            Some(tls::client(&client, target.is_http2(), target.view.audience.features.system_roots))
        }
    }
}

/// Mutual TLS to endpoints that are marked for it, plaintext to the others.
fn automatic(target: &Target<'_>) -> Vec<TransportSocketMatch> {
    let (sni, sans) = (default_sni(target), identities(target));
    let mutual = tls::mutual_upstream(&Mutual { sni: &sni, sans: &sans, http2: target.is_http2() });
    vec![
        TransportSocketMatch {
            name: "tlsMode-istio".into(),
            r#match: Some(wire::structure([("tlsMode", wire::string("istio"))])),
            transport_socket: Some(mutual),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".into(),
            r#match: Some(Default::default()),
            transport_socket: Some(plain()),
        },
    ]
}

fn default_sni(target: &Target<'_>) -> String {
    names::outbound_sni(target.port.number, subset_name(target.subset), target.entry.service.host().as_str())
}

/// Who may answer for the service: the identities of its endpoints, and the names it declares.
fn identities(target: &Target<'_>) -> Vec<String> {
    let mesh = target.view.index.mesh();
    let workloads =
        target.entry.endpoints.iter().filter(|endpoint| endpoint.tls == TlsMode::Istio).map(|e| &e.workload);
    // Istio, trustDomainAliases: under each name of the trust domain.
    let domains = || std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases);
    let ids = workloads.flat_map(|workload| {
        domains().filter_map(|domain| domain.workload(&workload.namespace, &workload.service_account).ok())
    });
    let mut names: BTreeSet<String> = ids.map(|id| id.to_string()).collect();
    names.extend(target.entry.service.subject_alt_names.iter().cloned());
    names.into_iter().collect()
}
