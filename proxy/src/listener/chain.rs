//! Which filter chain takes a connection (Envoy `FilterChainMatch`): criteria are looked at one after another, and at
//! each one the most specific match stays while the rest is dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::sniff::Sniffed;
use crate::config::{FilterChain, FilterChainMatch, Listener, SourceType};

/// What is known of a connection when its chain is picked.
#[derive(Debug)]
pub struct Facts<'a> {
    pub destination: SocketAddr,
    pub source: SocketAddr,
    /// The peer of the socket, which differs from the source behind a PROXY protocol header.
    pub direct_source: SocketAddr,
    pub sniffed: &'a Sniffed,
}

/// The chain for a connection; `None` if there is none, and then it is closed.
pub fn pick<'a>(listener: &'a Listener, facts: &Facts<'_>) -> Option<&'a Arc<FilterChain>> {
    let mut left: SmallVec<[&Arc<FilterChain>; 16]> = listener.filter_chains.iter().collect();
    for rank in RANKS {
        let best = left.iter().filter_map(|chain| rank(&chain.matches, facts)).max();
        left.retain(|chain| best.is_some() && rank(&chain.matches, facts) == best);
    }
    left.first().copied().or(listener.default_filter_chain.as_ref())
}

type Rank = fn(&FilterChainMatch, &Facts<'_>) -> Option<usize>;

/// In Envoy's order.
const RANKS: [Rank; 9] = [
    by_port,
    by_destination,
    by_server_name,
    by_transport,
    by_application,
    by_direct_source,
    by_source_type,
    by_source,
    by_source_port,
];

// Each gives how specific a match is: 0 where the chain does not ask, `None` where it asks for something else.

fn by_port(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    match matches.destination_port {
        None => Some(0),
        Some(port) => (port == facts.destination.port()).then_some(1),
    }
}

fn longest_prefix(ranges: &[ipnet::IpNet], address: std::net::IpAddr) -> Option<usize> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges.iter().filter(|range| range.contains(&address)).map(|range| usize::from(range.prefix_len()) + 1).max()
}

fn by_destination(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    longest_prefix(&matches.prefix_ranges, facts.destination.ip())
}

fn by_source(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    longest_prefix(&matches.source_prefix_ranges, facts.source.ip())
}

fn by_direct_source(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    longest_prefix(&matches.direct_source_prefix_ranges, facts.direct_source.ip())
}

fn by_source_type(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    let source = facts.source.ip();
    let here = source.to_canonical().is_loopback() || source == facts.destination.ip();
    match matches.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => here.then_some(1),
        SourceType::External => (!here).then_some(1),
    }
}

fn by_source_port(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    if matches.source_ports.is_empty() {
        return Some(0);
    }
    matches.source_ports.contains(&facts.source.port()).then_some(1)
}

fn by_server_name(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    if matches.server_names.is_empty() {
        return Some(0);
    }
    let asked = facts.sniffed.server_name.as_deref()?;
    let specific = |name: &String| match name.strip_prefix('*') {
        Some(suffix) => (asked.len() > suffix.len() && asked.ends_with(suffix)).then_some(suffix.len()),
        None => (name == asked).then_some(usize::MAX),
    };
    matches.server_names.iter().filter_map(specific).max()
}

fn by_transport(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    match matches.transport_protocol {
        None => Some(0),
        Some(transport) => (transport == facts.sniffed.transport).then_some(1),
    }
}

fn by_application(matches: &FilterChainMatch, facts: &Facts<'_>) -> Option<usize> {
    if matches.application_protocols.is_empty() {
        return Some(0);
    }
    // Of several that are offered, the client's first decides.
    let offered = &facts.sniffed.application_protocols;
    let first = offered.iter().position(|protocol| matches.application_protocols.contains(protocol))?;
    Some(usize::MAX - first)
}

#[cfg(test)]
mod tests;
