//! What every store must do, whatever it is made of.

use futures_util::StreamExt;

use crate::{Change, Store, StoreError, Transaction};

/// Runs all checks on an empty store.
pub(crate) async fn suite(store: &dyn Store) {
    revisions_grow(store).await;
    a_transaction_happens_whole_or_not_at_all(store).await;
    a_prefix_lists_what_is_below_it(store).await;
    watchers_see_changes_in_order(store).await;
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
