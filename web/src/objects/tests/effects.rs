//! What a change of policies would do to the calls that were seen.

use std::collections::HashMap;

use api::weft::v1 as wire;
use mixer::Reporter;

use super::*;
use crate::router::tests::reviews;

const CALLER: &str = "cluster.local/ns/default/sa/web";

/// A workload that called reviews with its identity a moment ago.
fn call(mesh: &Mesh) {
    let workload = wire::Workload { name: "web".into(), namespace: "default".into(), ..wire::Workload::default() };
    let reporter = Reporter {
        node: "sidecar~10.0.0.1~web.default~cluster.local".into(),
        workload,
        principal: format!("spiffe://{CALLER}"),
        started_at: mesh.state.mixer.now() - 10_000,
        gateway: false,
        metrics: None,
        metrics_path: String::new(),
        member: None,
        version: String::new(),
        os: String::new(),
    };
    let service = wire::Service {
        host: "reviews.default.svc.cluster.local".into(),
        name: "reviews".into(),
        namespace: "default".into(),
    };
    let series = wire::Series {
        side: wire::Side::Source.into(),
        service: Some(service),
        protocol: wire::Protocol::Http.into(),
        response_code: 200,
        mutual_tls: true,
        ..wire::Series::default()
    };
    let counts = vec![wire::Counts { total: 100, ..wire::Counts::default() }];
    let report = wire::ReportRequest { opened: vec![series], counts, ..wire::ReportRequest::default() };
    mesh.state.mixer.take(&reporter, report, &mut HashMap::new());
}

async fn denied(mesh: &Mesh, kind: &str, spec: Value) -> Vec<Value> {
    let object = json!({
        "apiVersion": "security.istio.io/v1", "kind": kind, "metadata": { "name": "p" }, "spec": spec,
    });
    let (status, told) = send(mesh, "POST", "/api/v1/_apply?dryRun=server", &[], &object).await;
    assert_eq!((status, &told["valid"]), (StatusCode::OK, &json!(true)), "{told}");
    let of = |edge: &Value| json!([edge["source"], edge["destination"], edge["principal"], edge["decision"]]);
    told["impact"]["deniedObservedEdges"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn a_dry_run_names_the_calls_of_the_last_hour_that_would_be_denied() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    call(&mesh);
    let edge = |decision: &str| vec![json!(["workload:default/web", "default/reviews", CALLER, decision])];
    let from = |principal: &str| json!({ "rules": [{ "from": [{ "source": { "principals": [principal] } }] }] });
    let policy = "AuthorizationPolicy";
    assert_eq!(denied(&mesh, policy, json!({})).await, edge("denied"), "it allows nothing");
    assert_eq!(denied(&mesh, policy, from("cluster.local/ns/default/sa/other")).await, edge("denied"));
    assert_eq!(denied(&mesh, policy, from(CALLER)).await, Vec::<Value>::new());
    let reads = json!({ "rules": [{ "to": [{ "operation": { "methods": ["GET"] } }] }] });
    assert_eq!(denied(&mesh, policy, reads).await, edge("depends"));
    // It shows a certificate.
    assert_eq!(denied(&mesh, "PeerAuthentication", json!({ "mtls": { "mode": "STRICT" } })).await, Vec::<Value>::new());
}
