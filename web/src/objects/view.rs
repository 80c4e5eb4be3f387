//! How objects are shown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use galley::{Kind, Object, Provenance};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A configuration object and what the mesh knows of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ObjectView {
    /// One name for it everywhere: `wri:virtualservice:default:reviews`.
    pub wri: String,
    /// `VirtualService`
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Unix seconds.
    pub created: u64,
    /// The store's revision that wrote it, which its entity tag names; 0 for an object from a file or a cluster.
    pub revision: u64,
    pub provenance: ProvenanceView,
    /// The whole document as written: `apiVersion`, `kind`, `metadata`, `spec`.
    #[schema(value_type = Object)]
    pub object: Value,
}

/// Where an object lives: one of the three.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct ProvenanceView {
    /// In this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// In the Kubernetes cluster of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// In the mesh's own store, written last by this author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// What a kind is called in a path.
pub struct KindName;

impl PartialSchema for KindName {
    fn schema() -> RefOr<Schema> {
        let names = Kind::ALL.map(Kind::plural);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for KindName {
    fn name() -> Cow<'static, str> {
        "KindName".into()
    }
}

impl ObjectView {
    pub fn of(object: &Object) -> Self {
        Self {
            wri: crate::wri::of(object.key.kind.as_str(), &object.key.namespace, &object.key.name),
            kind: object.key.kind.as_str(),
            namespace: object.key.namespace.clone(),
            name: object.key.name.clone(),
            labels: labels(&object.manifest),
            created: object.created,
            revision: object.revision,
            provenance: ProvenanceView::of(&object.provenance),
            object: object.manifest.clone(),
        }
    }
}

impl ProvenanceView {
    fn of(provenance: &Provenance) -> Self {
        let none = Self::default();
        match provenance {
            Provenance::File(path) => Self { file: Some(path.display().to_string()), ..none },
            Provenance::Cluster(name) => Self { cluster: Some(name.to_string()), ..none },
            Provenance::Store { author } => Self { author: Some(author.clone()), ..none },
        }
    }
}

fn labels(manifest: &Value) -> BTreeMap<String, String> {
    let labels = manifest["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
