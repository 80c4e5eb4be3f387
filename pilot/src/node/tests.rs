//! What a node says of itself, read back.

use super::*;

fn string(text: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.into())) }
}

fn number(number: f64) -> Value {
    Value { kind: Some(value::Kind::NumberValue(number)) }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Value { kind: Some(value::Kind::StructValue(Struct { fields })) }
}

fn node<const N: usize>(id: &str, fields: [(&str, Value); N]) -> core::Node {
    let metadata = Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() };
    core::Node { id: id.into(), metadata: Some(metadata), ..Default::default() }
}

const ID: &str = "sidecar~10.0.0.1~reviews-v1.shop~shop.svc.cluster.local";

#[test]
fn an_id_alone_is_enough() {
    let node = Node::parse(&core::Node { id: ID.into(), ..Default::default() }).unwrap();
    assert_eq!((node.kind, node.name.as_str()), (NodeKind::Sidecar, "reviews-v1.shop"));
    assert_eq!((node.workload.as_str(), node.namespace.as_str()), ("reviews-v1", "shop"));
    assert_eq!((node.address().to_string().as_str(), node.http_proxy_port), ("10.0.0.1", 15088));
    assert_eq!((node.service_account, node.services.len()), (None, 0));
}

#[test]
fn metadata_says_the_rest() {
    let entry = [
        ("service", string("reviews")),
        ("port", number(9080.0)),
        ("protocol", string("http")),
        ("target", string("127.0.0.1:19080")),
    ];
    let services =
        Value { kind: Some(value::Kind::ListValue(api::prost_types::ListValue { values: vec![object(entry)] })) };
    let node = Node::parse(&node(
        ID,
        [
            ("NAMESPACE", string("other")),
            ("SERVICE_ACCOUNT", string("bookinfo")),
            ("INSTANCE_IPS", string("127.0.10.11,10.0.0.7")),
            ("LABELS", object([("app", string("reviews"))])),
            ("WEFT_SERVICES", services),
            ("WEFT_PORT_MAP", object([("80", number(8080.0))])),
            ("WEFT_BIND", string("127.0.10.1")),
            ("WEFT_REGISTERS", string("false")),
        ],
    ))
    .unwrap();
    assert_eq!((node.namespace.as_str(), node.service_account.as_deref()), ("other", Some("bookinfo")));
    assert_eq!(node.addresses.len(), 2);
    assert_eq!(node.services[0].target.to_string(), "127.0.0.1:19080");
    assert_eq!((node.port_map[&80], node.bind.map(|ip| ip.to_string()).as_deref()), (8080, Some("127.0.10.1")));
    assert!(!node.registers);
    assert!(node.has_labels(&[("app".into(), "reviews".into())].into()));
}

#[test]
fn what_is_no_proxy_is_told_why() {
    let refused = |id: &str| Node::parse(&core::Node { id: id.into(), ..Default::default() }).unwrap_err();
    assert!(matches!(refused("reviews"), NodeError::Id(_)));
    assert!(matches!(refused("ztunnel~10.0.0.1~a~b"), NodeError::Kind(_)));
    assert!(matches!(refused("sidecar~nowhere~a~b"), NodeError::Address(_)));
    let bad = node(ID, [("HTTP_PROXY_PORT", string("many"))]);
    assert_eq!(Node::parse(&bad).unwrap_err().to_string(), "node metadata HTTP_PROXY_PORT: \"many\" is no port");
}

#[test]
fn a_node_tells_whether_its_connections_are_captured() {
    let capture = |fields: [(&str, Value); 3]| Node::parse(&node(ID, fields)).map(|node| node.capture);
    let fields = |mode: &str, ips: &str, ipv6: Option<&str>| {
        let ipv6 = ipv6.map_or(("UNUSED", string("")), |word| ("WEFT_CAPTURE_IPV6", string(word)));
        [("INTERCEPTION_MODE", string(mode)), ("INSTANCE_IPS", string(ips)), ipv6]
    };
    let is = |interception, ipv6| Ok(Some(Capture { interception, ipv6 }));
    assert_eq!(capture(fields("NONE", "10.0.0.1", None)), Ok(None));
    assert_eq!(capture(fields("REDIRECT", "10.0.0.1", None)), is(Interception::Redirect, false));
    assert_eq!(capture(fields("REDIRECT", "10.0.0.1,fd00::1", None)), is(Interception::Redirect, true));
    assert_eq!(capture(fields("TPROXY", "10.0.0.1", Some("true"))), is(Interception::Tproxy, true));
    assert_eq!(capture(fields("TPROXY", "fd00::1", Some("false"))), is(Interception::Tproxy, false));
    assert!(capture(fields("MAGIC", "10.0.0.1", None)).unwrap_err().to_string().contains("INTERCEPTION_MODE"));
    assert!(capture(fields("REDIRECT", "10.0.0.1", Some("yes"))).unwrap_err().to_string().contains("neither"));
}

#[test]
fn whoever_reaches_an_explicit_proxy_beyond_loopback_is_not_let_out_by_it() {
    let open = |node: &core::Node| Node::parse(node).unwrap().features.dynamic_forward_proxy;
    let on = |address: &str| node(ID, [("WEFT_HTTP_PROXY_ADDRESS", string(address))]);
    assert!(!open(&node(ID, [])), "it is on the address of the node");
    assert!(open(&on("127.0.0.1")) && open(&on("::1")) && !open(&on("10.0.0.1")));
    assert!(open(&node(ID, [("INSTANCE_IPS", string("127.0.10.11"))])));
    let weft = core::Node { user_agent_name: "weft".into(), ..on("127.0.0.1") };
    assert!(!open(&weft), "an older one does not say that it can");
    let feature = vec!["weft.dynamic_forward_proxy".into()];
    assert!(open(&core::Node { client_features: feature, ..weft }));
}
