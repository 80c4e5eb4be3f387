//! Connections that begin with a PROXY protocol header.

use super::*;
use crate::proxy_protocol::{Addresses, write_2};

fn filter(more: &str) -> String {
    let kind = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
    format!("listener_filters: [{{name: p, typed_config: {{'@type': {kind}, {more}}}}}],")
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 80\r\n";

#[tokio::test]
async fn a_header_tells_who_the_client_is_and_the_peer_stays_known() {
    let address = free();
    let plane = start(&[listener("l", address, &filter(""))]).await;
    assert_eq!(answer(address, LINE).await, "l 198.51.100.2:80 192.0.2.1:1000 127.0.0.1");
    let six = Addresses { source: "[2001:db8::1]:7".parse().unwrap(), destination: "[2001:db8::2]:8".parse().unwrap() };
    let header = write_2(Some(six), &[(0xea, vec![0xff; 60_000])]).unwrap();
    assert_eq!(answer(address, &header).await, "l [2001:db8::2]:8 [2001:db8::1]:7 127.0.0.1");
    for own in [write_2(None, &[]).unwrap(), b"PROXY UNKNOWN\r\n".to_vec()] {
        let told = answer(address, &own).await;
        assert!(told.starts_with(&format!("l {address} 127.0.0.1:")), "{told}");
    }
    plane.stop();
}

#[tokio::test]
async fn what_is_no_header_is_refused_unless_it_may_be_missing() {
    let (strict, lenient, second) = (free(), free(), free());
    let plane = start(&[
        listener("strict", strict, &filter("")),
        listener("lenient", lenient, &filter("allow_requests_without_proxy_protocol: true")),
        listener("second", second, &filter("disallowed_versions: [V1]")),
    ])
    .await;
    assert_eq!(answer(strict, b"").await, "");
    assert_eq!(answer(strict, b"PROXY TCP4 nonsense\r\n").await, "");
    assert_eq!(answer(second, LINE).await, "");
    assert!(answer(lenient, b"").await.starts_with("lenient "));
    assert!(answer(lenient, LINE).await.starts_with("lenient 198.51.100.2:80 "));
    assert_eq!(answer(lenient, b"PROXY TCP4 nonsense\r\n").await, "");
    let metrics = plane.stats.exposition();
    for (address, errors) in [(strict, 2), (second, 1), (lenient, 1)] {
        let name = address.to_string().replace(':', "_");
        let line =
            format!("envoy_listener_downstream_cx_proxy_proto_error{{envoy_listener_address=\"{name}\"}} {errors}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    plane.stop();
}

#[tokio::test]
async fn a_header_that_does_not_come_whole_ends_the_connection_in_time() {
    let address = free();
    let plane = start(&[listener("l", address, &format!("listener_filters_timeout: 0.05s, {}", filter("")))]).await;
    for first in [&LINE[..20], &write_2(None, &[]).unwrap()[..14]] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(first).await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
    let name = address.to_string().replace(':', "_");
    let line = format!("downstream_pre_cx_timeout{{envoy_listener_address=\"{name}\"}} 2\n");
    assert!(plane.stats.exposition().contains(&line));
    plane.stop();
}

#[tokio::test]
async fn inspectors_and_chains_see_what_follows_the_header() {
    let address = free();
    let http = "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
    let filters = filter("").replace("}}],", &format!("}}}}, {{name: h, typed_config: {{'@type': {http}}}}}],"));
    let chains = "filter_chains: [{filter_chain_match: {application_protocols: [http/1.1], source_prefix_ranges:
                  [{address_prefix: 192.0.2.0, prefix_len: 24}], destination_port: 80}, filters:";
    let listener = listener("l", address, &filters).replace("filter_chains: [{filters:", chains);
    let plane = start(&[listener]).await;
    assert!(answer(address, LINE).await.starts_with("l 198.51.100.2:80 "));
    assert_eq!(answer(address, b"PROXY TCP4 192.0.3.1 198.51.100.2 1000 80\r\n").await, "");
    plane.stop();
}
