//! What changes in Consul changes in the mesh.

use registry::{Endpoint, TlsMode};
use serde_json::json;

use crate::followed::{Followed, endpoints, entry};
use crate::server::Server;

#[tokio::test]
async fn instances_come_fail_warn_change_and_go() {
    let server = Server::start();
    let weights =
        json!({ "Meta": { "protocol": "http", "version": "v1" }, "Weights": { "Passing": 10, "Warning": 2 } });
    server.register("reviews", "reviews-1", "10.0.0.1", weights.clone());
    let mut followed = Followed::new(&server.url());
    followed.synced().await;
    assert_eq!(followed.endpoints("reviews"), ["10.0.0.1 healthy"]);
    let hosts: Vec<_> = followed.catalog().entries().map(|entry| entry.service.host().to_string()).collect();
    assert_eq!(hosts, ["reviews.default.svc.cluster.local"], "the servers' own service is not of the mesh");

    server.register("reviews", "reviews-2", "10.0.0.2", json!({ "Meta": { "protocol": "http", "version": "v2" } }));
    server.register("details", "details-1", "10.0.1.1", json!({}));
    followed
        .until("a second instance and a second service", |catalog| {
            endpoints(catalog, "reviews").len() == 2 && endpoints(catalog, "details").len() == 1
        })
        .await;

    server.check("fail", "reviews-1");
    followed
        .until("the critical check", |catalog| {
            endpoints(catalog, "reviews") == ["10.0.0.1 unhealthy", "10.0.0.2 healthy"]
        })
        .await;
    server.check("warn", "reviews-1");
    followed.until("the warning", |catalog| of(catalog, |endpoint| endpoint.weight == 2)).await;
    server.check("pass", "reviews-1");
    followed.until("the passing check", |catalog| of(catalog, |endpoint| endpoint.weight == 10)).await;

    server.register(
        "reviews",
        "reviews-1",
        "10.0.0.1",
        json!({ "Meta": { "protocol": "http", "version": "v3", "weft-identity": "reviews" } }),
    );
    followed
        .until("the changed meta", |catalog| {
            of(catalog, |endpoint| endpoint.tls == TlsMode::Istio && endpoint.workload.labels["version"] == "v3")
        })
        .await;

    server.put("/v1/agent/service/maintenance/reviews-1?enable=true", json!(null));
    followed.until("maintenance", |catalog| endpoints(catalog, "reviews")[0] == "10.0.0.1 draining").await;
    server.put("/v1/agent/service/maintenance/reviews-1?enable=false", json!(null));
    followed.until("its end", |catalog| endpoints(catalog, "reviews")[0] == "10.0.0.1 healthy").await;

    server.deregister("reviews-2");
    followed.until("one instance less", |catalog| endpoints(catalog, "reviews") == ["10.0.0.1 healthy"]).await;
    server.deregister("reviews-1");
    followed.until("the end of the service", |catalog| entry(catalog, "reviews").is_none()).await;
    assert_eq!(followed.endpoints("details"), ["10.0.1.1 healthy"]);
}

/// Whether the first instance of `reviews` is so.
fn of(catalog: &registry::Catalog, holds: impl Fn(&Endpoint) -> bool) -> bool {
    entry(catalog, "reviews").is_some_and(|entry| entry.endpoints.first().is_some_and(holds))
}

#[tokio::test]
async fn a_connect_sidecar_is_no_service_of_its_own() {
    let server = Server::start();
    server.register("web", "web-1", "10.0.0.1", json!({ "Connect": { "SidecarService": { "Port": 21000 } } }));
    server.register("native", "native-1", "10.0.0.2", json!({ "Connect": { "Native": true } }));
    let mut followed = Followed::new(&server.url());
    followed.synced().await;
    let hosts: Vec<_> = followed.catalog().entries().map(|entry| entry.service.host().to_string()).collect();
    assert_eq!(hosts, ["web.default.svc.cluster.local"]);
    let told = "service native: native-1 on node-a takes no traffic: it is Connect-native";
    followed
        .until("what is told of the native service", |catalog| {
            catalog.registries[0].findings.iter().any(|found| found.starts_with(told))
        })
        .await;
}
