//! What every store must do, whatever it is made of.

use futures_util::StreamExt;

use crate::{ATOMIC, Change, Store, StoreError, Transaction};

/// Runs all checks on an empty store.
pub(crate) async fn suite(store: &dyn Store) {
    revisions_grow(store).await;
    a_transaction_happens_whole_or_not_at_all(store).await;
    a_prefix_lists_what_is_below_it(store).await;
    watchers_see_changes_in_order(store).await;
    of_two_who_expect_the_same_one_wins(store).await;
    a_key_put_and_deleted_at_once_is_put(store).await;
    a_large_transaction_is_one(store).await;
    bytes_come_back_as_they_went(store).await;
    a_watcher_that_lists_afterwards_misses_nothing(store).await;
    a_key_that_comes_back_is_newer_than_it_was(store).await;
    what_was_refused_is_told_to_nobody(store).await;
    a_watcher_is_told_all_of_a_transaction_at_one_revision(store).await;
    a_condition_may_be_about_a_key_that_is_not_changed(store).await;
    a_watcher_that_left_holds_up_nobody(store).await;
}

async fn revisions_grow(store: &dyn Store) {
    assert_eq!(store.get("a/x").await.unwrap(), None);
    let first = store.commit(Transaction::put("a/x", "1")).await.unwrap();
    let second = store.commit(Transaction::put("a/x", "2")).await.unwrap();
    assert!(first >= 1 && second > first);
    let entry = store.get("a/x").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (&b"2"[..], second));
    store.commit(Transaction::delete("a/x").expecting("a/x", second)).await.unwrap();
    assert_eq!(store.get("a/x").await.unwrap(), None);
}

async fn a_transaction_happens_whole_or_not_at_all(store: &dyn Store) {
    let revision = store.commit(Transaction::put("t/a", "1").expecting("t/a", 0)).await.unwrap();
    let stale = Transaction::put("t/b", "1").expecting("t/b", 0).expecting("t/a", revision + 7);
    match store.commit(stale).await {
        Err(StoreError::Conflict { key, expected, found }) => {
            assert_eq!((key.as_str(), expected, found), ("t/a", revision + 7, revision));
        }
        other => panic!("not a conflict: {other:?}"),
    }
    assert_eq!(store.get("t/b").await.unwrap(), None);
    let both =
        Transaction { put: vec![("t/b".into(), "2".into()), ("t/c".into(), "3".into())], ..Transaction::delete("t/a") };
    let revision = store.commit(both).await.unwrap();
    assert_eq!(store.get("t/a").await.unwrap(), None);
    assert_eq!(store.get("t/b").await.unwrap().unwrap().revision, revision);
    assert_eq!(store.get("t/c").await.unwrap().unwrap().revision, revision);
}

async fn a_prefix_lists_what_is_below_it(store: &dyn Store) {
    for key in ["l/b", "l/a", "l/c/d", "lm"] {
        store.commit(Transaction::put(key, key)).await.unwrap();
    }
    let listing = store.list("l/").await.unwrap();
    let keys: Vec<_> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["l/a", "l/b", "l/c/d"]);
    assert!(listing.entries.iter().all(|entry| entry.revision <= listing.revision));
}

async fn watchers_see_changes_in_order(store: &dyn Store) {
    let changes = store.watch("w/");
    let put = store.commit(Transaction::put("w/a", "1")).await.unwrap();
    store.commit(Transaction::put("elsewhere", "1")).await.unwrap();
    store.commit(Transaction::delete("w/absent")).await.unwrap();
    let gone = store.commit(Transaction::delete("w/a")).await.unwrap();
    let seen: Vec<_> = changes.take(2).collect().await;
    let change =
        |value: Option<&'static str>, revision| Change { key: "w/a".into(), value: value.map(Into::into), revision };
    assert_eq!(seen, [change(Some("1"), put), change(None, gone)]);
}

async fn of_two_who_expect_the_same_one_wins(store: &dyn Store) {
    let base = store.commit(Transaction::put("c/x", "0")).await.unwrap();
    let attempt = |n: usize| store.commit(Transaction::put("c/x", n.to_string()).expecting("c/x", base));
    let outcomes = futures_util::future::join_all((1..=8).map(attempt)).await;
    let won: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    for lost in outcomes.into_iter().filter_map(Result::err) {
        assert!(matches!(lost, StoreError::Conflict { found, .. } if found == won[0]), "{lost:?}");
    }
    assert_eq!(store.get("c/x").await.unwrap().unwrap().revision, won[0]);
}

async fn a_key_put_and_deleted_at_once_is_put(store: &dyn Store) {
    store.commit(Transaction::put("b/x", "1")).await.unwrap();
    let changes = store.watch("b/");
    let both = Transaction { put: vec![("b/x".into(), "2".into())], ..Transaction::delete("b/x") };
    let revision = store.commit(both).await.unwrap();
    assert_eq!(store.get("b/x").await.unwrap().unwrap().value.as_ref(), b"2");
    let seen: Vec<_> = changes.take(1).collect().await;
    assert_eq!(seen, [Change { key: "b/x".into(), value: Some("2".into()), revision }]);
}

