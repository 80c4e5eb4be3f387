//! From objects to services and endpoints, without a server.

use serde_json::{Value, json};

use super::Options;
use super::index::{Followed, Index};
use super::objects::{EndpointSlice, Namespace, Node, Pod, Service};
use crate::model::{Address, Endpoint, Health, Location, Protocol, Resolution, TlsMode, Visibility};
use crate::source::Event;

fn index() -> Index {
    Index::new(Options { cluster: "east".into(), domain: "cluster.local".into() })
}

fn see<T: Followed + serde::de::DeserializeOwned>(index: &mut Index, object: Value) {
    let object: T = serde_json::from_value(object).unwrap();
    index.see(T::seen(object.meta().key(), Some(object)));
}

fn gone<T: Followed>(index: &mut Index, namespace: &str, name: &str) {
    index.see(T::seen((namespace.into(), name.into()), None));
}

fn meta(name: &str) -> Value {
    json!({ "name": name, "namespace": "default", "creationTimestamp": "2026-01-02T03:04:05Z" })
}

fn service(spec: Value) -> Value {
    json!({ "metadata": meta("reviews"), "spec": spec })
}

fn slice(name: &str, family: &str, endpoints: Value) -> Value {
    let mut metadata = meta(name);
    metadata["labels"] = json!({ "kubernetes.io/service-name": "reviews" });
    json!({
        "metadata": metadata, "addressType": family, "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 8080 }, { "name": "other", "port": 9 }],
    })
}

fn pod(name: &str, uid: &str, labels: Value) -> Value {
    let mut metadata = meta(name);
    metadata["uid"] = uid.into();
    metadata["labels"] = labels;
    json!({ "metadata": metadata, "spec": { "nodeName": "n1" } })
}

fn of_pod(address: &str, name: &str, uid: &str) -> Value {
    json!({ "addresses": [address], "targetRef": { "kind": "Pod", "name": name, "uid": uid } })
}

fn described(index: &mut Index) -> crate::model::Service {
    let services = index.settle().into_iter().find_map(|event| match event {
        Event::Service(service) => Some(service),
        _ => None,
    });
    services.expect("a service is told")
}

fn endpoints(index: &mut Index) -> Vec<Endpoint> {
    let told = index.settle().into_iter().rev().find_map(|event| match event {
        Event::Endpoints(_, endpoints) => Some(endpoints),
        _ => None,
    });
    told.expect("endpoints are told")
}

fn http() -> Value {
    service(json!({ "clusterIP": "10.0.0.7", "ports": [{ "name": "http", "port": 80 }] }))
}

#[test]
fn a_service_s_ports_speak_what_they_declare() {
    let cases = [
        (json!({ "name": "http", "port": 80 }), Protocol::Http),
        (json!({ "name": "web", "port": 80 }), Protocol::Auto),
        (json!({ "name": "web", "port": 80, "appProtocol": "kubernetes.io/h2c" }), Protocol::Http2),
        (json!({ "name": "http", "port": 80, "appProtocol": "kubernetes.io/wss" }), Protocol::Https),
        (json!({ "name": "http", "port": 80, "appProtocol": "grpc" }), Protocol::Grpc),
        (json!({ "name": "http", "port": 80, "protocol": "UDP" }), Protocol::Udp),
        (json!({ "port": 3306, "appProtocol": null }), Protocol::Tcp),
    ];
    for (port, protocol) in cases {
        let mut index = index();
        see::<Service>(&mut index, service(json!({ "clusterIP": "10.0.0.7", "ports": [port] })));
        let service = described(&mut index);
        assert_eq!(service.ports[0].protocol, protocol, "{port}");
        assert_eq!(service.host().as_str(), "reviews.default.svc.cluster.local");
        assert_eq!((service.resolution, service.created), (Resolution::Static, 1_767_323_045));
        assert_eq!(service.addresses[0].to_string(), "10.0.0.7/32");
    }
}

