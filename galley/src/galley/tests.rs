//! Revisions: written with each change, the way back, and two galleys on one store.

use store::Memory;

use super::*;
use crate::history::{Author, Change};

fn rule(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec: {{host: {host}}}\n"
    )
}

async fn open(store: &Arc<Memory>) -> Galley {
    let options = GalleyOptions { store: store.clone(), directories: Vec::new(), domain: "cluster.local".into() };
    Galley::open(options).await.unwrap()
}

fn any(_: &ObjectKey) -> bool {
    true
}

fn host(galley: &Galley, name: &str) -> Option<String> {
    let object = galley.get(Kind::DestinationRule, "default", name)?;
    object.manifest["spec"]["host"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn every_change_is_a_revision_with_author_message_and_difference() {
    let store = Arc::new(Memory::new());
    let galley = open(&store).await;
    let made = galley.apply(&format!("{}---\n{}", rule("a", "one"), rule("b", "two")), "x", "ada").await.unwrap();
    let why = Author { name: "bob".into(), message: "three is faster".into(), expecting: None };
    let changed = galley.apply(&rule("a", "three"), "x", why).await.unwrap()[0].revision;
    galley.apply(&rule("a", "three"), "x", "nobody").await.unwrap();
    galley.delete(Kind::DestinationRule, "default", "b", "eve").await.unwrap();
    // A restart knows them all.
    let galley = open(&store).await;
    let told: Vec<_> = galley.history(any).into_iter().map(|r| (r.author, r.message, r.changes.len())).collect();
    let told: Vec<_> =
        told.iter().map(|(author, message, count)| (author.as_str(), message.as_str(), *count)).collect();
    assert_eq!(told, [("eve", "", 1), ("bob", "three is faster", 1), ("ada", "", 2)]);
    assert_eq!(galley.history(|key| key.name == "b").len(), 2);
    let (revision, changes) = galley.revision(changed).await.unwrap().unwrap();
    assert_eq!((revision.revision, revision.changes[0].1), (changed, Change::Configured));
    assert!(changes[0].diff().contains("-  host: one\n+  host: three\n"), "{}", changes[0].diff());
    assert_eq!(galley.revision(made[0].revision).await.unwrap().unwrap().1.len(), 2);
    assert!(galley.revision(99).await.unwrap().is_none());
}

#[tokio::test]
async fn a_rollback_is_a_revision_that_restores_what_was() {
    let store = Arc::new(Memory::new());
    let galley = open(&store).await;
    galley.apply(&rule("a", "one"), "x", "ada").await.unwrap();
    let good = galley.apply(&rule("b", "one"), "x", "ada").await.unwrap()[0].revision;
    galley.apply(&rule("a", "two"), "x", "bob").await.unwrap();
    galley.delete(Kind::DestinationRule, "default", "b", "bob").await.unwrap();
    galley.apply(&rule("c", "one"), "x", "bob").await.unwrap();

    // One object alone.
    let only_a = |key: &ObjectKey| key.name == "a";
    let (revision, changes) = galley.roll_back(good, only_a, "ada").await.unwrap();
    assert_eq!((changes.len(), host(&galley, "a").as_deref()), (1, Some("one")));
    assert_eq!(galley.history(any)[0].revision, revision);
    assert_eq!(host(&galley, "b"), None);

    // All of them: what was deleted comes back, and what was made goes.
    let (_, changes) = galley.roll_back(good, any, "ada").await.unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!((host(&galley, "b").as_deref(), host(&galley, "c")), (Some("one"), None));
    // Once more changes nothing and is no revision.
    let before = galley.history(any).len();
    assert_eq!(galley.roll_back(good, any, "ada").await.unwrap().0, 0);
    assert_eq!(galley.history(any).len(), before);
    let Err(NoWayBack::Unknown(words)) = galley.roll_back(9999, any, "ada").await else { panic!("it is not there") };
    assert!(words.contains("9999"), "{words}");
}

#[tokio::test]
async fn a_rollback_refuses_what_a_file_holds_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Memory::new());
    let options = GalleyOptions {
        store: store.clone(),
        directories: vec![dir.path().to_owned()],
        domain: "cluster.local".into(),
    };
    let galley = Galley::open(options.clone()).await.unwrap();
    let good = galley.apply(&rule("a", "one"), "x", "ada").await.unwrap()[0].revision;
    galley.apply(&rule("a", "two"), "x", "ada").await.unwrap();
    galley.apply(&rule("b", "two"), "x", "ada").await.unwrap();
    std::fs::write(dir.path().join("a.yaml"), rule("a", "filed")).unwrap();
    let galley = Galley::open(options).await.unwrap();
    let Err(NoWayBack::Rejected(why)) = galley.roll_back(good, any, "ada").await else { panic!("it was put back") };
    assert!(why.to_string().contains("is held by the file"), "{why}");
    assert_eq!(host(&galley, "b").as_deref(), Some("two"));
}

#[tokio::test]
async fn of_two_who_saw_the_same_revision_one_wins() {
    let store = Arc::new(Memory::shared());
    let (one, other) = (open(&store).await, open(&store).await);
    let seen = one.apply(&rule("a", "one"), "x", "ada").await.unwrap()[0].revision;
    let expecting = |name: &str| Author { name: name.into(), message: String::new(), expecting: Some(seen) };
    let (left, right) = (rule("a", "left"), rule("a", "right"));
    let (first, second) =
        tokio::join!(one.apply(&left, "x", expecting("ada")), other.apply(&right, "x", expecting("bob")));
    assert_eq!([first.is_ok(), second.is_ok()].iter().filter(|won| **won).count(), 1, "{first:?} {second:?}");
    let lost = first.and(second).unwrap_err();
    assert!(lost.is_moved(), "{lost}");
    let absent = Author { name: "eve".into(), message: String::new(), expecting: Some(0) };
    assert!(one.apply(&rule("a", "new"), "x", absent).await.unwrap_err().is_moved());
}

#[tokio::test]
async fn a_galley_that_is_behind_another_plans_anew() {
    let store = Arc::new(Memory::shared());
    let (one, other) = (open(&store).await, open(&store).await);
    one.apply(&rule("a", "one"), "x", "ada").await.unwrap();
    // The other does not follow the store, so it learns of it by the refusal.
    other.apply(&rule("a", "two"), "x", "bob").await.unwrap();
    assert_eq!(host(&other, "a").as_deref(), Some("two"));
    // So many that one condition stands for them all.
    let many: String = (0..150).map(|n| format!("---\n{}", rule(&format!("n{n}"), "x"))).collect();
    one.apply(&many, "x", "ada").await.unwrap();
    assert_eq!(host(&one, "a").as_deref(), Some("two"));
    let made = other.apply(&many, "x", "bob").await.unwrap();
    assert!(made.iter().all(|applied| applied.change == Applying::Unchanged), "what the other made is known");
}
