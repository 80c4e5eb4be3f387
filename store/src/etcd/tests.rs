//! The shared store against the conformance suite on a real etcd, and through what etcds go through: restarts, pauses
//! and compaction.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::server::Server;
use super::*;
use crate::Change;

/// Generous: a machine that is busy with other things is no failure.
const DEADLINE: Duration = Duration::from_secs(60);

async fn open(server: &Server) -> Etcd {
    Etcd::open(&server.place().parse().unwrap(), None).await.unwrap()
}

fn shown(server: &Server) -> EtcdTls {
    let pem = server.tls().unwrap();
    let identity = (pem.certificate.into_bytes(), pem.key.into_bytes());
    EtcdTls { authorities: pem.authority.into_bytes(), identity: Some(identity) }
}

async fn next(changes: &mut ChangeStream) -> Change {
    timeout(DEADLINE, changes.next()).await.expect("a change in time").expect("the watch goes on")
}

#[tokio::test]
async fn it_is_a_store() {
    let server = Server::start();
    crate::conformance::suite(&open(&server).await).await;
}

#[tokio::test]
async fn it_is_a_store_with_tls_and_only_to_who_shows_a_certificate() {
    let server = Server::start_with_tls();
    let (address, tls): (EtcdAddress, _) = (server.place().parse().unwrap(), shown(&server));
    assert!(address.is_tls());
    crate::conformance::suite(&Etcd::open(&address, Some(tls.clone())).await.unwrap()).await;
    let stranger = EtcdTls { identity: None, ..tls.clone() };
    let other = Server::start_with_tls();
    let unvouched = EtcdTls { authorities: shown(&other).authorities, ..tls };
    for wrong in [stranger, unvouched] {
        let refused = timeout(DEADLINE, Etcd::open(&address, Some(wrong))).await.unwrap();
        let told = refused.err().expect("it is not let in").to_string();
        assert!(told.contains(&server.place()), "{told}");
    }
}

#[tokio::test]
async fn it_says_how_long_nothing_was_heard() {
    let mut server = Server::start();
    let store = open(&server).await;
    let mut changes = store.watch("k/");
    store.commit(Transaction::put("k/a", "1")).await.unwrap();
    next(&mut changes).await;
    assert_eq!(store.behind(), Duration::ZERO);
    server.stop();
    let often = || tokio::time::sleep(Duration::from_millis(20));
    while store.behind().is_zero() {
        often().await;
    }
    server.run();
    while !store.behind().is_zero() {
        often().await;
    }
}

#[tokio::test]
async fn an_etcd_that_stands_still_is_waited_for_and_what_it_heard_is_done_once() {
    let server = Server::start();
    let store = open(&server).await;
    let mut changes = store.watch("k/");
    let first = store.commit(Transaction::put("k/a", "1")).await.unwrap();
    assert_eq!(next(&mut changes).await.revision, first);
    server.signal("STOP");
    // The connection stands, and nobody answers: the first try is given up, unanswered, and made again.
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(Transaction::put("k/a", "2").expecting("k/a", first)).await }
    });
    let unanswered = store.shared.kv().get(store.shared.key("k/a"), None).await;
    assert!(unanswered.is_err() && !waiting.is_finished(), "{unanswered:?}");
    server.signal("CONT");
    let second = timeout(DEADLINE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(next(&mut changes).await, Change { key: "k/a".into(), value: Some("2".into()), revision: second });
    let third = store.commit(Transaction::put("k/a", "3").expecting("k/a", second)).await.unwrap();
    assert_eq!(next(&mut changes).await, Change { key: "k/a".into(), value: Some("3".into()), revision: third });
}

#[tokio::test]
async fn what_one_process_writes_another_sees_and_meshes_do_not_mix() {
    let server = Server::start();
    let (one, other) = (open(&server).await, open(&server).await);
    let elsewhere: EtcdAddress = format!("{}/elsewhere", server.place()).parse().unwrap();
    let elsewhere = Etcd::open(&elsewhere, None).await.unwrap();
    let mut changes = other.watch("k/");
    elsewhere.commit(Transaction::put("k/a", "not ours")).await.unwrap();
    let revision = one.commit(Transaction::put("k/a", "1").expecting("k/a", 0)).await.unwrap();
    assert_eq!(next(&mut changes).await, Change { key: "k/a".into(), value: Some("1".into()), revision });
    let late = other.commit(Transaction::put("k/a", "2").expecting("k/a", 0)).await;
    assert!(matches!(late, Err(StoreError::Conflict { found, .. }) if found == revision), "{late:?}");
    assert_eq!(elsewhere.get("k/a").await.unwrap().unwrap().value.as_ref(), b"not ours");
}

