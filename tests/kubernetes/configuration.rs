//! A cluster's configuration objects as a source of the mesh's rules, and what their status says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use galley::kubernetes::Source;
use galley::{Galley, GalleyOptions, Kind};
use registry::{Catalog, RegistryState, RegistryStatus};
use serde_json::Value;
use store::{Sled, Store};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{PACE, PATIENCE, TestCluster};

pub const RESOURCES: &str = include_str!("../../deploy/kubernetes/custom-resources.yaml");
const RULE: &str = "/apis/networking.istio.io/v1/namespaces/default/destinationrules/reviews";

fn rule(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: reviews\n  namespace: default\n\
         spec:\n  {host}\n"
    )
}

struct Mesh {
    galley: Galley,
    /// What registries know; nothing, all told.
    _catalog: watch::Sender<Arc<Catalog>>,
    attached: tokio::task::JoinHandle<()>,
    store: Arc<dyn Store>,
    _dir: Arc<tempfile::TempDir>,
}

impl Mesh {
    async fn of(cluster: &TestCluster, name: &str) -> Self {
        let dir = Arc::new(tempfile::TempDir::new().unwrap());
        let store: Arc<dyn Store> = Arc::new(Sled::open(dir.path().join("store")).unwrap());
        Self::begin(cluster, name, store, dir).await
    }

    async fn begin(cluster: &TestCluster, name: &str, store: Arc<dyn Store>, dir: Arc<tempfile::TempDir>) -> Self {
        let options = GalleyOptions { store: store.clone(), directories: Vec::new(), domain: "cluster.local".into() };
        let galley = Galley::open(options).await.unwrap();
        let mut known = registry::Merger::new(["east"]);
        known.apply(0, registry::Event::Synced);
        let (sender, catalog) = watch::channel(Arc::new(known.catalog().clone()));
        let cluster = cluster.open(name).await;
        let source = Source { cluster, pace: PACE, grace: Duration::from_millis(300), write_status: Some(catalog) };
        assert!(matches!(&known.catalog().registries[..], [RegistryStatus { state: RegistryState::Synced, .. }]));
        let attached = tokio::spawn(galley.attach(source));
        Self { galley, _catalog: sender, attached, store, _dir: dir }
    }

    /// Another control plane on the same store, once this one has ended.
    async fn restart(self, cluster: &TestCluster, name: &str) -> Self {
        self.attached.abort();
        let _ = self.attached.await;
        Self::begin(cluster, name, self.store, self._dir).await
    }

    fn is_strict(&self) -> bool {
        self.galley.get(Kind::PeerAuthentication, "istio-system", "default").is_some()
    }

    fn is_stale(&self) -> bool {
        self.galley.problems().iter().any(|problem| problem.file.contains("east") && problem.message.contains("stale"))
    }

