//! Dynamic metadata of a request (Envoy, `DynamicMetadata`): values that one filter leaves for others and for logs,
//! by namespace, which is the filter's name.

use std::collections::BTreeMap;

use api::prost_types::{Struct, Value, value::Kind};

/// Made when a filter first sets a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicMetadata {
    namespaces: BTreeMap<String, Struct>,
}

impl DynamicMetadata {
    /// Sets one value of a namespace.
    pub fn set(&mut self, namespace: &str, key: &str, value: Kind) {
        self.fields(namespace).insert(key.to_owned(), Value { kind: Some(value) });
    }

    /// Adds all values of a structure to a namespace, in place of those of the same name.
    pub fn merge(&mut self, namespace: &str, values: Struct) {
        self.fields(namespace).extend(values.fields);
    }

    /// The value at a path below a namespace; without a path, none.
    pub fn get<'p>(&self, namespace: &str, path: impl IntoIterator<Item = &'p str>) -> Option<&Value> {
        let mut path = path.into_iter();
        let mut value = self.namespaces.get(namespace)?.fields.get(path.next()?)?;
        for key in path {
            let Some(Kind::StructValue(inner)) = &value.kind else { return None };
            value = inner.fields.get(key)?;
        }
        Some(value)
    }

    /// All values of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<&Struct> {
        self.namespaces.get(namespace)
    }

    fn fields(&mut self, namespace: &str) -> &mut BTreeMap<String, Value> {
        &mut self.namespaces.entry(namespace.to_owned()).or_default().fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_path() {
        let mut metadata = DynamicMetadata::default();
        let text = |text: &str| Kind::StringValue(text.to_owned());
        let claims = Struct { fields: [("sub".to_owned(), Value { kind: Some(text("me")) })].into() };
        metadata.set("jwt", "payload", Kind::StructValue(claims));
        metadata.set("jwt", "n", Kind::NumberValue(1.0));
        assert_eq!(metadata.get("jwt", ["payload", "sub"]).unwrap().kind, Some(text("me")));
        for missing in [&["n", "x"][..], &["x"], &[]] {
            assert_eq!(metadata.get("jwt", missing.iter().copied()), None);
        }
        assert_eq!(metadata.get("other", ["n"]), None);
    }
}
