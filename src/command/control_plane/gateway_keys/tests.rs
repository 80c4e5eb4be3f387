//! Who is granted keys, beside a cluster that answers as it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use ::api::envoy::config::core::v3 as core;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use citadel::Grant;
use serde_json::{Value, json};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the cluster says, and how often it was asked.
#[derive(Clone, Default)]
struct Scripted {
    allowed: Arc<Mutex<Option<bool>>>,
    asked: Arc<AtomicUsize>,
    users: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn says(&self, allowed: Option<bool>) {
        *self.allowed.lock().unwrap() = allowed;
    }

    /// Waits until it was asked so often since.
    async fn asked_again(&self, times: usize) {
        let before = self.asked.load(Ordering::SeqCst);
        let more = async {
            while self.asked.load(Ordering::SeqCst) < before + times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, more).await.expect("it is asked again");
    }
}

async fn answer(State(scripted): State<Scripted>, Json(review): Json<Value>) -> Response {
    scripted.asked.fetch_add(1, Ordering::SeqCst);
    let spec = &review["spec"];
    assert_eq!(
        (&spec["resourceAttributes"]["verb"], &spec["resourceAttributes"]["resource"]),
        (&json!("list"), &json!("secrets"))
    );
    scripted.users.lock().unwrap().push(spec["user"].as_str().unwrap().to_owned());
    let allowed = *scripted.allowed.lock().unwrap();
    match allowed {
        Some(allowed) => (StatusCode::CREATED, Json(json!({ "status": { "allowed": allowed } }))).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn keys(scripted: &Scripted, holds: Duration) -> GatewayKeys {
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let router = axum::Router::new().route(path, post(answer)).with_state(scripted.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "east",
        "contexts": [{ "name": "east", "context": { "cluster": "east", "user": "u" } }],
        "clusters": [{ "name": "east", "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": { "token": "t" } }],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let cluster = Some(Cluster::open(&file).await.unwrap());
    GatewayKeys { holds, again: holds, ..GatewayKeys::of(cluster) }
}

fn node() -> Node {
    let id = "router~10.0.0.1~edge.istio-system~istio-system.svc.cluster.local";
    Node::parse(&core::Node { id: id.into(), ..Default::default() }).unwrap()
}

fn peer() -> Peer {
    Peer { id: "spiffe://cluster.local/ns/istio-system/sa/edge".parse().unwrap(), member: None, address: None }
}

fn member(gateway: bool) -> Member {
    Member {
        id: "3f9c2a-1".into(),
        namespace: "istio-system".into(),
        service_account: "edge".into(),
        token: "3f9c2a".into(),
        grant: Grant { gateway, ..Grant::default() },
        joined: 0,
        ended: None,
    }
}

#[tokio::test]
async fn an_account_has_keys_as_the_cluster_says_and_an_answer_holds_for_a_while() {
    let scripted = Scripted::default();
    scripted.says(Some(false));
    let keys = keys(&scripted, Duration::from_secs(3600)).await;
    for _ in 0..3 {
        let told = keys.attach(&node(), Some(&peer()), None).await.0;
        let KeyAccess::Denied(why) = told.borrow().clone() else { panic!("{told:?}") };
        assert!(why.contains("cluster east does not let") && why.contains("kubectl create role edge-keys"), "{why}");
    }
    assert_eq!(*scripted.users.lock().unwrap(), ["system:serviceaccount:istio-system:edge"]);
}

#[tokio::test]
async fn what_changes_in_the_cluster_reaches_a_gateway_that_is_connected() {
    let scripted = Scripted::default();
    let keys = keys(&scripted, Duration::from_millis(5)).await;
    let mut told = keys.attach(&node(), Some(&peer()), None).await.0;
    assert!(matches!(&*told.borrow(), KeyAccess::Unknown(why) if why.contains("east cannot be asked")), "{told:?}");
    let until = async |told: &mut watch::Receiver<KeyAccess>, granted: bool| {
        let changed = told.wait_for(|access| (*access == KeyAccess::Granted) == granted);
        drop(tokio::time::timeout(PATIENCE, changed).await.expect("it is told").unwrap());
    };
    scripted.says(Some(true));
    until(&mut told, true).await;
    // Nothing is taken away while there is no answer.
    scripted.says(None);
    scripted.asked_again(3).await;
    assert_eq!(*told.borrow(), KeyAccess::Granted);
    scripted.says(Some(false));
    until(&mut told, false).await;
}

#[tokio::test]
async fn who_came_with_a_token_has_keys_as_the_token_says_whatever_the_cluster_would() {
    let scripted = Scripted::default();
    scripted.says(Some(true));
    let keys = keys(&scripted, Duration::from_secs(3600)).await;
    let access = async |gateway| keys.attach(&node(), Some(&peer()), Some(&member(gateway))).await.0.borrow().clone();
    assert_eq!(access(true).await, KeyAccess::Granted);
    let KeyAccess::Denied(why) = access(false).await else { panic!("granted") };
    assert!(why.contains("the token 3f9c2a, which is for no gateway") && why.contains("weft token create --gateway"));
    assert_eq!(scripted.asked.load(Ordering::SeqCst), 0);
    let nobody = GatewayKeys::of(None).attach(&node(), Some(&peer()), None).await.0.borrow().clone();
    assert!(matches!(nobody, KeyAccess::Denied(why) if why.contains("weft token create --gateway")));
}
