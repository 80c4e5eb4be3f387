//! Which filter chain takes a connection (Envoy `FilterChainMatch`): criteria are looked at one after another, and at
//! each one the most specific match stays while the rest is dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use super::sniff::Sniffed;
use crate::config::{FilterChain, FilterChainMatch, Listener};

/// What is known of a connection when its chain is picked.
#[derive(Debug)]
pub struct Facts<'a> {
    pub destination: SocketAddr,
    pub source: SocketAddr,
    pub sniffed: &'a Sniffed,
}

/// The chain for a connection; `None` if there is none, and then it is closed.
pub fn pick<'a>(listener: &'a Listener, facts: &Facts<'_>) -> Option<&'a Arc<FilterChain>> {
    let mut left: Vec<&Arc<FilterChain>> = listener.filter_chains.iter().collect();
    for rank in [by_port, by_destination, by_server_name, by_transport, by_application, by_source, by_source_port] {
        let best = left.iter().filter_map(|chain| rank(&chain.matches, facts)).max();
        left.retain(|chain| best.is_some() && rank(&chain.matches, facts) == best);
    }
    left.first().copied().or(listener.default_filter_chain.as_ref())
}

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
    let offered = |protocol| facts.sniffed.application_protocols.contains(protocol);
    matches.application_protocols.iter().any(offered).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterChoice, Direction, NetworkFilter, TcpProxy, TransportProtocol};
    use std::time::Duration;

    fn chain(name: &str, matches: FilterChainMatch) -> Arc<FilterChain> {
        let proxy = TcpProxy {
            stat_prefix: String::new(),
            cluster: ClusterChoice::One("c".into()),
            idle_timeout: Duration::ZERO,
            access_logs: vec![],
        };
        Arc::new(FilterChain { name: name.into(), matches, tls: None, filter: NetworkFilter::Tcp(Arc::new(proxy)) })
    }

    fn listener(chains: Vec<Arc<FilterChain>>, default: Option<Arc<FilterChain>>) -> Listener {
        Listener {
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            direction: Direction::Inbound,
            filter_chains: chains,
            default_filter_chain: default,
            tls_inspector: true,
            http_inspector: true,
            listener_filters_timeout: Duration::ZERO,
            continue_on_listener_filters_timeout: false,
            access_logs: vec![],
            backlog: None,
        }
    }

    fn picked(listener: &Listener, destination: &str, sniffed: &Sniffed) -> Option<String> {
        let facts =
            Facts { destination: destination.parse().unwrap(), source: "10.9.9.9:5000".parse().unwrap(), sniffed };
        pick(listener, &facts).map(|chain| chain.name.clone())
    }

    fn tls(server_name: Option<&str>, protocols: &[&str]) -> Sniffed {
        Sniffed {
            transport: TransportProtocol::Tls,
            server_name: server_name.map(str::to_owned),
            application_protocols: protocols.iter().map(|p| (*p).to_owned()).collect(),
        }
    }

    #[test]
    fn permissive_chains_tell_mesh_tls_from_plaintext_and_from_the_applications_own_tls() {
        let transport = |transport| FilterChainMatch { transport_protocol: Some(transport), ..Default::default() };
        let mesh =
            FilterChainMatch { application_protocols: vec!["istio".into()], ..transport(TransportProtocol::Tls) };
        let listener = listener(
            vec![
                chain("mesh", mesh),
                chain("tls", transport(TransportProtocol::Tls)),
                chain("plain", transport(TransportProtocol::RawBuffer)),
            ],
            None,
        );
        let at = "127.0.0.1:1";
        assert_eq!(picked(&listener, at, &tls(None, &["istio", "h2"])).as_deref(), Some("mesh"));
        assert_eq!(picked(&listener, at, &tls(Some("a"), &["h2"])).as_deref(), Some("tls"));
        assert_eq!(picked(&listener, at, &Sniffed::nothing()).as_deref(), Some("plain"));
    }

    #[test]
    fn the_most_specific_name_and_range_win_and_the_default_takes_the_rest() {
        let named = |name: &str| FilterChainMatch { server_names: vec![name.into()], ..Default::default() };
        let range =
            |range: &str| FilterChainMatch { prefix_ranges: vec![range.parse().unwrap()], ..Default::default() };
        let names = listener(
            vec![chain("wide", named("*.com")), chain("narrow", named("*.a.com")), chain("exact", named("x.a.com"))],
            Some(chain("default", FilterChainMatch::default())),
        );
        let by_name = |name| picked(&names, "127.0.0.1:1", &tls(Some(name), &[])).unwrap();
        assert_eq!(
            [by_name("b.com"), by_name("y.a.com"), by_name("x.a.com"), by_name("com")],
            ["wide", "narrow", "exact", "default"]
        );
        let ranges = listener(vec![chain("10/8", range("10.0.0.0/8")), chain("10.1/16", range("10.1.0.0/16"))], None);
        let by_range = |address| picked(&ranges, address, &Sniffed::nothing());
        assert_eq!(by_range("10.1.2.3:80").as_deref(), Some("10.1/16"));
        assert_eq!(by_range("10.2.2.3:80").as_deref(), Some("10/8"));
        assert_eq!(by_range("11.2.2.3:80"), None);
    }
}