#[tokio::test]
async fn a_restart_of_etcd_loses_nothing_and_the_watch_goes_on() {
    let mut server = Server::start();
    let store = open(&server).await;
    let mut changes = store.watch("k/");
    let first = store.commit(Transaction::put("k/a", "1")).await.unwrap();
    assert_eq!(next(&mut changes).await.revision, first);
    server.stop();
    // What is written while it is away waits for it, and so does what is read.
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(Transaction::put("k/a", "2").expecting("k/a", first)).await }
    });
    tokio::task::spawn_blocking(move || {
        server.run();
        server
    })
    .await
    .map(|server| async move {
        let second = waiting.await.unwrap().unwrap();
        let entry = store.get("k/a").await.unwrap().unwrap();
        assert_eq!((entry.value.as_ref(), entry.revision), (&b"2"[..], second));
        let change = next(&mut changes).await;
        assert_eq!(change, Change { key: "k/a".into(), value: Some("2".into()), revision: second });
        drop(server);
    })
    .unwrap()
    .await;
}

#[tokio::test]
async fn what_was_compacted_while_nobody_could_hear_it_is_told_all_the_same() {
    let server = Server::start();
    let store = open(&server).await;
    for key in ["k/kept", "k/changed", "k/gone"] {
        store.commit(Transaction::put(key, "1")).await.unwrap();
    }
    let before = store.shared.seen.load(Ordering::Acquire);
    let changed = store.commit(Transaction::put("k/changed", "2")).await.unwrap();
    store.commit(Transaction::delete("k/gone")).await.unwrap();
    let last = store.commit(Transaction::put("k/new", "1")).await.unwrap();
    // A watch that knows of nothing after `before`, as one that was cut off then.
    let mut watch = watching::Watch::at(store.shared.clone(), "k/", before);
    assert!(watch.0.learn_keys().await);
    let compact = i64::try_from(last).unwrap();
    store.shared.client.clone().kv_client().compact(compact, None).await.unwrap();
    tokio::spawn(watch.0.run());
    let mut told: Vec<Change> = Vec::new();
    while told.len() < 3 {
        told.push(next(&mut watch.1).await);
    }
    let change = |key: &str, value: Option<&'static str>, revision| Change {
        key: key.into(),
        value: value.map(Into::into),
        revision,
    };
    let expected =
        [change("k/gone", None, last), change("k/changed", Some("2"), changed), change("k/new", Some("1"), last)];
    assert_eq!(told, expected);
    // And it goes on from there.
    let later = store.commit(Transaction::put("k/kept", "2")).await.unwrap();
    assert_eq!(next(&mut watch.1).await, change("k/kept", Some("2"), later));
}

#[tokio::test]
async fn a_transaction_whose_answer_was_lost_is_not_made_twice() {
    let server = Server::start();
    let store = open(&server).await;
    let plan = Plan::of(Transaction::put("k/a", "1").expecting("k/a", 0)).remove(0);
    let made = store.shared.kv().txn(plan.transaction(&store.shared, "mark")).await.unwrap();
    let revision = number(made.header().unwrap().revision());
    // It is sent again, because nobody heard that it was made; meanwhile others write.
    store.commit(Transaction::put("k/b", "1")).await.unwrap();
    let again = store.shared.kv().txn(plan.transaction(&store.shared, "mark")).await.unwrap();
    assert!(!again.succeeded());
    assert_eq!(store.shared.refused(&plan, "mark", &again).unwrap(), revision);
    let another = store.shared.refused(&plan, "another mark", &again);
    assert!(matches!(another, Err(StoreError::Conflict { found, .. }) if found == revision), "{another:?}");
}

#[tokio::test]
async fn more_than_etcd_takes_at_once_is_refused_with_what_to_do() {
    let server = Server::start();
    let store = open(&server).await;
    let mut many = Transaction::put("k/a", "1");
    many.expect = (0..200).map(|n| (format!("k/{n}"), 0)).collect();
    let refused = store.commit(many).await.unwrap_err().to_string();
    assert!(refused.contains("--max-txn-ops"), "{refused}");
    let refused = store.commit(Transaction::put("k/a", vec![0; 4 << 20])).await.unwrap_err().to_string();
    assert!(refused.contains("--max-request-bytes"), "{refused}");
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named() {
    let address = "etcd://127.0.0.1:1".parse().unwrap();
    let error = timeout(DEADLINE, Etcd::open(&address, None)).await.unwrap().err().unwrap().to_string();
    assert!(error.contains("etcd://127.0.0.1:1/weft"), "{error}");
}
