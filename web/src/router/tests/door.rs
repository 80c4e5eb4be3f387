//! Who is let in to what, how a browser signs in, and what the audit log holds afterwards.

use axum::http::{Method, Response};
use citadel::{Access, Role, Scopes};

use super::*;

const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: shop}\n\
                    spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}\n";

/// A token of a role, narrowed to namespaces.
pub(super) async fn token(mesh: &Mesh, role: Role, namespaces: &[&str]) -> String {
    let namespaces = namespaces.iter().map(ToString::to_string).collect();
    let access = Access { role, scopes: Scopes { namespaces, ..Scopes::default() } };
    let new = NewApiToken { access, ..NewApiToken::admin(role.as_str(), std::time::Duration::from_secs(3600)) };
    mesh.state.api_tokens.mint(new).await.unwrap().text
}

pub(super) async fn ask(mesh: &Mesh, bearer: &str, method: &str, path: &str, text: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    let request = request
        .header(header::CONTENT_TYPE, if text.starts_with('{') { "application/json" } else { "application/yaml" });
    mesh.send(request.body(Body::from(text.to_owned())).unwrap()).await
}

pub(super) async fn status(mesh: &Mesh, bearer: &str, method: &str, path: &str, text: &str) -> u16 {
    ask(mesh, bearer, method, path, text).await.0.as_u16()
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let mesh = Mesh::start().await;
    let viewer = token(&mesh, Role::Viewer, &[]).await;
    for path in ["/services", "/virtualservices", "/proxies", "/problems", "/history", "/_session", "/version"] {
        assert_eq!(status(&mesh, &viewer, "GET", path, "").await, 200, "{path}");
    }
    for (method, path) in [
        ("POST", "/_apply"),
        ("POST", "/_apply?dryRun=server"),
        ("DELETE", "/virtualservices/shop/a"),
        ("POST", "/tokens"),
        ("DELETE", "/members/x"),
        ("GET", "/audit"),
        ("GET", "/access/tokens"),
        ("POST", "/access/tokens"),
        ("POST", "/_setup"),
    ] {
        let (status, problem) = ask(&mesh, &viewer, method, path, RULE).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
        assert!(problem["detail"].as_str().unwrap().contains("role"), "{problem}");
    }
}

#[tokio::test]
async fn a_token_for_a_namespace_reaches_no_other() {
    let mesh = Mesh::start().await;
    let shop = token(&mesh, Role::Operator, &["shop"]).await;
    assert_eq!(status(&mesh, &shop, "POST", "/_apply", RULE).await, 200);
    let elsewhere = RULE.replace("shop", "default");
    assert_eq!(status(&mesh, &shop, "POST", "/_apply", &elsewhere).await, 403);
    // One object that is not allowed refuses them all.
    assert_eq!(
        status(&mesh, &shop, "POST", "/_apply", &format!("{}---\n{elsewhere}", RULE.replace("name: a", "name: b")))
            .await,
        403
    );
    assert_eq!(status(&mesh, &shop, "GET", "/virtualservices/shop/b", "").await, 404);
    assert_eq!(status(&mesh, &shop, "GET", "/virtualservices/shop/a", "").await, 200);
    assert_eq!(status(&mesh, &shop, "GET", "/virtualservices/default/a", "").await, 403);
    assert_eq!(status(&mesh, &shop, "GET", "/virtualservices", "").await, 403);
    assert_eq!(status(&mesh, &shop, "GET", "/virtualservices?namespace=shop", "").await, 200);
    assert_eq!(status(&mesh, &shop, "GET", "/services?namespace=shop", "").await, 200);
    for mine in ["/virtualservices/shop/a/_history", "/virtualservices/shop/a/_impact", "/_wri/wri:vs:shop:a"] {
        assert_eq!(status(&mesh, &shop, "GET", mine, "").await, 200, "{mine}");
    }
    for theirs in ["/services?namespace=shop,default", "/ca", "/series", "/_wri/wri:vs:default:a"] {
        assert_eq!(status(&mesh, &shop, "GET", theirs, "").await, 403, "{theirs}");
    }
    // Its operator changes traffic, not who may talk to whom.
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\n\
                  spec: {mtls: {mode: STRICT}}\n";
    assert_eq!(status(&mesh, &shop, "POST", "/_apply", strict).await, 403);
    let security = token(&mesh, Role::Security, &[]).await;
    assert_eq!(status(&mesh, &security, "POST", "/_apply", strict).await, 200);
    let order = json!({ "namespace": "default", "service_account": "a" }).to_string();
    assert_eq!(status(&mesh, &security, "POST", "/tokens", &order).await, 201);
    for step in [r#"{"step": "advance", "force": true}"#, r#"{"step": "back", "force": true}"#] {
        let (status, problem) = ask(&mesh, &security, "POST", "/ca/_rotate", step).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("force"), "{problem}");
    }
    let narrow = token(&mesh, Role::Security, &["shop"]).await;
    assert_eq!(status(&mesh, &narrow, "POST", "/tokens", &order).await, 403);
    let order = json!({ "namespace": "shop", "service_account": "a" }).to_string();
    assert_eq!(status(&mesh, &narrow, "POST", "/tokens", &order).await, 201);
}

