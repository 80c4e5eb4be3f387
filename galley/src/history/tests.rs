//! The book of revisions, and the text of a difference.

use serde_json::json;

use super::*;
use crate::kind::Kind;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Gateway, "default", name)
}

fn record(size: usize) -> Vec<u8> {
    let changed = Changed { key: key("a"), before: None, after: Some(json!({ "x": "y".repeat(size) })) };
    serde_json::to_vec(&Record::new(1, &"anna".into(), vec![changed])).unwrap()
}

#[test]
fn the_oldest_revisions_go_when_there_are_too_many() {
    let mut book = Book::default();
    for revision in 1..=KEPT as u64 {
        assert_eq!(book.surplus(100), Vec::<String>::new());
        book.take(&format!("history/{revision}"), Some(&record(1)), revision);
    }
    assert_eq!(book.surplus(100), ["history/1"]);
    book.take("history/1", None, 2000);
    assert_eq!((book.oldest(), book.surplus(100).len()), (Some(2), 0));
}

#[test]
fn large_revisions_push_out_more_than_one() {
    let mut book = Book::default();
    for revision in 1..=3 {
        book.take(&format!("history/{revision}"), Some(&record(20 << 20)), revision);
    }
    assert_eq!(book.surplus(30 << 20), ["history/1", "history/2"]);
    assert_eq!(book.surplus(100), Vec::<String>::new());
}

#[test]
fn a_change_reads_like_diff() {
    let before = json!({ "kind": "VirtualService", "spec": { "hosts": ["reviews"], "http": [
        { "route": [{ "destination": { "host": "reviews", "subset": "v1" }, "weight": 90 }] },
    ]}});
    let mut after = before.clone();
    after["spec"]["http"][0]["route"][0]["weight"] = json!(50);
    let changed = Changed { key: key("a"), before: Some(before.clone()), after: Some(after) };
    let expected = "\
--- Gateway default/a
+++ Gateway default/a
@@ -7,4 +7,4 @@
         - destination:
             host: reviews
             subset: v1
-          weight: 90
+          weight: 50
";
    assert_eq!(changed.diff(), expected);
    let same = Changed { key: key("a"), before: Some(before.clone()), after: Some(before) };
    assert_eq!(same.diff(), "");
}

#[test]
fn what_is_new_and_what_is_gone_are_whole() {
    let changed = Changed { key: key("a"), before: None, after: Some(json!({ "x": "1", "z": [] })) };
    assert_eq!(changed.diff(), "--- /dev/null\n+++ Gateway default/a\n@@ -0,0 +1,2 @@\n+x: \"1\"\n+z: []\n");
    let gone = Changed { key: key("a"), before: changed.after, after: None };
    assert_eq!(gone.diff(), "--- Gateway default/a\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x: \"1\"\n-z: []\n");
}
