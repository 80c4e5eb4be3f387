//! What proxies share, and what a change makes anew.

use std::sync::Arc;

use pilot::{Compiled, Kind, Node, compile};

use crate::mesh::Mesh;
use crate::proxy::{RATINGS, REVIEWS, node};

fn named(workload: &str) -> Node {
    let mut node = node();
    node.id = format!("sidecar~127.0.10.12~{workload}.default~default.svc.cluster.local");
    Node::parse(&node).unwrap()
}

#[tokio::test]
async fn proxies_of_one_namespace_share_what_is_not_their_own() {
    let compiled = Compiled::new(&Mesh::new().inputs());
    let (one, _) = compiled.snapshot(&named("one"));
    let (other, _) = compiled.snapshot(&named("other"));
    for (kind, name) in [(Kind::Cluster, REVIEWS), (Kind::Endpoint, REVIEWS), (Kind::Route, "http_proxy")] {
        let shared = Arc::ptr_eq(&one.of(kind).get(name).unwrap().any, &other.of(kind).get(name).unwrap().any);
        assert!(shared, "{name} was made twice");
    }
}

#[tokio::test]
async fn a_change_of_endpoints_remakes_the_endpoints_of_that_service_only() {
    let mut mesh = Mesh::new();
    let compiled = Compiled::new(&mesh.inputs());
    let (before, _) = compiled.snapshot(&named("one"));
    mesh.endpoints("reviews", &["10.0.0.2"]);
    let (after, _) = compiled.next(&mesh.inputs()).snapshot(&named("one"));
    assert_ne!(before.endpoints.get(REVIEWS), after.endpoints.get(REVIEWS));
    for (kind, name) in [(Kind::Endpoint, RATINGS), (Kind::Cluster, REVIEWS), (Kind::Route, "http_proxy")] {
        let kept = Arc::ptr_eq(&before.of(kind).get(name).unwrap().any, &after.of(kind).get(name).unwrap().any);
        assert!(kept, "{name} was made again");
    }
    assert_eq!(after, compile(&mesh.inputs(), &named("one")).0);
}
