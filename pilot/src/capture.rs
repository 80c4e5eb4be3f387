//! What a sidecar needs beyond its services where the machine's connections are captured: the two listeners that all of
//! them come to, and a way on for those that are nobody's of the mesh (Istio, `virtualOutbound` and `virtualInbound`).

mod held;
mod inbound;
mod outbound;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::config::endpoint::v3 as endpoint;
use api::envoy::config::listener::v3 as listener;
use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};

pub(crate) use self::inbound::{passthrough_clusters, to_port, virtual_inbound};
pub(crate) use self::outbound::compile as outbound;
use crate::listener::{chain, tcp_proxy};
use crate::node::Capture;
use crate::visibility::View;
use crate::{clusters, names, wire};

/// Where captured connections that go out come to.
const OUTBOUND_PORT: u16 = 15001;
/// Where captured connections that come in come to.
const INBOUND_PORT: u16 = 15006;
/// How long a connection may be silent until it is taken for one whose server speaks first.
const SILENCE: Duration = Duration::from_secs(5);

/// The address from which the proxy speaks to its own application, by which the machine's rules let it through
/// (Istio, `InboundPassthroughBindIpv4`). `None` where that family is not captured.
pub(crate) fn source(target: IpAddr, capture: Capture) -> Option<core::BindConfig> {
    let address: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::new(127, 0, 0, 6).into(),
        IpAddr::V6(_) if capture.ipv6 => Ipv6Addr::from(6).into(),
        IpAddr::V6(_) => return None,
    };
    let port = Some(core::socket_address::PortSpecifier::PortValue(0));
    let source = core::SocketAddress { address: address.to_string(), port_specifier: port, ..Default::default() };
    Some(core::BindConfig { source_address: Some(source), ..Default::default() })
}

/// A listener that is handed connections, or binds, on all addresses of the captured families.
fn everywhere(name: &str, port: u16, capture: Capture, direction: core::TrafficDirection) -> listener::Listener {
    at([Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()], name, port, capture, direction)
}

fn at(
    [ipv4, ipv6]: [IpAddr; 2],
    name: &str,
    port: u16,
    capture: Capture,
    direction: core::TrafficDirection,
) -> listener::Listener {
    let mut made = crate::listener::listener(name.to_owned(), ipv4, port, direction, Vec::new());
    if capture.ipv6 {
        let address = Some(wire::socket_address(&ipv6.to_string(), port));
        made.additional_addresses = vec![listener::AdditionalAddress { address, ..Default::default() }];
    }
    made
}

/// Connections that were meant for one of our own ports would come back for ever.
fn end_of_loops(view: &View<'_>, server: bool, name: &str, port: u16) -> listener::FilterChain {
    let filter = tcp_proxy(view, server, names::BLACK_HOLE, vec![(names::BLACK_HOLE.to_owned(), 1)]);
    let chain = chain(format!("{name}-blackhole"), filter);
    let matches = listener::FilterChainMatch { destination_port: Some(port.into()), ..Default::default() };
    listener::FilterChain { filter_chain_match: Some(matches), ..chain }
}

/// A cluster without a member.
fn black_hole() -> cluster::Cluster {
    let mut made = cluster::Cluster {
        name: names::BLACK_HOLE.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: names::BLACK_HOLE.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    clusters::limits(None, &mut made);
    made
}

/// A cluster that is wherever a connection was meant to go.
fn passthrough(name: &str) -> cluster::Cluster {
    let mut made = cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        metadata: if name == names::PASSTHROUGH { wire::metadata([("istio", clusters::outside())]) } else { None },
        ..Default::default()
    };
    clusters::limits(None, &mut made);
    made.typed_extension_protocol_options.extend([clusters::as_downstream()]);
    made
}
