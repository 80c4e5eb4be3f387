//! What resources wait for, and what is in force meanwhile.

use api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use api::envoy::config::core::v3::{ApiVersion, ConfigSource, config_source::ConfigSourceSpecifier};
use api::prost_types::Any;

use super::*;

fn resource(name: &str, value: Vec<u8>) -> Resource {
    Resource { name: name.into(), resource: Some(Any { type_url: String::new(), value }), ..Default::default() }
}

fn eds_cluster(name: &str, service_name: &str) -> Resource {
    let source = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(Default::default())),
        resource_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    };
    let eds = EdsClusterConfig { eds_config: Some(source), service_name: service_name.into() };
    let cluster = cds::Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(eds),
        ..Default::default()
    };
    resource(name, cluster.encode_to_vec())
}

fn endpoint(name: &str) -> Key {
    (Kind::Endpoint, name.to_owned())
}

fn is_complete(resources: &Resources) -> bool {
    resources.missing().is_empty()
}

#[test]
fn what_was_refused_or_never_comes_is_not_waited_for() {
    let mut resources = Resources::default();
    resources.insert(Kind::Cluster, eds_cluster("a", ""), Origin::Ads).unwrap();
    assert!(!is_complete(&resources));
    assert!(resources.insert(Kind::Endpoint, resource("a", vec![0xff, 0xff]), Origin::Ads).is_err());
    assert!(is_complete(&resources));
    resources.insert(Kind::Cluster, eds_cluster("b", ""), Origin::Ads).unwrap();
    assert!(!is_complete(&resources));
    resources.give_up(endpoint("b"));
    assert!(is_complete(&resources));
    // What nothing refers to any more is asked for anew when something does.
    resources.forget(&endpoint("b"));
    assert!(!is_complete(&resources));
}

#[test]
fn a_cluster_that_waits_for_endpoints_leaves_its_former_self_in_force() {
    let mut resources = Resources::default();
    resources.insert(Kind::Cluster, eds_cluster("a", "old"), Origin::Ads).unwrap();
    resources.advance();
    assert!(resources.snapshot().clusters.is_empty());
    resources.insert(Kind::Endpoint, resource("old", vec![]), Origin::Ads).unwrap();
    resources.advance();
    assert!(resources.snapshot().clusters.contains_key("a"));

    resources.insert(Kind::Cluster, eds_cluster("a", "new"), Origin::Ads).unwrap();
    resources.advance();
    let discovery = |resources: &Resources| resources.snapshot().clusters["a"].discovery.clone();
    assert_eq!(discovery(&resources), config::Discovery::Eds { service_name: "old".into() });
    // The endpoints of both are wanted for as long as it takes.
    assert_eq!(resources.wanted().into_keys().collect::<Vec<_>>(), [endpoint("new"), endpoint("old")]);
    resources.insert(Kind::Endpoint, resource("new", vec![]), Origin::Ads).unwrap();
    resources.advance();
    assert_eq!(discovery(&resources), config::Discovery::Eds { service_name: "new".into() });
    assert_eq!(resources.wanted().into_keys().collect::<Vec<_>>(), [endpoint("new")]);
}
