//! A cluster's configuration objects as a source of the mesh's rules, and what their status says.

use std::sync::Arc;

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
    _dir: tempfile::TempDir,
}

impl Mesh {
    async fn of(cluster: &TestCluster, name: &str) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sled::open(dir.path().join("store")).unwrap());
        let options = GalleyOptions { store, directories: Vec::new(), domain: "cluster.local".into() };
        let galley = Galley::open(options).await.unwrap();
        let mut known = registry::Merger::new(["east"]);
        known.apply(0, registry::Event::Synced);
        let (sender, catalog) = watch::channel(Arc::new(known.catalog().clone()));
        let source = Source { cluster: cluster.open(name).await, pace: PACE, write_status: Some(catalog) };
        assert!(matches!(&known.catalog().registries[..], [RegistryStatus { state: RegistryState::Synced, .. }]));
        tokio::spawn(galley.attach(source));
        Self { galley, _catalog: sender, _dir: dir }
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
    cluster.relay.sever();
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
