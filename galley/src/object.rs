//! An object as it was written, with what the mesh knows about it.

use crate::kind::Kind;
use crate::snapshot::Provenance;

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

/// An object as applied or as found in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub key: ObjectKey,
    /// The whole document as written: `apiVersion`, `kind`, `metadata`, `spec`.
    pub manifest: serde_json::Value,
    /// Unix seconds.
    pub created: u64,
    /// The store's revision that wrote it; 0 for an object from a file.
    pub revision: u64,
    pub provenance: Provenance,
}

impl ObjectKey {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
