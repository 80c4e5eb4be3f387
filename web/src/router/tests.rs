//! The API as a client meets it, over a real galley and registry.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use citadel::{ApiTokens, Members, NewApiToken, Tokens};
use galley::{Galley, GalleyOptions};
use pilot::{Discovery, Inputs, MeshConfig};
use registry::{Agents, AgentsOptions, Catalog, RegisteredPort, Registration, Registry};
use runtime::{Clock, ManualClock};
use serde_json::{Value, json};
use store::{Memory, Store};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::*;

mod changes;
mod door;
mod narrow;

/// A control plane without sockets, and a token for it.
pub(crate) struct Mesh {
    pub state: State,
    agents: Agents,
    token: String,
    _inputs: watch::Sender<Inputs>,
    _dir: tempfile::TempDir,
}

impl Mesh {
    pub async fn start() -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let clock: Clock = ManualClock::at(SystemTime::now()).clock();
        let trust_domain = api::TrustDomain::new("cluster.local").unwrap();
        let directories = Vec::new();
        let domain = "cluster.local".to_owned();
        let galley = Galley::open(GalleyOptions { store: store.clone(), directories, domain }).await.unwrap();
        let agents = Agents::open(store.clone(), AgentsOptions::default()).await.unwrap();
        let (publish, catalog) = watch::channel(Arc::new(Catalog::default()));
        let registries: Vec<Arc<dyn Registry>> = vec![Arc::new(agents.clone())];
        let (steering, orders) = registry::Steering::channel();
        tokio::spawn(registry::run_steered(registries, registry::Policy::default(), orders, publish));
        let (inputs, followed) = watch::channel(Inputs {
            catalog: Arc::default(),
            config: galley.snapshots().borrow().clone(),
            mesh: Arc::new(MeshConfig::new(trust_domain.clone())),
            credentials: Arc::default(),
            ready: true,
        });
        let discovery = Discovery::new(followed.clone(), pilot::Options::default(), Arc::new(()));
        let dir = tempfile::tempdir().unwrap();
        let authority = citadel::SelfSigned::open(&dir.path().join("ca"), &trust_domain, store.clone(), clock.clone());
        let rotation = citadel::Rotation::new(Arc::new(authority.unwrap()), false);
        let ca = dir.path().join("ca");
        let jwt = citadel::JwtAuthority::open(&ca, &trust_domain, None, store.clone(), clock.clone());
        let keys = jwt.await.unwrap().told();
        let spiffe_bundle = citadel::SpiffeBundle::new(rotation.bundles(), keys, store.clone());
        let own = trust_domain.workload("istio-system", "control-plane").unwrap();
        let grace = std::time::Duration::ZERO;
        let denials = citadel::Denials::open(store.clone(), clock.clone(), own, &[], grace).await.unwrap();
        let join_tokens = Tokens::new(store.clone(), rotation.bundles(), clock.clone());
        let members = Members::new(store.clone(), clock.clone());
        let ledger = citadel::Ledger::new(store.clone(), clock.clone());
        let api_tokens = ApiTokens::new(store.clone(), clock.clone());
        let audit = crate::Audit::open(dir.path().join("audit.jsonl")).unwrap();
        let door = crate::Door::new(citadel::Sessions::new(store.clone(), api_tokens.clone(), clock), audit, false);
        let token = api_tokens.mint(NewApiToken::admin("admin", citadel::LONGEST)).await.unwrap().text;
        let mixer = mixer::Mixer::new(catalog.clone(), runtime::Clock::system(), mixer::Options::default());
        let state = State {
            galley,
            catalog,
            discovery,
            inputs: followed,
            join_tokens,
            members,
            agents: agents.clone(),
            steering,
            door,
            api_tokens,
            mixer,
            trust_domain,
            bundle: rotation.bundles(),
            spiffe_bundle,
            rotation,
            denials,
            ledger,
            issuances: citadel::Issuances::default(),
            rooms: citadel::Rooms::new(citadel::Capacity::within(64)),
            store,
            kept: crate::Kept::default(),
        };
        Self { state, agents, token, _inputs: inputs, _dir: dir }
    }

    pub fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let bearer = format!("Bearer {}", self.token);
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer)
    }

    /// The whole answer, with its headers.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        router(self.state.clone()).oneshot(request).await.unwrap()
    }

    pub async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = router(self.state.clone()).oneshot(request).await.unwrap();
        (response.status(), body(response).await)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, text: impl ToString) -> (StatusCode, Value) {
        self.send(self.request("POST", path).body(Body::from(text.to_string())).unwrap()).await
    }
}

