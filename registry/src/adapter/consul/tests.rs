//! What a Consul registry makes of what Consul answers, without a server.

use super::book::Book;
use super::client::NoAnswer;
use super::convert::{Context, Converted, convert};
use super::entry::Entry;
use crate::model::{Address, Health, Platform, Protocol, TlsMode};
use crate::source::Event;

fn context() -> Context {
    Context::new(&"consul".into(), &"cluster.local".into(), None, false)
}

fn entries(json: &str) -> Vec<Entry> {
    serde_json::from_str(json).unwrap()
}

/// One instance as Consul answers it, with this among its service and its checks.
fn instance(id: &str, service: &str, checks: &str) -> String {
    format!(
        r#"{{"Node": {{"ID": "x", "Node": "node-a", "Address": "10.0.0.7", "Datacenter": "dc1",
            "TaggedAddresses": {{"lan": "10.0.0.7", "wan": "198.51.100.7"}},
            "Meta": {{"consul-network-segment": "", "rack": "r1"}}}},
          "Service": {{"ID": "{id}", "Service": "reviews", "Port": 9080, {service}}}, "Checks": [{checks}]}}"#
    )
}

fn reviews(service: &str, checks: &str) -> Converted {
    convert(&context(), "reviews", entries(&format!("[{}]", instance("reviews-1", service, checks))))
}

fn health(service: &str, checks: &str) -> (Health, u32) {
    let converted = reviews(service, checks);
    let (_, endpoints) = converted.services.values().next().unwrap();
    (endpoints[0].health, endpoints[0].weight)
}

#[test]
fn a_service_has_its_host_its_alias_and_its_port() {
    let converted = reviews(
        r#""Tags": ["v1", "team=books"], "Address": "", "Meta": {"protocol": "http", "version": "v1"},
           "TaggedAddresses": {"virtual": {"Address": "240.0.0.1", "Port": 9080}}, "Kind": "", "Connect": {}"#,
        "",
    );
    assert_eq!(converted.findings, [""; 0]);
    let (key, (service, endpoints)) = converted.services.first_key_value().unwrap();
    assert_eq!(key.to_string(), "default/reviews.default.svc.cluster.local");
    assert_eq!(service.aliases[0].as_str(), "reviews.service.consul");
    assert_eq!((service.ports[0].name.as_str(), service.ports[0].protocol), ("http-9080", Protocol::Http));
    assert_eq!(service.addresses[0].to_string(), "240.0.0.1/32");
    let endpoint = &endpoints[0];
    assert_eq!(
        (endpoint.address.to_string().as_str(), endpoint.port, endpoint.tls),
        ("10.0.0.7", 9080, TlsMode::Disabled)
    );
    let workload = &endpoint.workload;
    assert_eq!((workload.platform, workload.locality.to_string().as_str()), (Platform::Consul, "dc1"));
    let labels: Vec<_> = workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["app=reviews", "protocol=http", "rack=r1", "tag/v1=true", "team=books", "version=v1"]);
    assert_eq!(endpoint.provenance.object, "service reviews-1 on node-a");
}

#[test]
fn meta_places_a_service_in_the_mesh() {
    let meta = r#""Meta": {"weft-namespace": "shop", "weft-identity": "books/reviews", "weft-port": "80",
                   "weft-locality": "eu/a/rack1", "protocol": "grpc"}"#;
    let converted = reviews(meta, "");
    let (key, (service, endpoints)) = converted.services.first_key_value().unwrap();
    assert_eq!(key.host.as_str(), "reviews.shop.svc.cluster.local");
    assert_eq!((service.ports[0].number, endpoints[0].port), (80, 9080));
    let workload = &endpoints[0].workload;
    assert_eq!((&*workload.namespace, workload.service_account.as_str()), ("books", "reviews"));
    assert_eq!((endpoints[0].tls, workload.locality.to_string().as_str()), (TlsMode::Istio, "eu/a/rack1"));
}

