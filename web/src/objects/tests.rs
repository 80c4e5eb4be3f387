//! Changes of single objects as a client meets them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::router::tests::Mesh;

mod effects;
mod freshness;

const PATH: &str = "/api/v1/destinationrules/default/reviews";

fn rule(host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": { "name": "reviews" }, "spec": { "host": host },
    })
}

async fn send(mesh: &Mesh, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (StatusCode, Value) {
    let mut request = mesh.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    mesh.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_write_says_which_revision_it_saw() {
    let mesh = Mesh::start().await;
    let (status, problem) = send(&mesh, "PUT", PATH, &[], &rule("a")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PRECONDITION_REQUIRED, &json!("precondition-required")));
    let (status, _) = send(&mesh, "PUT", PATH, &[("if-match", "\"1\"")], &rule("a")).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);

    let (status, made) = send(&mesh, "PUT", PATH, &[("if-none-match", "*")], &rule("a")).await;
    assert_eq!((status, &made["change"]), (StatusCode::CREATED, &json!("created")), "{made}");
    let (status, _) = send(&mesh, "PUT", PATH, &[("if-none-match", "*")], &rule("b")).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);

    let tag = format!("\"{}\"", made["revision"]);
    let (status, changed) = send(&mesh, "PUT", PATH, &[("if-match", &tag)], &rule("b")).await;
    assert_eq!((status, &changed["object"]["spec"]["host"]), (StatusCode::OK, &json!("b")), "{changed}");
    let (status, stale) = send(&mesh, "PUT", PATH, &[("if-match", &tag)], &rule("c")).await;
    assert_eq!((status, &stale["code"]), (StatusCode::PRECONDITION_FAILED, &json!("precondition-failed")));
    let (status, _) = send(&mesh, "DELETE", PATH, &[("if-match", &tag)], &Value::Null).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    let (status, _) = send(&mesh, "DELETE", PATH, &[], &Value::Null).await;
    assert_eq!(status, StatusCode::PRECONDITION_REQUIRED);
    let (status, _) = send(&mesh, "DELETE", &format!("{PATH}?force=true"), &[], &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(mesh.get(PATH).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_script_checks_and_sets_by_revision() {
    let mesh = Mesh::start().await;
    let put = |cas: u64, host: &'static str| {
        let (mesh, path) = (&mesh, format!("{PATH}?cas={cas}"));
        async move { send(mesh, "PUT", &path, &[], &rule(host)).await }
    };
    assert_eq!(put(7, "a").await.0, StatusCode::PRECONDITION_FAILED);
    let (status, made) = put(0, "a").await;
    assert_eq!((status, &made["wri"]), (StatusCode::CREATED, &json!("wri:destinationrule:default:reviews")), "{made}");
    assert_eq!(put(0, "b").await.0, StatusCode::PRECONDITION_FAILED);
    let revision = made["revision"].as_u64().unwrap();
    assert_eq!(put(revision, "b").await.0, StatusCode::OK);
    assert_eq!(put(revision, "c").await.0, StatusCode::PRECONDITION_FAILED);
    let both = send(&mesh, "PUT", &format!("{PATH}?cas=1"), &[("if-match", "\"1\"")], &rule("c")).await;
    assert_eq!(both.0, StatusCode::BAD_REQUEST);
    let request = mesh.request("GET", "/api/v1/_wri/wri:destinationrule:default:reviews");
    let answer = mesh.answer(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status(), &answer.headers()["content-location"]), (StatusCode::OK, &PATH.parse().unwrap()));
}

