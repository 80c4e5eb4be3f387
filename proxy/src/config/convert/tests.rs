//! Resources as a control plane sends them: what they become, and how they are refused.

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::filters::http::router::v3::Router;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use proptest::prelude::*;

use super::*;
use crate::config::{Choices, Discovery, HealthStatus, LbPolicy, NetworkFilter, RouteSource};

fn no_file(_: &str) -> io::Result<Vec<u8>> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn ads() -> core::ConfigSource {
    let specifier = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    core::ConfigSource { config_source_specifier: Some(specifier), ..Default::default() }
}

fn address(ip: &str, port: u32) -> core::Address {
    let port_specifier = Some(core::socket_address::PortSpecifier::PortValue(port));
    let socket = core::SocketAddress { address: ip.into(), port_specifier, ..Default::default() };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

fn manager() -> http::HttpConnectionManager {
    use http::http_connection_manager::RouteSpecifier;
    http::HttpConnectionManager {
        stat_prefix: "s".into(),
        http_filters: vec![http::HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(http::http_filter::ConfigType::TypedConfig(api::any(&Router::default()))),
            ..Default::default()
        }],
        route_specifier: Some(RouteSpecifier::Rds(http::Rds {
            config_source: Some(ads()),
            route_config_name: "http_proxy".into(),
        })),
        ..Default::default()
    }
}

fn listener_with(manager: &http::HttpConnectionManager) -> lds::Listener {
    let filter =
        lds::Filter { name: "hcm".into(), config_type: Some(lds::filter::ConfigType::TypedConfig(api::any(manager))) };
    lds::Listener {
        name: "http_proxy".into(),
        address: Some(address("127.0.10.11", 15088)),
        filter_chains: vec![lds::FilterChain { filters: vec![filter], ..Default::default() }],
        ..Default::default()
    }
}

#[test]
fn a_listener_gets_envoys_defaults() {
    let listener = listener(&listener_with(&manager()), &no_file).unwrap();
    assert_eq!(listener.address, "127.0.10.11:15088".parse().unwrap());
    let NetworkFilter::Http(manager) = &listener.filter_chains[0].filter else { panic!("speaks HTTP") };
    assert_eq!(manager.routes, RouteSource::Rds("http_proxy".into()));
    assert_eq!(manager.stream_idle_timeout.as_secs(), 300);
    assert!(manager.generate_request_id && !manager.use_remote_address);
}

#[test]
fn a_field_that_is_not_honoured_is_refused_by_its_path() {
    let mut manager = manager();
    manager.proxy_100_continue = true;
    let error = listener(&listener_with(&manager), &no_file).unwrap_err();
    assert_eq!(error.path, "listener.filter_chains[0].filters[0].typed_config.proxy_100_continue");
    assert!(error.rule.ends_with("HttpConnectionManager.proxy_100_continue is not supported"), "{error}");
    let mut wire = listener_with(&self::manager());
    wire.enable_mptcp = true;
    assert_eq!(listener(&wire, &no_file).unwrap_err().path, "listener.enable_mptcp");
}

#[test]
fn a_filter_that_is_not_known_is_refused() {
    let mut manager = manager();
    manager.http_filters.insert(
        0,
        http::HttpFilter {
            name: "envoy.filters.http.grpc_stats".into(),
            config_type: Some(http::http_filter::ConfigType::TypedConfig(api::prost_types::Any {
                type_url: "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua".into(),
                value: Vec::new(),
            })),
            ..Default::default()
        },
    );
    let error = listener(&listener_with(&manager), &no_file).unwrap_err();
    assert_eq!(error.path, "listener.filter_chains[0].filters[0].typed_config.http_filters[0].typed_config");
}

fn cluster_wire() -> cds::Cluster {
    use cds::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    cds::Cluster {
        name: "outbound|9080||reviews.default.svc.cluster.local".into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), service_name: String::new() }),
        lb_policy: cds::cluster::LbPolicy::LeastRequest as i32,
        ..Default::default()
    }
}

