//! What is noted of changes, and of what was only tried.

use super::*;

const PATH: &str = "/api/v1/virtualservices/default/reviews";

fn rule(host: &str, token: &str) -> String {
    let set = json!({ "Authorization": token });
    let route = json!([{ "destination": { "host": host } }]);
    let spec = json!({ "hosts": ["reviews"], "http": [{ "route": route, "headers": { "request": { "set": set } } }] });
    let meta = json!({ "name": "reviews" });
    json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec })
        .to_string()
}

async fn newest(mesh: &Mesh) -> Value {
    mesh.get("/api/v1/audit?limit=1").await.1["items"][0].clone()
}

#[tokio::test]
async fn what_is_only_tried_does_not_count_as_refused_and_is_marked_in_the_log() {
    let mesh = Mesh::start().await;
    let counted = async || {
        let told = mesh.get("/api/v1/control-plane").await.1["configuration"].clone();
        (told["accepted"].clone(), told["refused"].clone())
    };
    let wrong = rule("a", "x").replace("\"hosts\"", "\"hots\"");
    for text in [&wrong, &rule("a", "x")] {
        mesh.post("/api/v1/_apply?dryRun=server", text).await;
        mesh.post("/api/v1/virtualservices?dryRun=server", text).await;
    }
    assert_eq!(counted().await, (json!(0), json!(0)));
    assert_eq!(newest(&mesh).await["dry_run"], true);
    assert_eq!(mesh.get("/api/v1/audit?dry_run=false").await.1["items"], json!([]));
    mesh.post("/api/v1/_apply", &wrong).await;
    mesh.post("/api/v1/virtualservices", &wrong).await;
    mesh.post("/api/v1/_apply", rule("a", "x")).await;
    assert_eq!(counted().await, (json!(1), json!(2)));
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_instead_of_done() {
    let mesh = Mesh::start().await;
    let order = json!({ "namespace": "default", "service_account": "a" });
    for path in ["/api/v1/tokens?dryRun=server", "/api/v1/registries/agents/_pause?dryRun=server&x"] {
        let (status, refused) = mesh.post(path, &order).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("dryRun"), "{refused}");
    }
    assert_eq!(mesh.get("/api/v1/tokens").await.1["items"], json!([]));
    assert_ne!(mesh.get("/api/v1/registries").await.1["items"][0]["state"], "paused");
}

#[tokio::test]
async fn a_write_is_logged_with_what_it_changed_and_a_rollback_with_what_was_there() {
    let mesh = Mesh::start().await;
    let (_, made) = mesh.post("/api/v1/_apply", rule("a", "Bearer one")).await;
    let first = newest(&mesh).await;
    let diff = first["diff"].as_str().unwrap();
    assert!(diff.contains("+      host: a") || diff.contains("host: a"), "{diff}");
    assert!(!diff.contains("Bearer"), "{diff}");
    let (_, changed) = mesh.post("/api/v1/_apply", rule("b", "Bearer one")).await;
    let second = newest(&mesh).await;
    let diff = second["diff"].as_str().unwrap();
    assert!(diff.contains("host: a\n") && diff.contains("host: b\n") && !diff.contains("Bearer"), "{diff}");
    assert_eq!(second["revision_before"], made["items"][0]["revision"]);

    let order = json!({ "revision": made["items"][0]["revision"] }).to_string();
    let request = mesh.request("POST", "/api/v1/_rollback").header("weft-author", "alice");
    let request = request.header("content-type", "application/json").body(Body::from(order)).unwrap();
    let (status, back) = mesh.send(request).await;
    assert_eq!(status, StatusCode::OK, "{back}");
    let third = newest(&mesh).await;
    assert_eq!(third["revision_before"], changed["items"][0]["revision"], "{third}");
    assert_eq!(third["revision_after"], back["revision"]);
    assert!(third["diff"].as_str().unwrap().contains("host: a\n"), "{third}");
    let history = mesh.get("/api/v1/history?limit=1").await.1;
    assert_eq!(history["items"][0]["author"], "alice", "{history}");
    assert_eq!(mesh.get(PATH).await.0, StatusCode::OK);
    assert_eq!(mesh.get("/api/v1/audit/_verify").await.1["ok"], true);
}