async fn a_large_transaction_is_one(store: &dyn Store) {
    let put = (0..ATOMIC).map(|n| (format!("big/{n:05}"), n.to_string().into())).collect();
    let whole = Transaction { put, ..Transaction::default() }.expecting("big/00000", 0);
    let revision = store.commit(whole).await.unwrap();
    let listing = store.list("big/").await.unwrap();
    assert_eq!(listing.entries.len(), ATOMIC);
    assert!(listing.entries.iter().all(|entry| entry.revision == revision));
    let delete = listing.entries.into_iter().map(|entry| entry.key).collect();
    store.commit(Transaction { delete, ..Transaction::default() }).await.unwrap();
    assert_eq!(store.list("big/").await.unwrap().entries, []);
}

async fn bytes_come_back_as_they_went(store: &dyn Store) {
    let every: Vec<u8> = (0..=255).collect();
    let long = vec![0xff; 300_000];
    for (key, value) in [("v/empty", Vec::new()), ("v/every", every), ("v/long", long)] {
        store.commit(Transaction::put(key, value.clone())).await.unwrap();
        assert!(store.get(key).await.unwrap().unwrap().value == value, "{key}");
    }
}

async fn a_watcher_that_lists_afterwards_misses_nothing(store: &dyn Store) {
    let writes = async {
        for n in 0..50 {
            store.commit(Transaction::put(format!("m/{n:02}"), "x")).await.unwrap();
        }
    };
    let reads = async {
        let mut changes = store.watch("m/");
        let listing = store.list("m/").await.unwrap();
        let mut keys: Vec<String> = listing.entries.into_iter().map(|entry| entry.key).collect();
        while keys.len() < 50 {
            let change = changes.next().await.unwrap();
            if change.revision > listing.revision {
                keys.push(change.key);
            }
        }
        keys
    };
    let ((), keys) = tokio::join!(writes, reads);
    let expected: Vec<String> = (0..50).map(|n| format!("m/{n:02}")).collect();
    assert_eq!(keys, expected);
}

async fn a_key_that_comes_back_is_newer_than_it_was(store: &dyn Store) {
    let first = store.commit(Transaction::put("r/x", "1")).await.unwrap();
    let gone = store.commit(Transaction::delete("r/x")).await.unwrap();
    let stale = store.commit(Transaction::put("r/x", "2").expecting("r/x", first)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { found: 0, .. })), "{stale:?}");
    let back = store.commit(Transaction::put("r/x", "2").expecting("r/x", 0)).await.unwrap();
    assert!(first < gone && gone < back, "{first} {gone} {back}");
    assert_eq!(store.get("r/x").await.unwrap().unwrap().revision, back);
}

async fn what_was_refused_is_told_to_nobody(store: &dyn Store) {
    let changes = store.watch("q/");
    let refused = store.commit(Transaction::put("q/a", "1").expecting("q/a", 7)).await;
    assert!(refused.is_err(), "{refused:?}");
    let made = store.commit(Transaction::put("q/b", "1")).await.unwrap();
    let seen: Vec<_> = changes.take(1).collect().await;
    assert_eq!(seen, [Change { key: "q/b".into(), value: Some("1".into()), revision: made }]);
}

async fn a_watcher_is_told_all_of_a_transaction_at_one_revision(store: &dyn Store) {
    store.commit(Transaction::put("s/gone", "1")).await.unwrap();
    let (whole, part) = (store.watch("s/"), store.watch("s/a/"));
    let put = vec![("s/a/x".into(), "1".into()), ("s/b".into(), "2".into())];
    let revision = store.commit(Transaction { put, ..Transaction::delete("s/gone") }).await.unwrap();
    let mut seen: Vec<_> = whole.take(3).collect().await;
    assert!(seen.iter().all(|change| change.revision == revision), "{seen:?}");
    seen.sort_by(|a, b| a.key.cmp(&b.key));
    let told: Vec<_> = seen.iter().map(|change| (change.key.as_str(), change.value.is_some())).collect();
    assert_eq!(told, [("s/a/x", true), ("s/b", true), ("s/gone", false)]);
    let seen: Vec<_> = part.take(1).collect().await;
    assert_eq!(seen, [Change { key: "s/a/x".into(), value: Some("1".into()), revision }]);
}

async fn a_condition_may_be_about_a_key_that_is_not_changed(store: &dyn Store) {
    let guard = store.commit(Transaction::put("g/guard", "1")).await.unwrap();
    store.commit(Transaction::put("g/x", "1").expecting("g/guard", guard)).await.unwrap();
    assert_eq!(store.get("g/guard").await.unwrap().unwrap().revision, guard);
    store.commit(Transaction::put("g/guard", "2")).await.unwrap();
    let stale = store.commit(Transaction::delete("g/x").expecting("g/guard", guard)).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");
    assert!(store.get("g/x").await.unwrap().is_some());
}

async fn a_watcher_that_left_holds_up_nobody(store: &dyn Store) {
    let stays = store.watch("y/");
    drop(store.watch("y/"));
    for n in 0..20 {
        store.commit(Transaction::put(format!("y/{n:02}"), "x")).await.unwrap();
    }
    let seen: Vec<_> = stays.take(20).map(|change| change.key).collect().await;
    assert_eq!(seen, (0..20).map(|n| format!("y/{n:02}")).collect::<Vec<_>>());
}
