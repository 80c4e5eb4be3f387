//! Which TLS a cluster's connections use: what the rule says, else the mesh's mutual TLS to every endpoint that
//! speaks it (Istio, auto mTLS).

use std::collections::BTreeSet;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use cluster::cluster::TransportSocketMatch;
use galley::kinds::{ClientTls, ClientTlsMode, MtlsMode};
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
                let meta = target.rule.map(|rule| &rule.meta);
                let object =
                    meta.map_or_else(String::new, |meta| format!("DestinationRule {}/{}", meta.namespace, meta.name));
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
    let plain = wire::transport_socket("envoy.transport_sockets.raw_buffer", &RawBuffer {});
    vec![
        TransportSocketMatch {
            name: "tlsMode-istio".into(),
            r#match: Some(wire::structure([("tlsMode", wire::string("istio"))])),
            transport_socket: Some(mutual),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".into(),
            r#match: Some(Default::default()),
            transport_socket: Some(plain),
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
