//! Which chain takes a connection.

use super::super::test_kit;
use super::*;
use crate::config::TransportProtocol;

const HERE: &str = "127.0.0.1:1";

fn chain(name: &str, matches: FilterChainMatch) -> Arc<FilterChain> {
    test_kit::chain(name, matches)
}

fn listener(chains: Vec<Arc<FilterChain>>, default: Option<Arc<FilterChain>>) -> Listener {
    Listener { default_filter_chain: default, ..test_kit::listener(HERE.parse().unwrap(), chains) }
}

fn picked_from(listener: &Listener, [destination, source, direct]: [&str; 3], sniffed: &Sniffed) -> Option<String> {
    let at = |text: &str| text.parse().unwrap();
    let facts = Facts { destination: at(destination), source: at(source), direct_source: at(direct), sniffed };
    pick(listener, &facts).map(|chain| chain.name.clone())
}

fn picked(listener: &Listener, destination: &str, sniffed: &Sniffed) -> Option<String> {
    picked_from(listener, [destination, "10.9.9.9:5000", "10.9.9.9:5000"], sniffed)
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
    let mesh = FilterChainMatch { application_protocols: vec!["istio".into()], ..transport(TransportProtocol::Tls) };
    let listener = listener(
        vec![
            chain("mesh", mesh),
            chain("tls", transport(TransportProtocol::Tls)),
            chain("plain", transport(TransportProtocol::RawBuffer)),
        ],
        None,
    );
    assert_eq!(picked(&listener, HERE, &tls(None, &["istio", "h2"])).as_deref(), Some("mesh"));
    assert_eq!(picked(&listener, HERE, &tls(Some("a"), &["h2"])).as_deref(), Some("tls"));
    assert_eq!(picked(&listener, HERE, &Sniffed::nothing()).as_deref(), Some("plain"));
}

#[test]
fn the_most_specific_name_and_range_win_and_the_default_takes_the_rest() {
    let named = |name: &str| FilterChainMatch { server_names: vec![name.into()], ..Default::default() };
    let range = |range: &str| FilterChainMatch { prefix_ranges: vec![range.parse().unwrap()], ..Default::default() };
    let names = listener(
        vec![chain("wide", named("*.com")), chain("narrow", named("*.a.com")), chain("exact", named("x.a.com"))],
        Some(chain("default", FilterChainMatch::default())),
    );
    let by_name = |name| picked(&names, HERE, &tls(Some(name), &[])).unwrap();
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

#[test]
fn the_protocol_that_the_client_names_first_decides() {
    let speaks =
        |protocol: &str| FilterChainMatch { application_protocols: vec![protocol.into()], ..Default::default() };
    let listener = listener(vec![chain("one", speaks("http/1.1")), chain("two", speaks("h2"))], None);
    assert_eq!(picked(&listener, HERE, &tls(None, &["x", "h2", "http/1.1"])).as_deref(), Some("two"));
    assert_eq!(picked(&listener, HERE, &tls(None, &["http/1.1", "h2"])).as_deref(), Some("one"));
}

#[test]
fn a_source_is_told_by_its_kind_by_its_peer_and_by_what_the_peer_says() {
    let range = |text: &str| vec![text.parse().unwrap()];
    let kind = |source_type| FilterChainMatch { source_type, ..Default::default() };
    let kinds = listener(
        vec![chain("here", kind(SourceType::SameIpOrLoopback)), chain("out", kind(SourceType::External))],
        None,
    );
    let by_kind = |source| picked_from(&kinds, ["10.0.0.1:80", source, source], &Sniffed::nothing()).unwrap();
    assert_eq!(
        [by_kind("127.0.0.9:5"), by_kind("[::1]:5"), by_kind("10.0.0.1:5"), by_kind("10.0.0.2:5")],
        ["here", "here", "here", "out"]
    );
    let direct = FilterChainMatch { direct_source_prefix_ranges: range("192.0.2.0/24"), ..Default::default() };
    let source = FilterChainMatch { source_prefix_ranges: range("198.51.100.0/24"), ..Default::default() };
    let proxied = listener(vec![chain("balancer", direct), chain("client", source)], None);
    let by_both = |source, direct| picked_from(&proxied, [HERE, source, direct], &Sniffed::nothing());
    assert_eq!(by_both("198.51.100.1:5", "192.0.2.1:5").as_deref(), Some("balancer"));
    assert_eq!(by_both("198.51.100.1:5", "203.0.113.1:5").as_deref(), Some("client"));
    assert_eq!(by_both("203.0.113.1:5", "203.0.113.1:5"), None);
}

#[test]
fn chains_that_share_a_value_in_each_condition_overlap() {
    let named = |names: &[&str], port| FilterChainMatch {
        server_names: names.iter().map(|name| (*name).to_owned()).collect(),
        destination_port: port,
        ..Default::default()
    };
    assert!(named(&["a", "b"], None).overlaps(&named(&["b", "c"], None)));
    assert!(!named(&["a"], None).overlaps(&named(&["b"], None)));
    assert!(!named(&["a"], None).overlaps(&named(&[], None)));
    assert!(!named(&["a"], Some(1)).overlaps(&named(&["a"], Some(2))));
}