#[tokio::test]
async fn a_caller_may_ask_what_it_may_do() {
    let mesh = Mesh::start().await;
    let operator = token(&mesh, Role::Operator, &["shop"]).await;
    let question =
        |verb: &str, namespace: &str| json!({ "verb": verb, "kind": "vs", "namespace": namespace }).to_string();
    let (_, yes) = ask(&mesh, &operator, "POST", "/_can", &question("write", "shop")).await;
    assert_eq!(yes, json!({ "allowed": true }));
    let (_, no) = ask(&mesh, &operator, "POST", "/_can", &question("write", "default")).await;
    assert_eq!(no["allowed"], false);
    assert!(no["reason"].as_str().unwrap().contains("namespaces shop"), "{no}");
    assert_eq!(status(&mesh, &operator, "POST", "/_can", "{\"verb\": \"fly\"}").await, 400);
}

#[tokio::test]
async fn tokens_are_made_shown_once_and_revoked_at_once() {
    let mesh = Mesh::start().await;
    let order = json!({ "name": "ci", "role": "operator", "scopes": { "namespaces": ["shop"] }, "ttl_seconds": 60 });
    let (made, token) = ask(&mesh, &mesh.token, "POST", "/access/tokens", &order.to_string()).await;
    assert_eq!(made, StatusCode::CREATED, "{token}");
    let text = token["token"].as_str().unwrap();
    assert_eq!(status(&mesh, text, "GET", "/virtualservices?namespace=shop", "").await, 200);
    let (_, listing) = mesh.get("/api/v1/access/tokens").await;
    assert!(!listing.to_string().contains(text.rsplit('_').next().unwrap()), "a secret is listed");
    assert!(listing["items"].as_array().unwrap().iter().any(|item| item["name"] == "ci" && item["author"] == "admin"));
    let path = format!("/access/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(status(&mesh, &mesh.token, "DELETE", &path, "").await, 200);
    assert_eq!(status(&mesh, text, "GET", "/virtualservices?namespace=shop", "").await, 401);
    assert_eq!(status(&mesh, &mesh.token, "DELETE", &path, "").await, 404);
    for wrong in [
        json!({ "name": "ci", "role": "operator" }),
        json!({ "name": "ci", "role": "operator", "ttl_seconds": 400 * 24 * 3600 }),
        json!({ "name": "ci", "role": "root", "ttl_seconds": 60 }),
        json!({ "name": "ci", "role": "viewer", "ttl_seconds": 60, "scopes": { "kinds": ["Pod"] } }),
    ] {
        assert_eq!(status(&mesh, &mesh.token, "POST", "/access/tokens", &wrong.to_string()).await, 400, "{wrong}");
    }
}

/// Answers of a browser that has a cookie.
async fn browse(mesh: &Mesh, method: Method, path: &str, cookie: &str, csrf: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    let mut request = request.header(header::COOKIE, format!("other=1; {cookie}"));
    if !csrf.is_empty() {
        request = request.header("x-weft-csrf", csrf);
    }
    router(mesh.state.clone()).oneshot(request.body(Body::from(RULE)).unwrap()).await.unwrap()
}

async fn sign_in(mesh: &Mesh, token: &str) -> (StatusCode, String, Value) {
    let request = Request::builder().method("POST").uri("/api/v1/_session");
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let response = request.body(Body::from(json!({ "token": token }).to_string())).unwrap();
    let response = router(mesh.state.clone()).oneshot(response).await.unwrap();
    let cookie = response.headers().get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
    (response.status(), cookie.unwrap_or_default(), body(response).await)
}

#[tokio::test]
async fn a_browser_signs_in_and_its_changes_need_the_pages_word() {
    let mesh = Mesh::start().await;
    let (status, set, session) = sign_in(&mesh, &mesh.token).await;
    assert_eq!(status, StatusCode::CREATED, "{session}");
    assert!(set.contains("; HttpOnly; SameSite=Strict;") && set.contains("Path=/"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let csrf = session["csrf"].as_str().unwrap();
    assert_eq!((session["actor"].as_str(), session["role"].as_str()), (Some("admin"), Some("admin")));
    assert_eq!(browse(&mesh, Method::GET, "/services", cookie, "").await.status(), 200);
    let again = body(browse(&mesh, Method::GET, "/_session", cookie, "").await).await;
    assert_eq!(again["csrf"], session["csrf"]);
    for wrong in ["", "x", &csrf[1..]] {
        assert_eq!(browse(&mesh, Method::POST, "/_apply", cookie, wrong).await.status(), 403, "{wrong:?}");
    }
    assert_eq!(browse(&mesh, Method::POST, "/_apply", cookie, csrf).await.status(), 200);
    assert_eq!(browse(&mesh, Method::DELETE, "/_session", cookie, csrf).await.status(), 204);
    assert_eq!(browse(&mesh, Method::GET, "/services", cookie, "").await.status(), 401);
    assert_eq!(sign_in(&mesh, "weft_pat_abcdefghijkl_wrong").await.0, StatusCode::UNAUTHORIZED);
}

/// The rest of a stream, which has to end.
async fn rest(stream: Response<Body>) -> String {
    assert_eq!(stream.headers()[header::CONTENT_TYPE], "text/event-stream");
    let whole = axum::body::to_bytes(stream.into_body(), usize::MAX);
    let whole = tokio::time::timeout(std::time::Duration::from_secs(60), whole).await.expect("the stream goes on");
    String::from_utf8(whole.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_token_or_the_session_that_it_was_begun_with() {
    let mesh = Mesh::start().await;
    for path in ["/events", "/virtualservices?watch=1", "/tap"] {
        let new = NewApiToken::admin("ada", std::time::Duration::from_secs(3600));
        let ada = mesh.state.api_tokens.mint(new).await.unwrap();
        let stream = || async {
            let request = Request::builder().uri(format!("/api/v1{path}"));
            let request = request.header(header::AUTHORIZATION, format!("Bearer {}", ada.text));
            mesh.answer(request.body(Body::empty()).unwrap()).await
        };
        let begun = stream().await;
        let revoked = format!("/access/tokens/{}", ada.token.id);
        assert_eq!(status(&mesh, &mesh.token, "DELETE", &revoked, "").await, 200, "{path}");
        rest(begun).await;
        assert_eq!(stream().await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let (_, set, session) = sign_in(&mesh, &mesh.token).await;
    let cookie = set.split(';').next().unwrap();
    let begun = browse(&mesh, Method::GET, "/events", cookie, "").await;
    let csrf = session["csrf"].as_str().unwrap();
    assert_eq!(browse(&mesh, Method::DELETE, "/_session", cookie, csrf).await.status(), 204);
    rest(begun).await;
    assert_eq!(browse(&mesh, Method::GET, "/events", cookie, "").await.status(), 401);
}

#[tokio::test]
async fn a_setup_link_lets_one_browser_in() {
    let mesh = Mesh::start().await;
    let (made, link) = ask(&mesh, &mesh.token, "POST", "/_setup", "").await;
    assert_eq!(made, StatusCode::CREATED);
    assert!(link["path"].as_str().unwrap().starts_with("/#setup=weft_setup_"), "{link}");
    let text = link["token"].as_str().unwrap();
    assert_eq!(sign_in(&mesh, text).await.0, StatusCode::CREATED);
    assert_eq!(sign_in(&mesh, text).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_down_and_others_are_not() {
    let mesh = Mesh::start().await;
    let mut answers = Vec::new();
    for _ in 0..25 {
        answers.push(status(&mesh, "weft_pat_abcdefghijkl_wrong", "GET", "/services", "").await);
    }
    assert_eq!((answers[0], answers[24]), (401, 429));
    assert_eq!(mesh.get("/api/v1/services").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_audit_log_has_every_change_and_every_refusal_and_no_secret() {
    let mesh = Mesh::start().await;
    let viewer = token(&mesh, Role::Viewer, &[]).await;
    assert_eq!(status(&mesh, &mesh.token, "POST", "/_apply", RULE).await, 200);
    assert_eq!(status(&mesh, &mesh.token, "POST", "/_apply?dryRun=server", RULE).await, 200);
    assert_eq!(status(&mesh, &mesh.token, "POST", "/_apply", "kind: [").await, 422);
    assert_eq!(status(&mesh, &viewer, "POST", "/_apply", RULE).await, 403);
    assert_eq!(status(&mesh, &viewer, "GET", "/services", "").await, 200);
    let order = json!({ "namespace": "default", "service_account": "a" }).to_string();
    let (_, join) = ask(&mesh, &mesh.token, "POST", "/tokens", &order).await;
    let (_, log) = mesh.get("/api/v1/audit").await;
    let told: Vec<(&str, &str, &str, bool)> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default();
            (text("actor"), text("verb"), text("result"), line["dry_run"] == true)
        })
        .collect();
    let expected = [
        ("admin", "issue-join-token", "done", false),
        ("viewer", "write", "403", false),
        ("admin", "write", "422", false),
        ("admin", "write", "done", true),
        ("admin", "write", "done", false),
    ];
    assert_eq!(told, expected);
    let applied = &log["items"][4];
    assert_eq!(applied["object"], "VirtualService shop/a");
    assert!(applied["revision_after"].as_u64() > Some(0) && applied["revision_before"].is_null(), "{applied}");
    for secret in [&mesh.token, &viewer, join["token"].as_str().unwrap()] {
        assert!(!log.to_string().contains(secret.split('_').nth(3).unwrap()), "a secret is in the log");
    }
    let (_, verified) = mesh.get("/api/v1/audit/_verify").await;
    assert_eq!((&verified["ok"], &verified["entries"]), (&json!(true), &json!(5)), "{verified}");
}

#[tokio::test]
async fn what_a_revision_did_is_shown_and_undone() {
    let mesh = Mesh::start().await;
    ask(&mesh, &mesh.token, "POST", "/_apply", RULE).await;
    ask(&mesh, &mesh.token, "POST", "/_apply?message=to+b", &RULE.replace("host: a", "host: b")).await;
    let (_, history) = mesh.get("/api/v1/history?kind=vs&namespace=shop").await;
    let revisions: Vec<u64> =
        history["items"].as_array().unwrap().iter().map(|r| r["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions.len(), 2, "{history}");
    let (_, second) = mesh.get(&format!("/api/v1/history/{}", revisions[0])).await;
    assert!(second["diff"].as_str().unwrap().contains("-            host: a\n"), "{second}");
    assert_eq!(second["changes"][0]["before"]["kind"], "VirtualService");
    let order = json!({ "revision": revisions[1], "object": { "kind": "vs", "namespace": "shop", "name": "a" } });
    let (_, dry) = mesh.post("/api/v1/_rollback?dryRun=server", &order).await;
    assert_eq!((&dry["revision"], dry["changes"].as_array().unwrap().len()), (&json!(0), 1), "{dry}");
    let viewer = token(&mesh, Role::Viewer, &[]).await;
    assert_eq!(status(&mesh, &viewer, "POST", "/_rollback", &order.to_string()).await, 403);
    let (done, answer) = mesh.post("/api/v1/_rollback", &order).await;
    assert_eq!(done, StatusCode::OK, "{answer}");
    let (_, object) = mesh.get("/api/v1/virtualservices/shop/a").await;
    assert_eq!(object["object"]["spec"]["http"][0]["route"][0]["destination"]["host"], "a");
    let (_, between) = mesh.get(&format!("/api/v1/history/_diff?from={}&to={}", revisions[1], revisions[0])).await;
    assert!(between["diff"].as_str().unwrap().contains("+            host: b\n"), "{between}");
    assert_eq!(mesh.get("/api/v1/history/99999").await.0, StatusCode::NOT_FOUND);
    let (_, log) = mesh.get("/api/v1/audit?limit=1").await;
    assert_eq!(log["items"][0]["detail"], format!("rollback to revision {}", revisions[1]));
    assert_eq!(log["items"][0]["revision_after"], answer["revision"]);
}

const SECRET_RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: elsewhere, namespace: other}
spec:
  hosts: [reviews.default.svc.cluster.local]
  http: [{headers: {request: {set: {x-key: PLANTED}}}, route: [{destination: {host: reviews.default.svc.cluster.local}}]}]
";
#[tokio::test]
async fn a_rollback_tells_beforehand_what_the_objects_that_it_deletes_leave_behind() {
    const SUBSETS: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n\
                           spec: {host: reviews.example, subsets: [{name: v1, labels: {version: v1}}]}\n";
    const ROUTE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: \
                         [reviews.example], http: [{route: [{destination: {host: reviews.example, subset: v1}}]}]}\n";
    let mesh = Mesh::start().await;
    let services = SERVICE.replace("reviews.default.svc.cluster.local", "reviews.example");
    for text in [&*services, SUBSETS, ROUTE] {
        assert_eq!(ask(&mesh, &mesh.token, "POST", "/_apply", text).await.0, StatusCode::OK);
    }
    let (_, history) = mesh.get("/api/v1/history").await;
    let first = &history["items"].as_array().unwrap().last().unwrap()["revision"];
    let order = json!({ "revision": first, "object": { "kind": "dr", "namespace": "default", "name": "r" } });
    let (_, dry) = mesh.post("/api/v1/_rollback?dryRun=server", &order).await;
    assert_eq!(dry["changes"][0]["change"], "deleted", "{dry}");
    assert!(dry["warnings"].to_string().contains("not found: \\\"reviews.example+v1\\\""), "{dry}");
    let (_, done) = mesh.post("/api/v1/_rollback", &order).await;
    assert_eq!(done["warnings"], dry["warnings"]);
}

const SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
";

/// A token for one namespace sees the rules of that, from whatever side it asks.
#[tokio::test]
async fn a_token_of_one_namespace_reads_no_rules_of_another_by_way_of_a_service() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    assert_eq!(mesh.post("/api/v1/_apply", SECRET_RULE).await.0, StatusCode::OK);
    let (_, routing) = mesh.get("/api/v1/services/default/reviews/_routing").await;
    assert!(routing.to_string().contains("PLANTED"), "{routing}");
    mesh.token = token(&mesh, Role::Operator, &["default"]).await;
    let (status, routing) = mesh.get("/api/v1/services/default/reviews/_routing").await;
    assert_eq!((status, &routing["claimed_by"][0]["hidden"]), (StatusCode::OK, &json!(true)), "{routing}");
    assert!(!routing.to_string().contains("PLANTED"), "{routing}");
    let (_, policies) = mesh.get("/api/v1/services/default/reviews/_policies").await;
    assert!(!policies.to_string().contains("elsewhere"), "{policies}");
    assert_eq!(mesh.get("/api/v1/services/default/reviews/_config").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nobody_but_an_administrator_says_for_whom_he_writes() {
    let mut mesh = Mesh::start().await;
    let rule = |name: &str| SERVICE.replace("name: reviews}", &format!("name: {name}}}"));
    let author = async |mesh: &Mesh, name: &str| {
        let request = mesh.request("POST", "/api/v1/_apply").header("weft-author", "alice");
        let (status, told) = mesh.send(request.body(Body::from(rule(name))).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        mesh.get(&format!("/api/v1/serviceentries/default/{name}")).await.1["provenance"]["author"].clone()
    };
    assert_eq!(author(&mesh, "one").await, "alice");
    mesh.token = token(&mesh, Role::Operator, &["default"]).await;
    assert_eq!(author(&mesh, "two").await, "operator");
}

#[tokio::test]
async fn the_lists_of_a_token_of_one_namespace_hold_that_and_nothing_else() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    let everybody = mesh.token.clone();
    let shop = token(&mesh, Role::Viewer, &["shop"]).await;
    let own = token(&mesh, Role::Viewer, &["default"]).await;
    for path in ["/services", "/endpoints", "/workloads"] {
        for (bearer, expected) in [(&everybody, 1), (&own, 1), (&shop, 0)] {
            assert_eq!(ask(&mesh, bearer, "GET", path, "").await.1["total"], expected, "{path}");
        }
    }
    for path in ["/proxies", "/problems", "/overview", "/graph"] {
        assert_eq!(status(&mesh, &shop, "GET", path, "").await, 200, "{path}");
    }
    let ids =
        |graph: Value| graph["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(ask(&mesh, &own, "GET", "/graph", "").await.1), ["default/reviews"]);
    assert_eq!(ids(ask(&mesh, &shop, "GET", "/graph", "").await.1), [""; 0]);
    let at_a_glance = async |bearer: &str| {
        let told = ask(&mesh, bearer, "GET", "/overview", "").await.1;
        (told["services"]["total"].clone(), told["registries"][0]["services"].clone())
    };
    assert_eq!(at_a_glance(&own).await, (json!(1), json!(1)));
    assert_eq!(at_a_glance(&shop).await, (json!(0), json!(0)));
    assert_eq!(status(&mesh, &own, "GET", "/series?service=default/reviews", "").await, 200);
    assert_eq!(status(&mesh, &shop, "GET", "/series?service=default/reviews", "").await, 403);
    assert_eq!(status(&mesh, &shop, "GET", "/_wri/wri:service:default:reviews", "").await, 403);
    let (_, named) = ask(&mesh, &own, "GET", "/_wri/wri:service:default:reviews", "").await;
    assert_eq!(named["host"], "reviews.default.svc.cluster.local");
}

#[tokio::test]
async fn nonsense_in_a_question_is_told_and_not_waited_for() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    let now = mesh.state.mixer.now();
    for (path, expected) in [
        ("/tap?proxy=nobody".to_owned(), 404),
        ("/tap?destination=default/nobody".into(), 404),
        ("/tap?source=nobody".into(), 404),
        ("/series?service=default/nobody".into(), 404),
        ("/series?service=default/reviews&window=25h".into(), 400),
        ("/graph?window=2h".into(), 400),
        (format!("/graph?at={}", now - 7_200_000), 400),
        (format!("/graph?at={now}"), 200),
        ("/audit?result=perhaps".into(), 400),
        ("/audit?before=0".into(), 400),
        ("/services?filter=nonsense".into(), 400),
        ("/services?filter=colour%20==%20red".into(), 400),
        ("/services?filter=name%20==%20reviews".into(), 200),
    ] {
        let (status, told) = mesh.get(&format!("/api/v1{path}")).await;
        assert_eq!(status.as_u16(), expected, "{path}: {told}");
    }
}
