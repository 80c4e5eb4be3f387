//! Connections that come in: those to the workload's ports go to their chains, those to other ports to whoever listens
//! there. PeerAuthentication holds for both.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use galley::kinds::MtlsMode;

use super::{INBOUND_PORT, SILENCE, end_of_loops, everywhere, source};
use crate::listener::{RAW, TLS, chain_for, original_dst, tcp_proxy, tls_inspector};
use crate::node::{Capture, Interception, Node};
use crate::policy::Guard;
use crate::visibility::View;
use crate::{names, tls, wire};

/// The clusters of ports that are no service's.
pub(crate) fn passthrough_clusters(capture: Capture) -> impl Iterator<Item = cluster::Cluster> {
    families(capture).map(move |ipv6| {
        let any: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut made = super::passthrough(names::inbound_passthrough(ipv6));
        made.upstream_bind_config = source(any, capture);
        made
    })
}

/// Whether it is IPv6, of each family that is captured.
fn families(capture: Capture) -> impl Iterator<Item = bool> {
    [false, true].into_iter().filter(move |ipv6| !ipv6 || capture.ipv6)
}

/// The listener of all that comes in; `chains` are those of the ports that are `served`.
pub(crate) fn virtual_inbound(
    view: &View<'_>,
    node: &Node,
    capture: Capture,
    mut chains: Vec<listener::FilterChain>,
    served: &BTreeSet<u16>,
    guard: &Guard,
) -> listener::Listener {
    let peers = &view.index.config.peers;
    let others = Others { view, capture, guard };
    let unserved = peers.named_ports(&node.namespace, &node.labels).filter(|port| !served.contains(port));
    for port in unserved.filter(|port| *port != INBOUND_PORT) {
        let mode = peers.of_port(&node.namespace, &node.labels, port);
        chains.extend(to_port(port, others.chains(&format!("{}-{port}", names::VIRTUAL_INBOUND), mode)));
    }
    let mode = peers.of_other_ports(&node.namespace, &node.labels);
    chains.extend(others.chains(names::VIRTUAL_INBOUND, mode));
    chains.push(end_of_loops(view, true, names::VIRTUAL_INBOUND, INBOUND_PORT));
    let direction = core::TrafficDirection::Inbound;
    listener::Listener {
        filter_chains: chains,
        listener_filters: vec![original_dst(), tls_inspector()],
        listener_filters_timeout: Some(wire::duration(SILENCE)),
        continue_on_listener_filters_timeout: true,
        transparent: (capture.interception == Interception::Tproxy).then_some(true),
        ..everywhere(names::VIRTUAL_INBOUND, INBOUND_PORT, capture, direction)
    }
}

/// Chains only for what was meant for a port.
pub(crate) fn to_port(port: u16, mut chains: Vec<listener::FilterChain>) -> Vec<listener::FilterChain> {
    for chain in &mut chains {
        chain.filter_chain_match.get_or_insert_default().destination_port = Some(port.into());
    }
    chains
}

/// What is common to the ports that are no service's.
struct Others<'a> {
    view: &'a View<'a>,
    capture: Capture,
    guard: &'a Guard,
}

impl Others<'_> {
    fn chains(&self, name: &str, mode: MtlsMode) -> Vec<listener::FilterChain> {
        let chains = families(self.capture).flat_map(|ipv6| self.of_family(name, mode, ipv6));
        self.guard.before(chains.collect())
    }

    /// As for services that are not of HTTP: mutual TLS, TLS of the application's own, plaintext.
    fn of_family(&self, name: &str, mode: MtlsMode, ipv6: bool) -> Vec<listener::FilterChain> {
        let mesh = self.view.index.mesh();
        let cluster = names::inbound_passthrough(ipv6);
        let family = if ipv6 { "-ipv6" } else { "" };
        let make = |kind: &str, transport: &str, alpn: &[&str], socket: Option<core::TransportSocket>| {
            let filter = tcp_proxy(self.view, true, cluster, vec![(cluster.to_owned(), 1)]);
            let mut chain = chain_for(format!("{name}-{kind}{family}"), transport, alpn, filter, socket);
            let any = if ipv6 { "::" } else { "0.0.0.0" };
            let range = core::CidrRange { address_prefix: any.into(), prefix_len: Some(0) };
            chain.filter_chain_match.get_or_insert_default().prefix_ranges = vec![range];
            chain
        };
        let mutual = |alpn: &[&str]| make("mtls", TLS, alpn, Some(tls::mutual_downstream(mesh)));
        let (plain, opaque) = (|| make("plain", RAW, &[], None), || make("tls", TLS, &[], None));
        match mode {
            MtlsMode::Strict => vec![mutual(&[])],
            // Callers that were not yet told to leave mutual TLS go on until they are.
            MtlsMode::Disable | MtlsMode::Permissive | MtlsMode::Unset => {
                vec![mutual(&tls::ISTIO_ALPN), opaque(), plain()]
            }
        }
    }
}