#[test]
fn clusters_and_their_policies() {
    let wire = cluster_wire();
    let made = cluster(&wire, &no_file).unwrap();
    assert_eq!(made.discovery, Discovery::Eds { service_name: wire.name.clone() });
    let least = LbPolicy::LeastRequest { choices: Choices::Some(2), bias: 1.0, slow_start: None };
    assert_eq!(made.lb_policy, least);
    assert_eq!((made.panic_threshold, made.circuit_breakers.max_requests), (50.0, 1024));
    let provided = cds::Cluster { lb_policy: cds::cluster::LbPolicy::ClusterProvided as i32, ..wire };
    let error = cluster(&provided, &no_file).unwrap_err();
    assert!(error.to_string().starts_with("cluster.lb_policy: 6: CLUSTER_PROVIDED is the policy of "), "{error}");
}

#[test]
fn endpoints_carry_who_they_are() {
    use api::prost_types::{Struct, Value, value::Kind};
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = |key: &str, value: &str| Struct { fields: [(key.to_owned(), text(value))].into() };
    let filter_metadata = [
        ("istio".to_owned(), fields("workload", "reviews-v1;default;reviews;v1;weft")),
        ("envoy.transport_socket_match".to_owned(), fields("tlsMode", "istio")),
    ];
    let host = eds::LbEndpoint {
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(eds::Endpoint {
            address: Some(address("127.0.10.13", 9080)),
            ..Default::default()
        })),
        metadata: Some(core::Metadata { filter_metadata: filter_metadata.into(), ..Default::default() }),
        ..Default::default()
    };
    let group = eds::LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() };
    let wire = eds::ClusterLoadAssignment { cluster_name: "c".into(), endpoints: vec![group], ..Default::default() };
    let made = load_assignment(&wire).unwrap();
    let endpoint = &made.localities[0].endpoints[0];
    assert!(endpoint.health == HealthStatus::Healthy && endpoint.weight == 1);
    assert_eq!(endpoint.transport_labels.get("tlsMode"), Some("istio"));
    let workload = endpoint.workload.as_ref().unwrap();
    assert_eq!((workload.name.as_str(), workload.canonical_revision.as_str()), ("reviews-v1", "v1"));
}

#[test]
fn a_domain_belongs_to_one_virtual_host() {
    let host = |name: &str| rds::VirtualHost { name: name.into(), domains: vec!["a".into()], ..Default::default() };
    let wire = rds::RouteConfiguration { virtual_hosts: vec![host("x"), host("y")], ..Default::default() };
    assert_eq!(route_table(&wire).unwrap_err().path, "route_config.virtual_hosts[1].domains");
}

#[test]
fn files_are_read_at_once_and_named_when_they_cannot_be() {
    let file = |name: &str| {
        let specifier = core::data_source::Specifier::Filename(name.to_owned());
        Some(core::DataSource { specifier: Some(specifier), ..Default::default() })
    };
    let certificate =
        sds::TlsCertificate { certificate_chain: file("/c.pem"), private_key: file("/k.pem"), ..Default::default() };
    let wire = sds::Secret { name: "s".into(), r#type: Some(sds::secret::Type::TlsCertificate(certificate)) };
    let read = |path: &str| Ok(path.as_bytes().to_vec());
    let expected = Secret::Certificate { chain: b"/c.pem".to_vec(), key: b"/k.pem".to_vec() };
    assert_eq!(secret(&wire, &read).unwrap(), expected);
    let error = secret(&wire, &no_file).unwrap_err();
    assert_eq!(
        (error.path.as_str(), error.value.as_str()),
        ("secret.tls_certificate.certificate_chain.filename", "/c.pem")
    );
}

proptest! {
    #[test]
    fn any_bytes_convert_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        use api::prost::Message;
        if let Ok(wire) = rds::RouteConfiguration::decode(bytes.as_slice()) {
            let _ = route_table(&wire);
        }
        if let Ok(wire) = lds::Listener::decode(bytes.as_slice()) {
            let _ = listener(&wire, &no_file);
        }
        let mut wire = listener_with(&manager());
        if let Some(lds::filter::ConfigType::TypedConfig(any)) = &mut wire.filter_chains[0].filters[0].config_type {
            any.value.extend_from_slice(&bytes);
        }
        let _ = listener(&wire, &no_file);
    }
}
