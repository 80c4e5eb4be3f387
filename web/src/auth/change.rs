//! What a change made of objects, for the audit log: a unified diff, of bounded length, and without what might be
//! secret.

use galley::ObjectKey;
use galley::history::unified;
use serde_json::Value;

use crate::state::State;

/// So much of a diff is kept of one entry, in bytes. The history has the whole.
const LONGEST: usize = 4096;
/// So many objects of one entry are looked at.
const MOST: usize = 20;
const HIDDEN: &str = "[redacted]";

/// Objects as they were before a change.
pub struct Before {
    objects: Vec<(ObjectKey, Option<Value>)>,
    /// So many more were changed.
    left_out: usize,
}

impl Before {
    pub fn of(state: &State, targets: &[ObjectKey]) -> Self {
        let objects = targets.iter().take(MOST).map(|key| (key.clone(), manifest(state, key))).collect();
        Self { objects, left_out: targets.len().saturating_sub(MOST) }
    }

    /// What is different now.
    pub fn diff(&self, state: &State) -> String {
        let changed = self.objects.iter().map(|(key, before)| (key, before.clone(), manifest(state, key)));
        match self.left_out {
            0 => told(changed),
            more => format!("{}({more} more objects; `weft history` has them)\n", told(changed)),
        }
    }
}

fn manifest(state: &State, key: &ObjectKey) -> Option<Value> {
    state.galley.get(key.kind, &key.namespace, &key.name).map(|object| object.manifest)
}

/// From what to what objects were changed.
pub fn told<'a>(changed: impl Iterator<Item = (&'a ObjectKey, Option<Value>, Option<Value>)>) -> String {
    let mut all = String::new();
    for (key, mut before, mut after) in changed.filter(|(_, before, after)| before != after) {
        before.iter_mut().chain(after.iter_mut()).for_each(redact);
        let name = key.to_string();
        match unified(&name, before.as_ref(), after.as_ref()) {
            diff if diff.is_empty() => all += &format!("--- {name}\n+++ {name}\n(only what is redacted differs)\n"),
            diff => all += &diff,
        }
        if all.len() > LONGEST {
            return cut(&all);
        }
    }
    all
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    let kept = &text[..text[..end].rfind('\n').map_or(end, |at| at + 1)];
    format!("{kept}(the diff goes on; `weft history` has the whole)\n")
}

/// Takes out the texts below fields that are named like a secret: headers, in the main.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let named = ["key", "name"].into_iter().filter_map(|field| fields.get(field)?.as_str());
            let names_secret = named.into_iter().any(is_secret);
            for (name, value) in fields {
                let is_value = names_secret && matches!(&**name, "value" | "values" | "notValues");
                if is_value || is_secret(name) { hide(value) } else { redact(value) }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 7] = ["password", "secret", "token", "authorization", "cookie", "apikey", "privatekey"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    // What only names a secret is none.
    !plain.ends_with("name") && !plain.ends_with("ref") && WORDS.iter().any(|word| plain.contains(word))
}

fn hide(value: &mut Value) {
    match value {
        Value::String(text) => HIDDEN.clone_into(text),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use galley::Kind;
    use serde_json::json;

    use super::*;
    use crate::router::tests::Mesh;

    fn diff(before: Value, after: Value) -> String {
        let key = ObjectKey::new(Kind::VirtualService, "default", "reviews");
        told([(&key, Some(before), Some(after))].into_iter())
    }

    #[test]
    fn what_might_be_secret_is_not_told() {
        let headers =
            |token: &str| json!({ "headers": { "request": { "set": { "Authorization": token, "x-v": "2" } } } });
        let told = diff(headers("Bearer old"), headers("Bearer new"));
        assert!(told.contains("only what is redacted differs") && !told.contains("Bearer"), "{told}");
        let when = |value: &str| json!({ "when": [{ "key": "request.headers[cookie]", "values": [value] }] });
        assert!(!diff(json!({}), when("s3cret")).contains("s3cret"));
        let tls = diff(json!({}), json!({ "tls": { "credentialName": "web-secret", "secretName": "a" } }));
        assert!(tls.contains("web-secret") && tls.contains("secretName: a"), "{tls}");
    }

    #[tokio::test]
    async fn objects_beyond_the_first_are_counted() {
        let mesh = Mesh::start().await;
        let targets: Vec<ObjectKey> =
            (0..MOST + 3).map(|number| ObjectKey::new(Kind::VirtualService, "default", &number.to_string())).collect();
        assert!(Before::of(&mesh.state, &targets).diff(&mesh.state).contains("(3 more objects"));
        assert_eq!(Before::of(&mesh.state, &targets[..MOST]).diff(&mesh.state), "");
    }

    #[test]
    fn a_long_diff_is_cut_at_a_line() {
        let long: Vec<String> = (0..1000).map(|number| format!("é {number}")).collect();
        let told = diff(json!({}), json!({ "hosts": long }));
        assert!(told.len() < LONGEST + 100 && told.ends_with("has the whole)\n"), "{}", told.len());
        assert!(told.lines().rev().nth(1).is_some_and(|line| line.starts_with('+')), "{told}");
    }
}
