//! Files and applied objects as operators meet them: what is in force, what is said, what survives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;

use galley::{Applying, Galley, GalleyOptions, Kind, Provenance, Snapshot};
use store::Sled;
use tokio::sync::watch;

fn rule(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: {name}\nspec:\n  host: {host}\n"
    )
}

async fn open(root: &Path) -> Galley {
    let options = GalleyOptions {
        store: Arc::new(Sled::open(root.join("store")).unwrap()),
        directories: vec![root.join("config")],
        domain: "cluster.local".to_owned(),
    };
    Galley::open(options).await.unwrap()
}

/// A galley that follows its sources until it is dropped.
struct Running {
    galley: Galley,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(root: &Path) -> Self {
        let galley = open(root).await;
        let follower = galley.clone();
        let task = tokio::spawn(async move { follower.run().await });
        Self { snapshots: galley.snapshots(), galley, task }
    }

    /// Waits until the hosts of all DestinationRules in force are these.
    async fn until_hosts(&mut self, hosts: &[&str]) {
        let of = |snapshot: &Snapshot| -> Vec<String> {
            snapshot.destination_rules.iter().map(|config| config.spec.host.clone()).collect()
        };
        let waiting = self.snapshots.wait_for(|snapshot| of(snapshot) == hosts);
        let found = tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.map(|found| found.is_ok());
        assert_eq!(found.ok(), Some(true), "{:?}, not {hosts:?}", of(&self.galley.snapshots().borrow()));
    }