/// The ports that callers use, and for each instance where it listens and which it serves; and what is told.
fn ports(instances: &[(u16, &str)]) -> (Vec<u16>, Vec<(u16, u16)>, Vec<String>) {
    let all = instances.iter().enumerate().map(|(index, (port, meta))| {
        let service = format!(r#""Address": "10.0.0.{index}", "Meta": {{{meta}}}"#);
        instance(&format!("i{index}"), &service, "").replace("9080", &port.to_string())
    });
    let all = format!("[{}]", all.collect::<Vec<_>>().join(","));
    let converted = convert(&context(), "reviews", entries(&all));
    let (service, endpoints) = converted.services.values().next().unwrap();
    let number = |name: &str| service.ports.iter().find(|port| port.name == name).unwrap().number;
    let numbers = service.ports.iter().map(|port| port.number).collect();
    (numbers, endpoints.iter().map(|e| (e.port, number(&e.service_port))).collect(), converted.findings)
}

#[test]
fn instances_that_listen_on_different_ports_serve_one() {
    let (numbers, served, told) = ports(&[(9102, ""), (9100, ""), (9101, ""), (9101, "")]);
    assert_eq!(numbers, [9101]);
    assert_eq!(served, [(9102, 9101), (9100, 9101), (9101, 9101), (9101, 9101)]);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("service reviews: instances listen on 9100, 9101, 9102"), "{told:?}");
    assert!(told[0].contains("weft-port"), "{told:?}");
    // What one of them says that callers use holds for those that do not say.
    let (numbers, served, told) = ports(&[(9102, ""), (9100, r#""weft-port": "80""#)]);
    assert_eq!((numbers, served, told), (vec![80], vec![(9102, 80), (9100, 80)], vec![]));
}

#[test]
fn another_protocol_and_another_port_that_is_said_are_ports_of_their_own() {
    let (numbers, served, _) = ports(&[(9100, r#""protocol": "http""#), (9200, r#""protocol": "grpc""#)]);
    assert_eq!((numbers, served), (vec![9100, 9200], vec![(9100, 9100), (9200, 9200)]));
    let (numbers, ..) = ports(&[(9100, r#""weft-port": "80""#), (9200, r#""weft-port": "81""#)]);
    assert_eq!(numbers, [80, 81]);
}

#[test]
fn checks_decide_health_and_weight() {
    let weights = r#""Weights": {"Passing": 10, "Warning": 3}"#;
    let check = |id: &str, status: &str| format!(r#"{{"CheckID": "{id}", "Status": "{status}"}}"#);
    assert_eq!(health(weights, ""), (Health::Healthy, 10));
    assert_eq!(health(weights, &check("serfHealth", "passing")), (Health::Healthy, 10));
    assert_eq!(health(weights, &check("http", "warning")), (Health::Healthy, 3));
    assert_eq!(health(weights, &check("http", "critical")), (Health::Unhealthy, 10));
    assert_eq!(health(r#""Weights": {"Passing": 10, "Warning": 0}"#, &check("http", "warning")).0, Health::Draining);
    let both = format!("{},{}", check("http", "critical"), check("_service_maintenance:reviews-1", "critical"));
    assert_eq!(health(weights, &both).0, Health::Draining);
    assert_eq!(health(weights, &check("_node_maintenance", "critical")).0, Health::Draining);
}

#[test]
fn sidecar_proxies_are_no_services_and_native_ones_are_told() {
    let proxy = r#""Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "reviews", "Config": {"port": 1}}"#;
    assert_eq!(reviews(proxy, ""), Converted::default());
    let native = reviews(r#""Connect": {"Native": true}"#, "");
    assert!(native.services.is_empty() && native.findings[0].contains("Connect-native"), "{native:?}");
    let beside = reviews(r#""Connect": {"Native": true}, "Meta": {"weft-identity": "reviews"}"#, "");
    assert_eq!(beside.services.len(), 1);
}

#[test]
fn what_cannot_be_used_is_told_and_the_rest_is_served() {
    let good = instance("good", r#""Address": "10.0.0.1""#, "");
    for (service, words) in [
        (r#""Address": "db/1""#, "neither an IP address nor the name of a host"),
        (r#""Meta": {"weft-port": "http"}"#, "weft-port is no port"),
        (r#""Meta": {"weft-identity": "a/b/c"}"#, "weft-identity is \"a/b/c\""),
        (r#""Meta": {"weft-namespace": "shop/1"}"#, "makes no hostname"),
        (r#""SocketPath": "/run/x.sock""#, "Unix socket"),
    ] {
        let both = format!("[{},{good}]", instance("bad", service, ""));
        let converted = convert(&context(), "reviews", entries(&both));
        assert_eq!(converted.services.values().next().unwrap().1.len(), 1, "{service}");
        assert!(converted.findings[0].starts_with("service reviews: bad on node-a"), "{converted:?}");
        assert!(converted.findings[0].contains(words), "{converted:?}");
    }
}

#[test]
fn a_host_name_is_an_address_that_callers_look_up() {
    let converted = reviews(r#""Address": "DB.example""#, "");
    assert_eq!(converted.findings, [""; 0]);
    assert_eq!(converted.services.values().next().unwrap().1[0].address, Address::Name("db.example".into()));
}

#[test]
fn a_name_with_an_underscore_is_a_host() {
    let entries = entries(&format!("[{}]", instance("a", r#""Address": "10.0.0.1""#, "")));
    let converted = convert(&context(), "book_reviews", entries);
    let (key, (service, _)) = converted.services.first_key_value().unwrap();
    assert_eq!(key.host.as_str(), "book_reviews.default.svc.cluster.local");
    assert_eq!(service.aliases[0].as_str(), "book_reviews.service.consul");
}

#[test]
fn an_unknown_protocol_is_carried_as_tcp_and_told() {
    let converted = reviews(r#""Meta": {"protocol": "spdy"}"#, "");
    let (service, endpoints) = converted.services.values().next().unwrap();
    assert_eq!((service.ports[0].protocol, service.ports[0].name.as_str()), (Protocol::Tcp, "tcp-9080"));
    assert_eq!(endpoints[0].service_port, "tcp-9080");
    let told = "service reviews: reviews-1 on node-a: its meta protocol is \"spdy\", which is not known";
    assert!(converted.findings[0].starts_with(told), "{converted:?}");
}

#[test]
fn from_afar_the_wan_address_counts() {
    let far = Context::new(&"consul".into(), &"cluster.local".into(), None, true);
    let at = |service: &str| {
        let converted = convert(&far, "reviews", entries(&format!("[{}]", instance("a", service, ""))));
        let endpoint = converted.services.values().next().unwrap().1[0].clone();
        format!("{}:{}", endpoint.address, endpoint.port)
    };
    assert_eq!(at(r#""Address": """#), "198.51.100.7:9080");
    assert_eq!(at(r#""TaggedAddresses": {"wan": {"Address": "203.0.113.9", "Port": 443}}"#), "203.0.113.9:443");
}

#[test]
fn only_what_changed_is_told() {
    let mut book = Book::new(context());
    let two = || {
        entries(&format!(
            "[{},{}]",
            instance("a", r#""Address": "10.0.0.1""#, ""),
            instance("b", r#""Address": "10.0.0.2""#, "")
        ))
    };
    let events = book.instances("reviews", two());
    assert!(matches!(&events[..], [Event::Service(_), Event::Endpoints(_, endpoints)] if endpoints.len() == 2));
    assert_eq!(book.instances("reviews", two()), []);
    let events = book.instances("reviews", entries(&format!("[{}]", instance("a", r#""Address": "10.0.0.1""#, ""))));
    assert!(matches!(&events[..], [Event::Endpoints(_, endpoints)] if endpoints.len() == 1));
    let events = book.retain(&["other".to_owned()].into());
    assert!(matches!(&events[..], [Event::ServiceGone(_)]));
}

#[test]
fn a_service_that_cannot_be_read_keeps_what_was_read() {
    let mut book = Book::new(context());
    book.instances("reviews", entries(&format!("[{}]", instance("a", "\"Tags\": null", ""))));
    book.failed("reviews", "400 no".into());
    let Some(Event::Findings(findings)) = book.findings() else { panic!("nothing found") };
    assert_eq!(findings, ["service reviews: cannot be read: 400 no"]);
    assert_eq!(book.findings(), None);
    assert_eq!(book.instances("reviews", entries(&format!("[{}]", instance("a", "\"Tags\": null", "")))), []);
    assert_eq!(book.findings(), Some(Event::Findings(vec![])));
}

#[test]
fn a_server_that_is_away_is_not_told_of_each_service() {
    let mut book = Book::new(context());
    book.failed("reviews", NoAnswer { reason: "connection closed".into(), lost: true });
    assert!(
        matches!(book.findings(), Some(Event::Findings(found)) if found.len() == 1),
        "a service that alone fails is"
    );
    book.failed("details", "400 no".into());
    book.lost();
    let Some(Event::Findings(findings)) = book.findings() else { panic!("nothing changed") };
    assert_eq!(findings, ["service details: cannot be read: 400 no"]);
}
