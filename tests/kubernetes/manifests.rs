//! The manifests in `deploy/kubernetes/`, held against the API server and against what the code asks of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use galley::kubernetes::Source;
use galley::{Galley, GalleyOptions, Kind};
use registry::kubernetes::{Cluster, KeyReaders, Kubernetes};
use registry::{Event, KeyAccess, Registry as _};
use serde_json::Value;
use store::{Sled, Store};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{PACE, PATIENCE, TestCluster, documents, path_of};
use crate::configuration::RESOURCES;
use crate::server::Asked;

const CONTROL_PLANE: &str = include_str!("../../deploy/kubernetes/control-plane.yaml");
const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: reviews\n  \
                    namespace: default\nspec:\n  host: reviews\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_server_takes_every_manifest() {
    let cluster = TestCluster::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    let known = ["control-plane.yaml", "custom-resources.yaml", "kustomization.yaml"];
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, known, "a manifest that no test looks at");
    for object in [CONTROL_PLANE, RESOURCES].iter().flat_map(|text| documents(text)) {
        let said = cluster.dry_run(&object).await;
        // Nothing can be tried in a namespace that is not there yet.
        if object["kind"] == "Namespace" {
            cluster.apply(&object.to_string()).await;
        }
        said.unwrap_or_else(|error| panic!("{}: {error}", path_of(&object)));
        assert!(object["kind"] == "Namespace" || cluster.get(&path_of(&object)).await.is_none(), "it was only tried");
    }
}

#[test]
fn every_kind_has_a_definition() {
    let definitions = documents(RESOURCES);
    for kind in Kind::ALL {
        let name = format!("{}.{}", kind.plural(), kind.group());
        let definition = definitions.iter().find(|definition| definition["metadata"]["name"] == name.as_str());
        let definition = definition.unwrap_or_else(|| panic!("no definition of {name} in custom-resources.yaml"));
        let versions = definition["spec"]["versions"].as_array().unwrap();
        let names: Vec<&str> = versions.iter().filter_map(|version| version["name"].as_str()).collect();
        assert_eq!(names, kind.versions());
        assert!(versions.iter().all(|version| version["subresources"]["status"].is_object()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_allows_what_is_asked_and_nothing_else() {
    let cluster = TestCluster::start().await;
    cluster.apply(CONTROL_PLANE).await;
    cluster.apply(RESOURCES).await;
    cluster.apply(RULE).await;
    let token = cluster.token("istio-system", "weft").await;
    let opened = Cluster::open(&cluster.kubeconfig("east", &token)).await.unwrap();

    let dir = tempfile::TempDir::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sled::open(dir.path().join("store")).unwrap());
    let options = GalleyOptions { store, directories: Vec::new(), domain: "cluster.local".into() };
    let galley = Galley::open(options).await.unwrap();
    let mut known = registry::Merger::new(["east"]);
    known.apply(0, Event::Synced);
    let (_sender, catalog) = watch::channel(Arc::new(known.catalog().clone()));
    tokio::spawn(galley.attach(Source {
        cluster: opened.clone(),
        pace: PACE,
        grace: galley::kubernetes::GRACE,
        write_status: Some(catalog),
    }));

    let mut events = Kubernetes::new(opened.clone(), "cluster.local").with_pace(PACE).watch();
    loop {
        match timeout(PATIENCE, events.next()).await.expect("the cluster is read").unwrap() {
            Event::Synced => break,
            Event::Lost(why) => panic!("{why}"),
            _ => {}
        }
    }
    let mut credentials = registry::kubernetes::credentials(opened.clone(), PACE);
    let secrets = credentials.wait_for(|credentials| !credentials.is_pending);
    timeout(PATIENCE, secrets).await.expect("the role lets certificates be read").unwrap();
    let told = KeyReaders::of(opened.clone()).follow("istio-system", "gateway").await.borrow().clone();
    assert!(!matches!(told, KeyAccess::Unknown(_)), "the role lets access be reviewed: {told:?}");
    opened.review_token(&token, "istio-ca").await.expect("the role lets tokens be reviewed");
    let written = async {
        loop {
            let object = cluster.get(&path_of(&documents(RULE)[0])).await.unwrap();
            if object["status"]["conditions"].is_array() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, written).await.expect("the role lets the status be written");

    let Some(server) = cluster.own() else { return };
    let user = "system:serviceaccount:istio-system:weft";
    let asked = || {
        let mut asked: BTreeSet<(String, String, String)> = BTreeSet::new();
        for Asked { verb, group, resource, .. } in server.asked().into_iter().filter(|asked| asked.user == user) {
            // The one status that was written stands for those of all kinds.
            match resource.strip_suffix("/status") {
                Some(_) => {
                    let every =
                        Kind::ALL.map(|kind| (verb.clone(), kind.group().into(), format!("{}/status", kind.plural())));
                    asked.extend(every);
                }
                None => drop(asked.insert((verb, group, resource))),
            }
        }
        asked
    };
    let roles = documents(CONTROL_PLANE);
    let roles = roles.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut everywhere = roles.clone().filter(|role| role["kind"] == "ClusterRole");
    let in_all_namespaces = everywhere.any(|role| role.to_string().contains("secrets"));
    assert!(!in_all_namespaces, "secrets are read in one namespace only");
    let mut allowed = BTreeSet::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                allowed.extend(texts(&rule["verbs"]).into_iter().map(|verb| (verb, group.clone(), resource.clone())));
            }
        }
    }
    // What was listed is in force before it is watched.
    let watched = async {
        while !allowed.is_subset(&asked()) {
            tokio::task::yield_now().await;
        }
    };
    let _ = timeout(PATIENCE, watched).await;
    assert_eq!(allowed, asked(), "left: what the roles allow; right: what the control plane asks");
}