    async fn until_problem(&mut self, part: &str) {
        loop {
            if self.galley.problems().iter().any(|problem| problem.to_string().contains(part)) {
                return;
            }
            let changed = tokio::time::timeout(std::time::Duration::from_secs(60), self.snapshots.changed()).await;
            assert!(changed.is_ok(), "{:?}", self.galley.problems());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("config")).unwrap();
    root
}

#[tokio::test]
async fn files_come_change_and_go() {
    let root = root();
    let config = root.path().join("config");
    std::fs::write(config.join("a.yaml"), rule("a", "one")).unwrap();
    std::fs::write(config.join("notes.txt"), "not: [yaml").unwrap();
    let mut running = Running::start(root.path()).await;
    running.until_hosts(&["one"]).await;
    std::fs::write(config.join("a.yaml"), format!("{}---\n{}", rule("a", "two"), rule("b", "three"))).unwrap();
    running.until_hosts(&["two", "three"]).await;
    std::fs::create_dir(config.join("more")).unwrap();
    std::fs::write(config.join("more/c.yml"), rule("c", "four")).unwrap();
    running.until_hosts(&["two", "three", "four"]).await;
    std::fs::remove_file(config.join("a.yaml")).unwrap();
    running.until_hosts(&["four"]).await;
    assert!(running.galley.problems().is_empty());
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_objects() {
    let root = root();
    let file = root.path().join("config/a.yaml");
    std::fs::write(&file, rule("a", "good")).unwrap();
    let mut running = Running::start(root.path()).await;
    running.until_hosts(&["good"]).await;
    std::fs::write(&file, rule("a", "bad").replace("host", "hots")).unwrap();
    running.until_problem("a.yaml:6:3: spec.hots: unknown field; did you mean \"host\"?").await;
    running.until_hosts(&["good"]).await;
    std::fs::write(&file, "apiVersion: networking.istio.io/v1\nkind: [").unwrap();
    running.until_problem("a.yaml:2:7: not YAML").await;
    std::fs::write(&file, "").unwrap();
    running.until_problem("is empty").await;
    running.until_hosts(&["good"]).await;
    let shown = running.galley.get(Kind::DestinationRule, "default", "a").unwrap();
    assert_eq!(shown.manifest["spec"]["host"], "good");
    std::fs::write(&file, rule("a", "better")).unwrap();
    running.until_hosts(&["better"]).await;
    assert!(running.galley.problems().is_empty());
}

#[tokio::test]
async fn a_swapped_link_and_a_directory_that_comes_late_are_seen() {
    let root = tempfile::tempdir().unwrap();
    for (version, host) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir_all(root.path().join(version)).unwrap();
        std::fs::write(root.path().join(version).join("a.yaml"), rule("a", host)).unwrap();
    }
    let mut running = Running::start(root.path()).await;
    running.until_hosts(&[]).await;
    std::os::unix::fs::symlink(root.path().join("v1"), root.path().join("config")).unwrap();
    running.until_hosts(&["one"]).await;
    std::os::unix::fs::symlink(root.path().join("v2"), root.path().join("config.new")).unwrap();
    std::fs::rename(root.path().join("config.new"), root.path().join("config")).unwrap();
    running.until_hosts(&["two"]).await;
}

#[tokio::test]
async fn what_was_applied_is_there_after_reopening() {
    let root = root();
    let galley = open(root.path()).await;
    let text = format!("{}---\n{}", rule("a", "one"), rule("b", "two"));
    let applied = galley.apply(&text, "rules.yaml", "ada").await.unwrap();
    assert!(applied.iter().all(|applied| applied.change == Applying::Created && applied.revision >= 1));
    let again = galley.apply(&rule("a", "one"), "rules.yaml", "ada").await.unwrap();
    assert_eq!((again[0].change, again[0].revision), (Applying::Unchanged, applied[0].revision));
    let changed = galley.apply(&rule("a", "three"), "rules.yaml", "bob").await.unwrap();
    assert_eq!(changed[0].change, Applying::Configured);
    assert!(changed[0].revision > applied[0].revision);
    let created = galley.get(Kind::DestinationRule, "default", "a").unwrap().created;
    drop(galley);
    // Threads of the store's database let go of the file in their own time.
    std::fs::File::open(root.path().join("store/db")).unwrap().lock().unwrap();

    let galley = open(root.path()).await;
    let object = galley.get(Kind::DestinationRule, "default", "a").unwrap();
    assert_eq!(object.manifest["spec"]["host"], "three");
    assert_eq!((object.created, object.revision), (created, changed[0].revision));
    assert_eq!(object.provenance, Provenance::Store { author: "bob".into() });
    assert_eq!(galley.snapshots().borrow().destination_rules.len(), 2);
    assert!(galley.delete(Kind::DestinationRule, "default", "a", "anna").await.unwrap().is_some());
    assert_eq!(galley.delete(Kind::DestinationRule, "default", "a", "anna").await.unwrap(), None);
    assert_eq!(galley.list(Some(Kind::DestinationRule), Some("default")).len(), 1);
}

#[tokio::test]
async fn one_bad_document_refuses_all() {
    let root = root();
    let galley = open(root.path()).await;
    let text = format!("{}---\n{}", rule("a", "one"), rule("b", "two").replace("host", "hsot"));
    let rejection = galley.apply(&text, "<stdin>", "ada").await.unwrap_err();
    assert!(rejection.to_string().contains("<stdin>:13:3: spec.hsot: unknown field"), "{rejection}");
    assert!(galley.list(None, None).is_empty());
    assert!(galley.apply("", "<stdin>", "ada").await.is_err());
    assert_eq!(galley.validate(&rule("a", "one"), "x").await.unwrap()[0].change, Applying::Created);
    assert!(galley.list(None, None).is_empty());
}

#[tokio::test]
async fn a_file_wins_over_the_store_and_is_read_only() {
    let root = root();
    let mut running = Running::start(root.path()).await;
    running.galley.apply(&rule("a", "applied"), "x", "ada").await.unwrap();
    running.until_hosts(&["applied"]).await;
    let file = root.path().join("config/a.yaml");
    std::fs::write(&file, rule("a", "filed")).unwrap();
    running.until_hosts(&["filed"]).await;
    let refused = running.galley.apply(&rule("a", "again"), "x", "ada").await.unwrap_err().to_string();
    assert!(refused.contains("is held by the file") && refused.contains("config/a.yaml"), "{refused}");
    assert!(running.galley.delete(Kind::DestinationRule, "default", "a", "anna").await.is_err());
    std::fs::remove_file(file).unwrap();
    running.until_hosts(&["applied"]).await;
}
