//! The embedded store against the conformance suite, and its files after a restart.

use std::fs::File;

use super::*;

#[tokio::test]
async fn it_is_a_store() {
    let dir = tempfile::tempdir().unwrap();
    crate::conformance::suite(&Sled::open(dir.path()).unwrap()).await;
}

#[tokio::test]
async fn values_and_revisions_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let first = Sled::open(dir.path()).unwrap();
    let written = first.commit(Transaction::put("config/a", "one")).await.unwrap();
    drop(first);
    // Threads of the database let go of the file in their own time.
    File::open(dir.path().join("db")).unwrap().lock().unwrap();
    let second = Sled::open(dir.path()).unwrap();
    let entry = second.get("config/a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (&b"one"[..], written));
    assert_eq!(second.commit(Transaction::put("config/b", "two")).await.unwrap(), written + 1);
}

#[tokio::test]
async fn a_second_opener_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Sled::open(dir.path()).unwrap();
    assert!(matches!(Sled::open(dir.path()), Err(StoreError::Locked { .. })));
}

/// The child half of the test below: writes and acknowledges on stdout until it is killed.
#[test]
fn child_writes_until_killed() {
    let Ok(path) = std::env::var("WEFT_STORE_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Sled::open(path).unwrap();
        for n in 0..100_000u32 {
            store.commit(Transaction::put(format!("k/{n:06}"), n.to_string())).await.unwrap();
            println!("acknowledged {n}");
        }
    });
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["sled::tests::child_writes_until_killed", "--exact", "--nocapture"])
        .env("WEFT_STORE_CHILD", dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let acknowledged = lines.by_ref().filter_map(|line| line.split("acknowledged ").nth(1)?.parse::<usize>().ok());
    let at_least = acknowledged.take(200).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Sled::open(dir.path()).unwrap();
    let listing = store.list("k/").await.unwrap();
    assert!(listing.entries.len() > at_least, "{} of {at_least}", listing.entries.len());
    assert!(listing.entries.iter().enumerate().all(|(n, entry)| entry.value.as_ref() == n.to_string().as_bytes()));
}