#[test]
fn headless_and_external_services_are_found_otherwise() {
    let mut index = index();
    see::<Service>(&mut index, service(json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] })));
    let headless = described(&mut index);
    assert_eq!((headless.resolution, headless.addresses.len()), (Resolution::Passthrough, 0));
    let external =
        json!({ "type": "ExternalName", "externalName": "db.example", "ports": [{ "name": "tcp", "port": 5432 }] });
    see::<Service>(&mut index, service(external));
    let events = index.settle();
    let Event::Service(service) = &events[0] else { panic!("{events:?}") };
    assert_eq!((service.resolution, service.location), (Resolution::Dns, Location::MeshExternal));
    let Event::Endpoints(_, endpoints) = &events[1] else { panic!("{events:?}") };
    assert_eq!((&endpoints[0].address, endpoints[0].port), (&Address::Name("db.example".into()), 5432));
}

#[test]
fn a_name_for_another_service_of_the_mesh_is_its_alias_for_as_long_as_that_is_there() {
    let alias = json!({
        "metadata": { "name": "old", "namespace": "other" },
        "spec": { "type": "ExternalName", "externalName": "reviews.default.svc.cluster.local" },
    });
    let mut index = index();
    see::<Service>(&mut index, alias);
    assert_eq!(described(&mut index).host().as_str(), "old.other.svc.cluster.local");
    see::<Service>(&mut index, http());
    let events = index.settle();
    assert!(events.iter().any(|event| matches!(event, Event::ServiceGone(key) if &*key.namespace == "other")));
    let told = events.iter().find_map(|event| match event {
        Event::Service(service) => Some(&service.aliases),
        _ => None,
    });
    assert_eq!(told.unwrap()[0].as_str(), "old.other.svc.cluster.local");
    gone::<Service>(&mut index, "default", "reviews");
    assert_eq!(described(&mut index).host().as_str(), "old.other.svc.cluster.local");
}

#[test]
fn an_annotation_says_who_may_see_a_service() {
    let cases = [
        ("*", Visibility::Public),
        ("~", Visibility::Nobody),
        (" . , other", Visibility::Namespaces(vec!["default".into(), "other".into()])),
    ];
    for (words, visibility) in cases {
        let mut index = index();
        let mut object = http();
        object["metadata"]["annotations"] = json!({ "networking.istio.io/exportTo": words });
        see::<Service>(&mut index, object);
        assert_eq!(described(&mut index).visibility, visibility);
    }
}

#[test]
fn conditions_tell_whether_an_endpoint_takes_traffic() {
    let cases = [
        (json!({}), Health::Healthy),
        (json!({ "ready": true, "serving": null }), Health::Healthy),
        (json!({ "ready": false }), Health::Unhealthy),
        (json!({ "ready": false, "serving": true, "terminating": true }), Health::Draining),
        (json!({ "ready": false, "serving": false, "terminating": true }), Health::Unhealthy),
    ];
    for (conditions, health) in cases {
        let mut index = index();
        see::<Service>(&mut index, http());
        let endpoint = json!([{ "addresses": ["10.1.0.1"], "conditions": conditions }]);
        see::<EndpointSlice>(&mut index, slice("a", "IPv4", endpoint));
        let endpoints = endpoints(&mut index);
        assert_eq!((endpoints.len(), endpoints[0].port, endpoints[0].health), (1, 8080, health), "{conditions}");
    }
}

#[test]
fn an_address_in_two_slices_and_a_pod_in_two_families_are_one_endpoint() {
    let mut index = index();
    let mut dual = http();
    dual["spec"]["ipFamilies"] = json!(["IPv6", "IPv4"]);
    see::<Service>(&mut index, dual);
    see::<Pod>(&mut index, pod("p1", "u1", json!({})));
    see::<EndpointSlice>(&mut index, slice("a", "IPv4", json!([of_pod("10.1.0.1", "p1", "u1")])));
    see::<EndpointSlice>(&mut index, slice("b", "IPv6", json!([of_pod("fd00::1", "p1", "u1")])));
    let mut moving = of_pod("fd00::1", "p1", "u1");
    moving["conditions"] = json!({ "ready": false });
    see::<EndpointSlice>(&mut index, slice("c", "IPv6", json!([moving])));
    let endpoints = endpoints(&mut index);
    assert_eq!(endpoints.len(), 1);
    assert_eq!((endpoints[0].address.to_string().as_str(), endpoints[0].health), ("fd00::1", Health::Healthy));
}