async fn body(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

#[tokio::test]
async fn nothing_is_told_without_a_token() {
    let mesh = Mesh::start().await;
    for path in ["/api/v1/services", "/api/v1/tokens", "/api/v1/virtualservices", "/api/v1/version"] {
        for bearer in [None, Some("Bearer weft_pat_a_b"), Some("Basic YTpi"), Some("Bearer ")] {
            let mut request = Request::builder().uri(path);
            if let Some(bearer) = bearer {
                request = request.header(header::AUTHORIZATION, bearer);
            }
            let response = router(mesh.state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} {bearer:?}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        }
    }
    let open = Request::builder().uri("/healthz").body(Body::empty()).unwrap();
    assert_eq!(mesh.send(open).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_join_token_is_shown_once_and_can_be_revoked() {
    let mesh = Mesh::start().await;
    let (status, made) = mesh.post("/api/v1/tokens", json!({ "namespace": "default", "service_account": "a" })).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(made["token"].as_str().unwrap().starts_with("weft_join_"));
    let (_, listing) = mesh.get("/api/v1/tokens").await;
    assert_eq!(listing["items"][0]["id"], made["id"]);
    assert!(!listing.to_string().contains(made["token"].as_str().unwrap()));
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    let revoke = || mesh.request("DELETE", &path).body(Body::empty()).unwrap();
    assert_eq!(mesh.send(revoke()).await.0, StatusCode::OK);
    assert_eq!(mesh.send(revoke()).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_join_token_for_a_name_that_is_none_is_refused() {
    let mesh = Mesh::start().await;
    for order in [json!({ "namespace": "../x", "service_account": "a" }), json!({ "namespace": "a" }), json!([])] {
        let (status, problem) = mesh.post("/api/v1/tokens", &order).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{order}");
        assert_eq!(problem["code"], "malformed");
    }
}

/// A workload that serves `reviews`, for as long as the value lives.
pub(crate) async fn reviews(mesh: &mut Mesh) -> registry::Attachment {
    serving(mesh, "reviews").await
}

async fn serving(mesh: &mut Mesh, service: &str) -> registry::Attachment {
    let registration = Registration {
        member: None,
        workload: format!("{service}-v1"),
        namespace: "default".into(),
        service_account: "bookinfo-reviews".into(),
        labels: [("app".to_owned(), service.to_owned())].into(),
        address: [127, 0, 10, if service == "reviews" { 11 } else { 12 }].into(),
        locality: Default::default(),
        network: String::new(),
        cluster: "weft".into(),
        weight: 1,
        health: registry::Health::Healthy,
        ports: vec![RegisteredPort {
            service: service.into(),
            port: 9080,
            shared: None,
            name: String::new(),
            protocol: registry::Protocol::Http,
        }],
    };
    let attachment = mesh.agents.register(registration).await.unwrap();
    let served = |entry: &registry::Entry| {
        !entry.endpoints.is_empty() && entry.service.host().as_str().split('.').next() == Some(service)
    };
    let known = |catalog: &Arc<Catalog>| catalog.entries().any(served);
    mesh.state.catalog.wait_for(known).await.unwrap();
    attachment
}

#[tokio::test]
async fn services_and_endpoints_show_who_joined() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    let (_, services) = mesh.get("/api/v1/services").await;
    assert_eq!(services["items"][0]["host"], "reviews.default.svc.cluster.local");
    assert_eq!(services["items"][0]["endpoints"], json!({ "total": 1, "healthy": 1 }));
    for (labels, found) in [("app=reviews", 1), ("app=other", 0), ("!app", 1), ("app,app!=x", 1)] {
        let (_, services) = mesh.get(&format!("/api/v1/services?labels={labels}")).await;
        assert_eq!(services["total"], found, "{labels}");
    }
    assert_eq!(mesh.get("/api/v1/services?labels=%3Dx").await.0, StatusCode::BAD_REQUEST);
    // A cursor goes on with the list that it is of.
    let _other = serving(&mut mesh, "ratings").await;
    let (_, page) = mesh.get("/api/v1/services?labels=app&limit=1").await;
    let next = format!("cursor={}", page["next"].as_str().unwrap());
    let (status, problem) = mesh.get(&format!("/api/v1/services?labels=app%3Dratings&{next}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().unwrap().starts_with("labels is another than at the first page"), "{problem}");
    assert_eq!(mesh.get(&format!("/api/v1/services?labels=app&{next}")).await.1["items"][0]["name"], "reviews");
    let (_, endpoints) = mesh.get("/api/v1/endpoints?service=reviews").await;
    assert_eq!(endpoints["items"][0]["identity"], "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
    assert_eq!(endpoints["items"][0]["platform"], "vm");
    assert_eq!(endpoints["items"][0]["health_source"], "agent");
    assert!(endpoints["items"][0]["last_heartbeat"].is_null());
    let (_, others) = mesh.get("/api/v1/endpoints?service=rev").await;
    assert_eq!(others["items"], json!([]));
}

#[tokio::test]
async fn a_registry_is_paused_read_anew_and_resumed() {
    let mut mesh = Mesh::start().await;
    let _attachment = reviews(&mut mesh).await;
    let order = async |name: &str, word: &str| mesh.post(&format!("/api/v1/registries/{name}/{word}"), "").await;
    let (status, paused) = order("agents", "_pause").await;
    assert_eq!((status, &paused["state"]), (StatusCode::OK, &json!("paused")), "{paused}");
    assert_eq!(mesh.get("/api/v1/endpoints").await.1["items"][0]["stale"], true);
    assert_eq!(order("agents", "_resync").await.0, StatusCode::CONFLICT);
    for word in ["_resume", "_resync"] {
        let (status, view) = order("agents", word).await;
        assert_eq!((status, &view["state"], &view["endpoints"]), (StatusCode::OK, &json!("synced"), &json!(1)));
    }
    let (status, problem) = order("nomad", "_pause").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["detail"], "there is no registry \"nomad\"; there are agents");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document() {
    let mesh = Mesh::start().await;
    for path in ["/api/v1/teapots", "/api/v1/virtualservices/default/none", "/nowhere"] {
        let (status, problem) = mesh.get(path).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not-found")), "{path}");
    }
    let (status, _) = mesh.post("/api/v1/services", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

const RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews}
";

#[tokio::test]
async fn what_was_applied_is_read_back_with_its_revision_and_deleted_by_it() {
    let mesh = Mesh::start().await;
    let (status, applied) = mesh.post("/api/v1/_apply?origin=rule.yaml", RULE).await;
    assert_eq!((status, &applied["items"][0]["change"]), (StatusCode::OK, &json!("created")), "{applied}");
    let path = "/api/v1/destinationrules/default/reviews";
    let (_, read) = mesh.get(path).await;
    assert_eq!(read["object"]["spec"]["host"], "reviews");
    assert_eq!(read["provenance"]["author"], "admin");

    let delete = |tag: String| mesh.request("DELETE", path).header(header::IF_MATCH, tag).body(Body::empty()).unwrap();
    assert_eq!(mesh.send(delete("\"99\"".into())).await.0, StatusCode::PRECONDITION_FAILED);
    let (status, told) = mesh.send(delete(format!("\"{}\"", read["revision"]))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(told["revision"].as_u64() > read["revision"].as_u64(), "it is that of the deletion: {told}");
    assert_eq!(mesh.get(path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_rejection_names_the_place_and_changes_nothing() {
    let mesh = Mesh::start().await;
    let wrong = format!("{RULE}---\n{}", RULE.replace("name: reviews", "name: b").replace("host:", "hots:"));
    let (status, problem) = mesh.post("/api/v1/_apply?origin=rule.yaml", &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let findings = problem["errors"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["path"] == "spec.hots").unwrap();
    assert_eq!((&finding["file"], &finding["line"]), (&json!("rule.yaml"), &json!(9)), "{problem}");
    assert_eq!((&finding["pointer"], &finding["suggestion"]), (&json!("#/spec/hots"), &json!("host")), "{problem}");
    assert_eq!(mesh.get("/api/v1/destinationrules").await.1["items"], json!([]));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let mesh = Mesh::start().await;
    assert_eq!(mesh.post("/api/v1/_apply?dryRun=server", RULE).await.0, StatusCode::OK);
    assert_eq!(mesh.get("/api/v1/destinationrules/default/reviews").await.0, StatusCode::NOT_FOUND);
    assert_eq!(mesh.post("/api/v1/_apply?dryRun=maybe", RULE).await.0, StatusCode::BAD_REQUEST);
}

const DANGLING: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  gateways: [nowhere]
  http: [{route: [{destination: {host: api.example.com, subset: v9}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";

#[tokio::test]
async fn references_to_nothing_are_warnings_of_apply_and_problems_while_in_force() {
    let mesh = Mesh::start().await;
    let warnings = |answer: &Value| {
        let of_item = |item: &Value| item["warnings"].as_array().unwrap().clone();
        let all: Vec<Value> = answer["items"].as_array().unwrap().iter().flat_map(of_item).collect();
        all.iter().map(|found| format!("{} {}", found["code"], found["detail"])).collect::<Vec<_>>()
    };
    let expected = [
        r#""IST0101" "Referenced host+subset in destinationrule not found: \"api.example.com+v9\"""#,
        r#""IST0101" "Referenced gateway not found: \"default/nowhere\"""#,
    ];
    let (status, tried) = mesh.post("/api/v1/_apply?dryRun=server", DANGLING).await;
    assert_eq!((status, warnings(&tried)), (StatusCode::OK, expected.map(str::to_owned).to_vec()));
    let places = |answer: &Value| {
        let found = answer["items"][0]["warnings"].as_array().unwrap().clone();
        found.iter().map(|found| (found["line"].clone(), found["column"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(places(&tried), [(json!(7), json!(20)), (json!(6), json!(14))], "{tried}");
    assert_eq!(mesh.get("/api/v1/problems").await.1["items"], json!([]));

    let (_, applied) = mesh.post("/api/v1/_apply", DANGLING).await;
    assert_eq!(warnings(&applied), expected);
    let (_, problems) = mesh.get("/api/v1/problems").await;
    let first = &problems["items"][0];
    assert_eq!((&first["severity"], &first["object"]), (&json!("warning"), &json!("VirtualService default/reviews")));
    assert_eq!(problems["items"].as_array().unwrap().len(), 2, "{problems}");

    let (_, alone) = mesh.post("/api/v1/_apply", RULE).await;
    assert_eq!(warnings(&alone), [r#""IST0101" "Referenced host not found: \"reviews\"""#]);
}