#[tokio::test]
async fn a_creation_that_is_forced_replaces_what_is_there() {
    let mesh = Mesh::start().await;
    let kind = "/api/v1/destinationrules";
    assert_eq!(send(&mesh, "POST", kind, &[], &rule("a")).await.0, StatusCode::CREATED);
    assert_eq!(send(&mesh, "POST", kind, &[], &rule("b")).await.0, StatusCode::CONFLICT);
    let (status, made) = send(&mesh, "POST", &format!("{kind}?force=true"), &[], &rule("b")).await;
    assert_eq!((status, &made["object"]["spec"]["host"]), (StatusCode::OK, &json!("b")), "{made}");
    let (status, both) = send(&mesh, "POST", &format!("{kind}?force=true&cas=0"), &[], &rule("c")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{both}");
    let tag = ("if-match", "\"1\"");
    assert_eq!(send(&mesh, "PUT", &format!("{PATH}?force=true"), &[tag], &rule("c")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_merge_patch_changes_what_it_names() {
    let mesh = Mesh::start().await;
    send(&mesh, "PUT", PATH, &[("if-none-match", "*")], &rule("a")).await;
    let patch = json!({ "spec": { "trafficPolicy": { "loadBalancer": { "simple": "RANDOM" } } } });
    let merge = ("content-type", "application/merge-patch+json");
    let (status, changed) = send(&mesh, "PATCH", PATH, &[merge, ("if-match", "*")], &patch).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    let spec = json!({ "host": "a", "trafficPolicy": { "loadBalancer": { "simple": "RANDOM" } } });
    assert_eq!(changed["object"]["spec"], spec);
    let wrong = json!({ "spec": { "hots": "b" } });
    let (status, problem) = send(&mesh, "PATCH", PATH, &[merge, ("if-match", "*")], &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        (&problem["errors"][0]["pointer"], &problem["errors"][0]["suggestion"]),
        (&json!("#/spec/hots"), &json!("host"))
    );
    let line = |found: &Value| (found["line"].clone(), found["column"].clone());
    assert_eq!(line(&problem["errors"][0]), (json!(0), json!(0)), "nobody sees the text that was merged");
    let (_, told) = send(&mesh, "PATCH", &format!("{PATH}?dryRun=server"), &[merge], &wrong).await;
    assert_eq!(line(&told["diagnostics"][0]), (json!(0), json!(0)), "{told}");
    let json_patch = ("content-type", "application/json-patch+json");
    let (status, _) = send(&mesh, "PATCH", PATH, &[json_patch, ("if-match", "*")], &patch).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let renamed = json!({ "metadata": { "name": "other" } });
    let (status, _) = send(&mesh, "PATCH", PATH, &[merge, ("if-match", "*")], &renamed).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_post_creates_once_and_the_same_key_gets_the_same_answer() {
    let mesh = Mesh::start().await;
    let key = ("idempotency-key", "job-1");
    let collection = "/api/v1/destinationrules";
    let (status, made) = send(&mesh, "POST", collection, &[key], &rule("a")).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(send(&mesh, "POST", collection, &[key], &rule("a")).await, (status, made));
    let (status, _) = send(&mesh, "POST", collection, &[key], &rule("b")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, problem) = send(&mesh, "POST", collection, &[], &rule("b")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    let (status, _) = send(&mesh, "POST", "/api/v1/virtualservices", &[], &rule("b")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_in_the_object_and_for_proxies() {
    let mesh = Mesh::start().await;
    send(&mesh, "PUT", PATH, &[("if-none-match", "*")], &rule("a")).await;
    let dry = format!("{PATH}?dryRun=server");
    let (status, told) = send(&mesh, "PUT", &dry, &[], &rule("b")).await;
    assert_eq!((status, &told["valid"]), (StatusCode::OK, &json!(true)), "{told}");
    assert_eq!(told["diff"], json!([{ "op": "replace", "path": "/spec/host", "value": "b" }]));
    assert_eq!((&told["items"][0]["change"], &told["impact"]["proxies"]), (&json!("configured"), &json!(0)));
    let (status, told) = send(&mesh, "PUT", &dry, &[], &json!({ "kind": "DestinationRule" })).await;
    assert_eq!((status, &told["valid"]), (StatusCode::OK, &json!(false)));
    assert_eq!(told["diagnostics"][0]["severity"], "error");
    let (_, told) = send(&mesh, "DELETE", &dry, &[], &Value::Null).await;
    assert_eq!((&told["items"][0]["change"], &told["diff"][0]["op"]), (&json!("deleted"), &json!("remove")));
    let (_, read) = mesh.get(PATH).await;
    assert_eq!(read["object"]["spec"]["host"], "a");
}

#[tokio::test]
async fn a_body_is_of_the_object_that_the_path_names() {
    let mesh = Mesh::start().await;
    for path in ["/api/v1/destinationrules/default/other", "/api/v1/destinationrules/x/reviews"] {
        let (status, problem) = send(&mesh, "PUT", path, &[("if-none-match", "*")], &rule("a")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    }
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again_and_long_answers_are_packed() {
    let mesh = Mesh::start().await;
    send(&mesh, "PUT", PATH, &[("if-none-match", "*")], &rule("a")).await;
    for path in [PATH, "/api/v1/destinationrules", "/api/v1/services"] {
        let ask = |tag: &str| mesh.request("GET", path).header(header::IF_NONE_MATCH, tag).body(Body::empty()).unwrap();
        let first = mesh.answer(ask("\"none\"")).await;
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(mesh.answer(ask(&tag)).await.status(), StatusCode::NOT_MODIFIED, "{path}");
    }
    let request = Request::builder().uri("/api/v1/openapi.json").header(header::ACCEPT_ENCODING, "gzip");
    let packed = mesh.answer(request.body(Body::empty()).unwrap()).await;
    assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_a_name_in_the_query_that_means_nothing_is_refused() {
    let mesh = Mesh::start().await;
    for name in ["a", "b", "c"] {
        let mut document = rule("x");
        document["metadata"] = json!({ "name": name, "labels": { "tier": name } });
        let path = format!("/api/v1/destinationrules/default/{name}");
        assert_eq!(send(&mesh, "PUT", &path, &[("if-none-match", "*")], &document).await.0, StatusCode::CREATED);
    }
    let (_, first) = mesh.get("/api/v1/destinationrules?limit=2&sort=-name&fields=name").await;
    assert_eq!((&first["items"], &first["total"]), (&json!([{ "name": "c" }, { "name": "b" }]), &json!(3)));
    let next = first["next"].as_str().unwrap();
    let (_, second) = mesh.get(&format!("/api/v1/destinationrules?limit=2&cursor={next}")).await;
    assert_eq!((&second["items"], second.get("next")), (&json!([{ "name": "a" }]), None));
    let (_, labelled) = mesh.get("/api/v1/destinationrules?labels=tier%3Db").await;
    assert_eq!(labelled["items"][0]["name"], "b");
    for wrong in ["limit=0", "limit=x", "dryrun=server", "sort=colour", "cursor=made-up", "wait=1h", "watch=2"] {
        let (status, problem) = mesh.get(&format!("/api/v1/destinationrules?{wrong}")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("malformed")), "{wrong}");
    }
}

#[tokio::test]
async fn who_waits_with_a_wrong_filter_is_told_before_the_wait() {
    let mesh = Mesh::start().await;
    let (_, list) = mesh.get("/api/v1/destinationrules").await;
    let since = list["revision"].as_u64().unwrap().max(1);
    for wrong in ["filter=name%20matches%20%22(%22", "filter=name%20is", "labels=%3Dx"] {
        let path = format!("/api/v1/destinationrules?{wrong}&index={since}&wait=10m");
        let (status, problem) = tokio::time::timeout(Duration::from_secs(60), mesh.get(&path)).await.expect(wrong);
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("malformed")), "{problem}");
    }
}

#[tokio::test]
async fn a_watch_tells_each_change_with_the_object_and_goes_on_where_it_ended() {
    let mesh = Mesh::start().await;
    let following = tokio::spawn(crate::follow(mesh.state.clone()));
    let (_, list) = mesh.get("/api/v1/destinationrules").await;
    let since = list["revision"].as_u64().unwrap();
    // The follower begins before the first change is made: it is asked for by what it does.
    tokio::task::yield_now().await;
    send(&mesh, "PUT", PATH, &[("if-none-match", "*")], &rule("a")).await;
    assert!(mesh.state.kept.feed.beyond(since).await);
    let path = format!("/api/v1/destinationrules?index={since}&wait=60s");
    let (_, later) = mesh.get(&path).await;
    assert_eq!(later["items"][0]["name"], "reviews");
    let path = format!("/api/v1/destinationrules?watch=1&since={since}");
    let answer = mesh.answer(mesh.request("GET", &path).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    mesh.state.kept.feed.close();
    let text = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains("event: bookmark") && text.contains("event: added"), "{text}");
    let path = "/api/v1/destinationrules?watch=1&since=1";
    assert_eq!(mesh.get(path).await.0, StatusCode::GONE);
    following.abort();
}