#[test]
fn an_endpoint_of_a_pod_that_was_replaced_is_not_the_new_pod_s() {
    let mut index = index();
    see::<Service>(&mut index, http());
    see::<EndpointSlice>(&mut index, slice("a", "IPv4", json!([of_pod("10.1.0.1", "p1", "old")])));
    see::<Pod>(&mut index, pod("p1", "new", json!({ "security.istio.io/tlsMode": "istio" })));
    assert!(endpoints(&mut index).is_empty());
    see::<EndpointSlice>(&mut index, slice("a", "IPv4", json!([of_pod("10.1.0.2", "p1", "new")])));
    let endpoints = endpoints(&mut index);
    assert_eq!((endpoints[0].tls, &*endpoints[0].workload.service_account), (TlsMode::Istio, "default"));
}

#[test]
fn localities_and_networks_come_from_labels() {
    let labels = json!({ "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-a" });
    let mut index = index();
    see::<Service>(&mut index, http());
    see::<Pod>(&mut index, pod("p1", "u1", json!({})));
    see::<EndpointSlice>(&mut index, slice("a", "IPv4", json!([of_pod("10.1.0.1", "p1", "u1")])));
    see::<Node>(&mut index, json!({ "metadata": { "name": "n1", "labels": labels } }));
    let network = json!({ "topology.istio.io/network": "net-1" });
    see::<Namespace>(&mut index, json!({ "metadata": { "name": "istio-system", "labels": network } }));
    let workload = endpoints(&mut index)[0].workload.clone();
    assert_eq!((workload.locality.to_string().as_str(), &*workload.network), ("eu/eu-a", "net-1"));
    see::<Pod>(&mut index, pod("p1", "u1", json!({ "istio-locality": "us.us-b.r2" })));
    assert_eq!(endpoints(&mut index)[0].workload.locality.to_string(), "us/us-b/r2");
}

#[test]
fn a_list_takes_away_only_what_it_does_not_hold() {
    let mut index = index();
    see::<Service>(&mut index, http());
    let mut other = http();
    other["metadata"]["name"] = "ratings".into();
    see::<Service>(&mut index, other);
    assert_eq!(index.settle().len(), 4);
    index.replace::<Service>(vec![serde_json::from_value(http()).unwrap()]);
    let events = index.settle();
    assert!(
        matches!(&events[..], [Event::ServiceGone(key)] if key.host.as_str().starts_with("ratings.")),
        "{events:?}"
    );
}

#[test]
fn what_a_service_asks_for_in_vain_is_told_until_it_no_longer_does() {
    let mut index = index();
    let port = json!({ "name": "s", "port": 9, "protocol": "SCTP" });
    see::<Service>(&mut index, service(json!({ "ports": [port], "sessionAffinity": "ClientIP" })));
    let Some(Event::Findings(found)) = index.findings() else { panic!("nothing is found") };
    assert!(matches!(&found[..], [one] if one.starts_with("Service default/reviews: not honoured: sessionAffinity")));
    assert!(found[0].contains("port 9: protocol SCTP"), "{found:?}");
    assert_eq!(index.findings(), None);
    see::<Service>(&mut index, http());
    assert_eq!(index.findings(), Some(Event::Findings(Vec::new())));
}

#[test]
fn a_pod_of_a_stateful_set_has_a_name_of_its_own() {
    let mut index = index();
    see::<Service>(&mut index, service(json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] })));
    let named = json!({ "addresses": ["10.1.0.1"], "hostname": "reviews-0" });
    let nameless = json!({ "addresses": ["10.1.0.2"], "hostname": null });
    see::<EndpointSlice>(&mut index, slice("reviews-1", "IPv4", json!([named, nameless])));
    let names: Vec<String> = endpoints(&mut index).iter().map(|endpoint| endpoint.workload.hostname.clone()).collect();
    assert_eq!(names, ["reviews-0", ""]);
}
