//! Dynamic metadata of a request (Envoy, `DynamicMetadata`): values that one filter leaves for others and for logs,
//! by namespace, which is the filter's name.

use std::collections::BTreeMap;

use api::prost_types::{Struct, Value, value::Kind};

/// Made when a filter first sets a value; read with `RequestInfo::metadata_value`.
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

    /// All values of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<&Struct> {
        self.namespaces.get(namespace)
    }

    fn fields(&mut self, namespace: &str) -> &mut BTreeMap<String, Value> {
        &mut self.namespaces.entry(namespace.to_owned()).or_default().fields
    }
}