    /// Waits until the store holds what it is to hold of the cluster.
    async fn until_stored(&self, holds: impl Fn(&[store::Entry]) -> bool) {
        let mut changes = self.store.watch("known-objects/");
        let waiting = async {
            while !holds(&self.store.list("known-objects/").await.unwrap().entries) {
                changes.next().await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("the store does not hold it");
    }

    /// The host of the one rule in force.
    fn host(&self) -> Option<String> {
        let object = self.galley.get(Kind::DestinationRule, "default", "reviews")?;
        Some(object.manifest["spec"]["host"].as_str()?.to_owned())
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut snapshots = self.galley.snapshots();
        let waiting = async {
            while !holds(self) {
                snapshots.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come about"));
    }
}

/// Looks at an object again and again until its status says something.
async fn until_status(cluster: &TestCluster, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let looking = async {
        loop {
            let object = cluster.get(path).await.unwrap_or_default();
            if holds(&object) {
                return object;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("the status of {path} does not say it"))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn says(object: &Value, kind: &str, status: &str) -> bool {
    let generation = &object["metadata"]["generation"];
    object["status"]["observedGeneration"] == *generation
        && condition(object, kind).is_some_and(|condition| condition["status"] == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_takes_effect_and_a_bad_one_leaves_the_last_good_one_in_force() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    let mesh = Mesh::of(&cluster, "east").await;
    mesh.until("the first reading", |mesh| mesh.galley.is_synced()).await;
    cluster.apply(&rule("host: reviews")).await;
    mesh.until("the rule", |mesh| mesh.host().as_deref() == Some("reviews")).await;
    let object = until_status(&cluster, RULE, |object| says(object, "Reconciled", "True")).await;
    assert!(says(&object, "PassedAnalysis", "False"), "nobody has a service of that name: {object}");
    assert_eq!(object["status"]["validationMessages"][0]["type"]["code"], "IST0101");

    cluster.apply(&rule("hots: ratings")).await;
    let object = until_status(&cluster, RULE, |object| says(object, "Reconciled", "False")).await;
    let message = condition(&object, "Reconciled").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("last good one stays in force") && message.contains("spec.hots"), "{message}");
    assert_eq!(mesh.host().as_deref(), Some("reviews"));
    assert!(!mesh.galley.problems().is_empty());

    cluster.apply(&rule("host: ratings")).await;
    mesh.until("the mended rule", |mesh| mesh.host().as_deref() == Some("ratings")).await;
    until_status(&cluster, RULE, |object| says(object, "Reconciled", "True")).await;
    let refused = mesh.galley.apply(&rule("host: other"), "<stdin>", "ada").await.unwrap_err().to_string();
    assert!(refused.contains("is held by the Kubernetes cluster east"), "{refused}");
    cluster.delete(RULE).await;
    mesh.until("the end", |mesh| mesh.host().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_without_a_definition_is_taken_once_it_has_one() {
    let cluster = TestCluster::start().await;
    let mesh = Mesh::of(&cluster, "east").await;
    mesh.until("the first reading", |mesh| mesh.galley.is_synced()).await;
    cluster.apply(RESOURCES).await;
    let applied = async {
        // A definition takes a moment until its objects are served.
        while cluster.get("/apis/networking.istio.io/v1/destinationrules").await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, applied).await.unwrap();
    cluster.apply(&rule("host: reviews")).await;
    mesh.until("the rule", |mesh| mesh.host().as_deref() == Some("reviews")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_stay_in_force_while_the_server_is_away() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    cluster.apply(&rule("host: reviews")).await;
    let mesh = Mesh::of(&cluster, "east").await;
    mesh.until("the rule", |mesh| mesh.host().as_deref() == Some("reviews")).await;
    cluster.relay.sever().await;
    cluster.apply(&rule("host: ratings")).await;
    assert_eq!(mesh.host().as_deref(), Some("reviews"));
    cluster.relay.mend();
    mesh.until("the change", |mesh| mesh.host().as_deref() == Some("ratings")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_write_a_status_come_to_rest() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    cluster.apply(&rule("host: reviews")).await;
    let (one, other) = (Mesh::of(&cluster, "east").await, Mesh::of(&cluster, "west").await);
    let settled = until_status(&cluster, RULE, |object| says(object, "Reconciled", "True")).await;
    // Somebody else's word in the same place is answered at most once by each.
    let theirs = serde_json::json!({ "status": { "conditions": [
        { "type": "Reconciled", "status": "False", "reason": "theirs", "message": "theirs" },
    ] } });
    cluster.merge(&format!("{RULE}/status"), theirs).await;
    // A later object's status shows that both have seen the change before it.
    cluster.apply(&rule("host: reviews").replace("name: reviews", "name: later")).await;
    let later = RULE.replace("/reviews", "/later");
    until_status(&cluster, &later, |object| says(object, "Reconciled", "True")).await;
    let Some(server) = cluster.own() else { return };
    let written = || server.asked().iter().filter(|asked| asked.resource == "destinationrules/status").count();
    assert!(written() <= 10, "{} writes, from {settled}", written());
    drop((one, other));
}

/// The mesh takes nobody who does not prove who he is.
pub const STRICT: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: istio-system\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n  \
                      namespace: istio-system\nspec:\n  mtls: { mode: STRICT }\n";

#[tokio::test(flavor = "multi_thread")]
async fn policy_stays_in_force_when_the_server_is_away_at_the_start() {
    let cluster = TestCluster::start().await;
    cluster.apply(RESOURCES).await;
    cluster.apply(&format!("{STRICT}---\n{}", rule("host: reviews"))).await;
    let mesh = Mesh::of(&cluster, "east").await;
    mesh.until("policy and rule", |mesh| mesh.is_strict() && mesh.host().is_some()).await;
    cluster.apply(&rule("hots: ratings")).await;
    mesh.until("the refusal", |mesh| !mesh.galley.problems().is_empty()).await;
    mesh.until_stored(|entries| entries.len() == 2).await;

    cluster.relay.sever().await;
    let mesh = mesh.restart(&cluster, "east").await;
    mesh.until("the start without the cluster", |mesh| mesh.galley.is_synced()).await;
    assert!(mesh.is_strict(), "the policy must not disappear");
    assert_eq!(mesh.host().as_deref(), Some("reviews"), "the last good state stays");
    assert!(mesh.is_stale(), "{:?}", mesh.galley.problems());

    // Once the cluster answers, its word is what counts; of what is wrong there the last good state still stays.
    let policy = "/apis/security.istio.io/v1/namespaces/istio-system/peerauthentications/default";
    cluster.delete(policy).await;
    cluster.relay.mend();
    mesh.until("the cluster's word", |mesh| !mesh.is_strict() && !mesh.is_stale()).await;
    assert_eq!(mesh.host().as_deref(), Some("reviews"));
    mesh.until_stored(|entries| entries.len() == 1).await;

    // A definition that is gone takes what was remembered with it.
    cluster
        .delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/destinationrules.networking.istio.io")
        .await;
    let mesh = mesh.restart(&cluster, "east").await;
    mesh.until("the end of the rule", |mesh| mesh.galley.is_synced() && mesh.host().is_none()).await;
    let other = mesh.restart(&cluster, "west").await;
    other.until("the reading", |mesh| mesh.galley.is_synced()).await;
}
