//! Files that are good and files that are not.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

fn names(found: &BTreeMap<Kind, BTreeMap<String, Resource>>) -> Vec<(&Kind, Vec<&String>)> {
    found.iter().map(|(kind, of_kind)| (kind, of_kind.keys().collect())).collect()
}

#[test]
fn yaml_json_and_binary_mean_the_same() {
    let yaml =
        format!("version_info: '3'\nresources:\n- '@type': {CLUSTER}\n  name: a\n- {{'@type': {CLUSTER}, name: b}}\n");
    let from_yaml = parse(Path::new("cds.yaml"), yaml.as_bytes()).unwrap();
    let json = format!(
        r#"{{"versionInfo": "3", "resources": [{{"@type": "{CLUSTER}", "name": "a"}}, {{"@type": "{CLUSTER}", "name": "b"}}]}}"#
    );
    assert_eq!(names(&from_yaml), names(&parse(Path::new("cds.json"), json.as_bytes()).unwrap()));
    assert_eq!(from_yaml[&Kind::Cluster]["a"].version, "3");
    let resources = from_yaml[&Kind::Cluster].values().filter_map(|resource| resource.resource.clone()).collect();
    let response = DiscoveryResponse { version_info: "3".into(), resources, ..Default::default() };
    let binary = parse(Path::new("cds.pb"), &response.encode_to_vec()).unwrap();
    assert_eq!(from_yaml, binary);
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    for (text, expected) in [
        ("resources: [", "line 1"),
        ("resurces: []", "unrecognized field name 'resurces'"),
        ("resources: [{'@type': type.googleapis.com/no.Such}]", "resources[0]: message 'no.Such' not found"),
        ("resources: [{'@type': type.googleapis.com/envoy.config.core.v3.Node, id: x}]", "resources[0]: "),
        (&format!("resources: [{{'@type': {CLUSTER}, nam: x}}]"), "resources[0]: unrecognized field name 'nam'"),
        (
            &format!("resources: [{{'@type': {CLUSTER}, name: x}}, {{'@type': {CLUSTER}, name: x}}]"),
            "resources[1]: another",
        ),
        ("", "the file is empty"),
    ] {
        let told = parse(Path::new("cds.yaml"), text.as_bytes()).unwrap_err();
        assert!(told.contains(expected), "{told:?} does not contain {expected:?}");
    }
}

#[test]
fn a_file_that_goes_wrong_keeps_what_it_held() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("cds.yaml");
    let mut files = Files::new();
    assert_eq!(files.content(&path).generation, 0, "the file is not there yet");
    std::fs::write(&path, format!("resources: [{{'@type': {CLUSTER}, name: a}}]")).unwrap();
    files.reread();
    assert_eq!(files.content(&path).generation, 1);
    for text in ["resources: [", "", "x: y"] {
        std::fs::write(&path, text).unwrap();
        files.reread();
        let content = files.content(&path);
        assert_eq!((content.generation, content.resources[&Kind::Cluster].len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_not_lost_by_who_stops_waiting_and_waits_again() {
    let mut files = Files::new();
    files.tell.send(()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(files.changed()).poll(&mut context).is_pending(), "another write may follow");
    tokio::time::timeout(Duration::from_secs(60), files.changed()).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(60), files.changed()).await;
    assert!(more.is_err(), "one change was told twice");
}

#[tokio::test]
async fn a_change_before_the_watch_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cds.json");
    let write = |name: &str| {
        let text = format!(r#"{{"resources": [{{"@type": "{CLUSTER}", "name": "{name}"}}]}}"#);
        std::fs::write(&path, text).unwrap();
    };
    let mut files = Files::new();
    write("a");
    assert!(files.content(&path).resources[&Kind::Cluster].contains_key("a"));
    write("b");
    files.watch([folder.path().to_owned()].into());
    tokio::time::timeout(Duration::from_secs(60), files.changed()).await.unwrap();
    files.reread();
    assert!(files.content(&path).resources[&Kind::Cluster].contains_key("b"));
}
