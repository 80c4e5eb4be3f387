//! Keys that the proxy fetches itself: over the cluster of a service that the mesh knows, else over one of its own.

use super::*;

use api::envoy::config::endpoint::v3 as endpoint;
use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use galley::kinds::{ClientTls, ClientTlsMode};
use registry::{Address, Entry, Provenance};
use std::net::{IpAddr, SocketAddr};

use crate::{endpoints, tls};

impl Sources<'_> {
    /// Keys that cannot be had are no keys: all tokens of the issuer are refused, and the operator is told why.
    pub(super) fn keys(&mut self, keys: &JwtKeys, rule: &JwtRule, object: &str) -> JwksSourceSpecifier {
        let uri = match keys {
            JwtKeys::Inline(set) => return JwksSourceSpecifier::LocalJwks(wire::inline(set)),
            JwtKeys::Fetched(uri) => uri,
        };
        if let Some(why) = self.unfit(uri) {
            let message =
                format!("jwksUri {:?} {why}. Until then the tokens of {:?} are refused", uri.uri, rule.issuer);
            self.findings.add(Code::Unsupported, object, message);
            return JwksSourceSpecifier::LocalJwks(wire::inline(r#"{"keys":[]}"#));
        }
        let cluster = self.known(uri).unwrap_or_else(|| self.own(uri));
        let timeout = rule.timeout.map(wire::duration);
        let timeout = timeout.unwrap_or(prost_types::Duration { seconds: TIMEOUT_SECONDS, nanos: 0 });
        JwksSourceSpecifier::RemoteJwks(jwt::RemoteJwks {
            http_uri: Some(core::HttpUri {
                uri: uri.uri.clone(),
                timeout: Some(timeout),
                http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
            }),
            cache_duration: Some(prost_types::Duration { seconds: CACHED_SECONDS, nanos: 0 }),
            ..Default::default()
        })
    }

    /// Why keys are not fetched from an address.
    fn unfit(&self, uri: &KeysUri) -> Option<String> {
        let address: IpAddr = uri.host.parse().ok()?;
        if uri.tls {
            return Some("names an address, which no certificate is checked against; name a host".into());
        }
        let permitted = self.view.index.mesh().keys_from.permits(SocketAddr::new(address, uri.port));
        (!permitted).then(|| {
            format!(
                "is an address of the machine itself, at which each proxy would ask its own; name a host, or start the \
                 control plane with --allow-jwks-address {address}"
            )
        })
    }

    /// A service of the mesh that has the port, whose cluster is there already.
    fn known(&self, uri: &KeysUri) -> Option<String> {
        let entry = self.view.named(&uri.host.to_ascii_lowercase())?;
        let service = &entry.service;
        // What is to be TLS end to end is not the mesh's to end.
        let port = service.ports.iter().find(|port| port.number == uri.port && !uri.tls)?;
        // Whoever may change traffic says nothing of who vouches for callers.
        if !self.is_fit(entry) || !is_genuine(entry, self.view.index.mesh()) {
            return None;
        }
        Some(names::outbound_cluster(port.number, "", service.host().as_str()))
    }

    /// Whoever writes a ServiceEntry says himself where it leads: such a service counts only if it is nowhere that keys
    /// may not be fetched from.
    fn is_fit(&self, entry: &Entry) -> bool {
        let reach = &self.view.index.mesh().keys_from;
        entry.endpoints.iter().filter(|endpoint| &*endpoint.provenance.registry == Provenance::DECLARED).all(
            |endpoint| matches!(endpoint.address, Address::Ip(ip) if reach.permits(SocketAddr::new(ip, endpoint.port))),
        )
    }

    /// The names that stand for addresses are somebody else's: the proxy looks at what they stand for.
    fn limits(&self) -> prost_types::Struct {
        let reach = &self.view.index.mesh().keys_from;
        let allowed = reach.allowed.iter().map(|range| wire::string(range.to_string())).collect();
        let refused = reach.refused.iter().map(|address| wire::string(address.to_string())).collect();
        wire::structure([("allowed", wire::list(allowed)), ("refused", wire::list(refused))])
    }

    fn own(&mut self, uri: &KeysUri) -> String {
        let name = format!("jwks|{}|{}|{}", uri.port, if uri.tls { "https" } else { "http" }, uri.host);
        let known = self.clusters.contains_key(&name);
        if !known {
            let cluster = self.cluster(&name, uri);
            self.clusters.insert(name.clone(), cluster);
        }
        name
    }

    fn cluster(&self, name: &str, uri: &KeysUri) -> cluster::Cluster {
        let is_address = uri.host.parse::<IpAddr>().is_ok();
        let discovery = if is_address { DiscoveryType::Static } else { DiscoveryType::StrictDns };
        let address = wire::socket_address(&uri.host, uri.port);
        let locality =
            endpoint::LocalityLbEndpoints { lb_endpoints: vec![endpoints::at(address)], ..Default::default() };
        let mut made = cluster::Cluster {
            name: name.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery as i32)),
            load_assignment: Some(endpoint::ClusterLoadAssignment {
                cluster_name: name.to_owned(),
                endpoints: vec![locality],
                ..Default::default()
            }),
            metadata: wire::metadata([("weft.reach", self.limits())]),
            ..Default::default()
        };
        clusters::limits(None, &mut made);
        if !is_address {
            clusters::refresh_by_ttl(&mut made);
        }
        if uri.tls {
            let host = uri.host.clone();
            let client = ClientTls {
                mode: ClientTlsMode::Simple,
                sni: host.clone(),
                subject_alt_names: vec![host],
                ..Default::default()
            };
            made.transport_socket = Some(tls::client(&client, false, self.node.features.system_roots));
        }
        made
    }
}
