//! The two forms in which a change of a document is written: a merge patch (RFC 7396) that comes in, and a JSON Patch
//! (RFC 6902) that tells what a change does.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// One operation of a JSON Patch.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Operation {
    /// `add`, `remove` or `replace`
    pub op: &'static str,
    /// A JSON pointer: `/spec/http/0/route/0/weight`
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<Value>,
}

/// Applies a merge patch: objects are merged, `null` removes, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(into) = target else { return };
    for (name, value) in fields {
        match value {
            Value::Null => _ = into.remove(name),
            value => merge(into.entry(name.as_str()).or_insert(Value::Null), value),
        }
    }
}

/// What leads from one document to the other; `None` is a document that is not there.
pub fn diff(before: Option<&Value>, after: Option<&Value>) -> Vec<Operation> {
    let mut operations = Vec::new();
    match (before, after) {
        (Some(before), Some(after)) => compare(before, after, "", &mut operations),
        (None, Some(after)) => {
            operations.push(Operation { op: "add", path: String::new(), value: Some(after.clone()) })
        }
        (Some(_), None) => operations.push(Operation { op: "remove", path: String::new(), value: None }),
        (None, None) => {}
    }
    operations
}

fn compare(before: &Value, after: &Value, path: &str, operations: &mut Vec<Operation>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => objects(before, after, path, operations),
        (Value::Array(before), Value::Array(after)) => arrays(before, after, path, operations),
        (before, after) if before == after => {}
        (_, after) => {
            operations.push(Operation { op: "replace", path: path.to_owned(), value: Some(after.clone()) });
        }
    }
}

fn objects(before: &Map<String, Value>, after: &Map<String, Value>, path: &str, operations: &mut Vec<Operation>) {
    let at = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        operations.push(Operation { op: "remove", path: at(name), value: None });
    }
    for (name, value) in after {
        match before.get(name) {
            Some(known) => compare(known, value, &at(name), operations),
            None => operations.push(Operation { op: "add", path: at(name), value: Some(value.clone()) }),
        }
    }
}

/// Elements that are the same at both ends stay; what is between them is changed, removed from the end, or added.
fn arrays(before: &[Value], after: &[Value], path: &str, operations: &mut Vec<Operation>) {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let shorter = before.len().min(after.len()) - start;
    let end = before.iter().rev().zip(after.iter().rev()).take(shorter).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[start..before.len() - end], &after[start..after.len() - end]);
    for (offset, (old, new)) in old.iter().zip(new).enumerate() {
        compare(old, new, &format!("{path}/{}", start + offset), operations);
    }
    for index in (start + new.len()..start + old.len()).rev() {
        operations.push(Operation { op: "remove", path: format!("{path}/{index}"), value: None });
    }
    for (offset, value) in new.iter().enumerate().skip(old.len()) {
        let path = format!("{path}/{}", start + offset);
        operations.push(Operation { op: "add", path, value: Some(value.clone()) });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7396, appendix A.
    #[test]
    fn a_merge_patch_does_what_the_rfc_says() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{patch}");
        }
    }

    #[test]
    fn a_difference_names_the_places_that_change() {
        let before = json!({ "spec": { "http": [{ "weight": 90 }, { "weight": 10 }], "gone": 1, "a/b": 1 } });
        let after = json!({ "spec": { "http": [{ "weight": 50 }, { "weight": 10 }, { "weight": 40 }], "a/b": 2 } });
        let told: Vec<_> = diff(Some(&before), Some(&after)).into_iter().map(|each| (each.op, each.path)).collect();
        let expected = [
            ("remove", "/spec/gone"),
            ("replace", "/spec/a~1b"),
            ("replace", "/spec/http/0/weight"),
            ("add", "/spec/http/2"),
        ];
        assert_eq!(told, expected.map(|(op, path)| (op, path.to_owned())));
        assert_eq!(
            diff(Some(&json!([1, 2, 3, 4])), Some(&json!([1, 4]))).iter().map(|o| o.path.as_str()).collect::<Vec<_>>(),
            ["/2", "/1"]
        );
        assert!(diff(Some(&after), Some(&after)).is_empty());
    }
}
