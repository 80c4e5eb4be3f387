//! Where in a text something stands that is known by its path in the document.

use super::{Mark, Node, Value};
use crate::kind::Kind;
use crate::object::ObjectKey;

/// The place of a path (`spec.http[0].route[1].destination`) in the document of an object; of what is not there, the
/// place of what it would be in. `None` where the documents do not hold the object.
pub(crate) fn place(documents: &[Node], key: &ObjectKey, path: &str) -> Option<Mark> {
    let document = documents.iter().find_map(|document| of_object(document, key))?;
    let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty());
    let mut at = (document, document.at);
    for part in parts {
        match step(at.0, part) {
            Some(next) => at = next,
            None => break,
        }
    }
    Some(at.1)
}

/// A document, or an item of the list that a document is.
fn of_object<'n>(node: &'n Node, key: &ObjectKey) -> Option<&'n Node> {
    let word = |node: &'n Node, name: &str| node.get(name).and_then(Node::as_text);
    if let Some(Value::List(items)) = node.get("items").map(|items| &items.value) {
        return items.iter().find_map(|item| of_object(item, key));
    }
    let metadata = node.get("metadata")?;
    let namespace = word(metadata, "namespace").filter(|namespace| !namespace.is_empty()).unwrap_or("default");
    let is = word(node, "kind").and_then(Kind::named) == Some(key.kind)
        && word(metadata, "name") == Some(&key.name)
        && namespace == key.namespace;
    is.then_some(node)
}

/// A field is where its name is.
fn step<'n>(node: &'n Node, part: &str) -> Option<(&'n Node, Mark)> {
    match &node.value {
        Value::Map(pairs) => pairs.iter().find(|pair| pair.key == part).map(|pair| (&pair.value, pair.at)),
        Value::List(items) => items.get(part.parse::<usize>().ok()?).map(|item| (item, item.at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const TEXT: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: a
  namespace: shop
spec:
  hosts: [a]
  http:
  - route:
    - destination:
        host: a
    - destination: {host: b, subset: v9}
";

    #[test]
    fn a_path_is_found_in_the_document_of_its_object() {
        let documents = parse(TEXT).unwrap();
        let rule = ObjectKey::new(Kind::VirtualService, "shop", "a");
        let at = |path: &str| place(&documents, &rule, path).map(|at| (at.line, at.column));
        assert_eq!(at("spec.http[0].route[1].destination"), Some((17, 7)));
        assert_eq!(at("spec.http[0].route[0].destination.host"), Some((16, 9)));
        assert_eq!(at("spec.http[0].route[1].destination.subset"), Some((17, 30)));
        // What is left out is at what it was left out of.
        assert_eq!(at("spec.gateways[0]"), Some((11, 1)));
        assert_eq!(at(""), Some((6, 1)));
        let other = ObjectKey::new(Kind::DestinationRule, "default", "a");
        assert_eq!(place(&documents, &other, "spec.host").map(|at| (at.line, at.column)), Some((4, 8)));
        assert_eq!(place(&documents, &ObjectKey::new(Kind::DestinationRule, "shop", "a"), "spec"), None);
    }
}
