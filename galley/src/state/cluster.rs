//! The objects that a Kubernetes cluster holds: the last good state of each, and what is wrong with the present one.

use std::collections::BTreeSet;
use std::sync::Arc;

use registry::kubernetes::unix_seconds;
use serde_json::{Map, Value as Json};

use super::{Loaded, State, loaded};
use crate::diagnostic::Diagnostic;
use crate::document;
use crate::kind::Kind;
use crate::object::ObjectKey;
use crate::snapshot::Provenance;

/// One object of the cluster.
#[derive(Debug)]
pub(super) struct Held {
    /// As written by its author, good or bad.
    manifest: Json,
    good: Option<Arc<Loaded>>,
    findings: Vec<Diagnostic>,
    /// Known from before the control plane started; the cluster has not told of it since.
    is_recalled: bool,
}

/// An object as its author wrote it, with when and at which version.
pub(crate) struct Written {
    pub manifest: Json,
    pub created: u64,
    pub revision: u64,
}

/// What became of an object as it is written now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Whether it is taken; otherwise its last good state, if it had one, stays in force.
    pub taken: bool,
    /// Whether an earlier state of it stays in force.
    pub kept: bool,
    /// A file decides over it.
    pub overruled_by: Option<String>,
    pub findings: Vec<Diagnostic>,
}

impl Held {
    pub fn good(&self) -> Option<&Arc<Loaded>> {
        self.good.as_ref()
    }

    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.iter().filter(|found| found.is_error())
    }
}

impl State {
    /// Takes all objects of a kind that the cluster has; those not among them are gone.
    pub fn replace_in_cluster(&mut self, kind: Kind, cluster: &Arc<str>, objects: &[(ObjectKey, Json)]) -> bool {
        let there: BTreeSet<&ObjectKey> = objects.iter().map(|(key, _)| key).collect();
        let before = self.cluster.len();
        self.cluster.retain(|key, _| key.kind != kind || there.contains(key));
        let mut changed = self.cluster.len() != before;
        for (key, object) in objects {
            changed |= self.take_from_cluster(key, cluster, Some(object));
        }
        changed
    }

    /// Takes an object as the cluster has it now; true if what is in force may have changed.
    pub fn take_from_cluster(&mut self, key: &ObjectKey, cluster: &Arc<str>, object: Option<&Json>) -> bool {
        let Some(object) = object else { return self.cluster.remove(key).is_some() };
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let written = Written {
            manifest: authored(object, key.kind),
            created: unix_seconds(text("creationTimestamp")).unwrap_or_default(),
            revision: text("resourceVersion").parse().unwrap_or_default(),
        };
        self.hold(key, cluster, written)
    }

    fn hold(&mut self, key: &ObjectKey, cluster: &Arc<str>, written: Written) -> bool {
        let Written { manifest, created, revision } = written;
        let before = self.cluster.remove(key);
        if let Some(held) = before.as_ref().filter(|held| held.manifest == manifest) {
            let (good, findings) = (held.good.clone(), held.findings.clone());
            let same = Held { manifest, good, findings, is_recalled: false };
            self.cluster.insert(key.clone(), same);
            return false;
        }
        let (document, findings) = document::parse_manifest(&manifest, &format!("{key} (cluster {cluster})"));
        let is_wrong = findings.iter().any(Diagnostic::is_error);
        let good = match document.filter(|_| !is_wrong) {
            Some(document) => Some(Arc::new(loaded(document, created, revision, Provenance::Cluster(cluster.clone())))),
            None => before.and_then(|held| held.good),
        };
        for found in findings.iter().filter(|found| found.is_error()) {
            tracing::warn!("{found}");
        }
        self.cluster.insert(key.clone(), Held { manifest, good, findings, is_recalled: false });
        true
    }

    /// Takes an object as it was known before the control plane started.
    pub fn recall(&mut self, key: &ObjectKey, cluster: &Arc<str>, written: Written) {
        self.hold(key, cluster, written);
        if let Some(held) = self.cluster.get_mut(key) {
            held.is_recalled = true;
        }
    }

    /// Every object of the cluster with its last good state.
    pub fn in_cluster(&self) -> impl Iterator<Item = (&ObjectKey, Option<&Arc<Loaded>>)> {
        self.cluster.iter().map(|(key, held)| (key, held.good()))
    }

    /// That objects of a cluster stand as they were known before.
    pub(super) fn stale(&self) -> Option<Diagnostic> {
        let recalled: Vec<&Loaded> =
            self.cluster.values().filter(|held| held.is_recalled).filter_map(|held| held.good.as_deref()).collect();
        let Provenance::Cluster(cluster) = &recalled.first()?.object.provenance else { return None };
        let message = format!(
            "stale: objects in force as known before the control plane started: {}; the cluster has not answered \
             since; see `weft registry status`",
            recalled.len()
        );
        Some(Diagnostic::general(&format!("the Kubernetes cluster {cluster}"), message))
    }

    /// What became of an object of the cluster; `None` if it has none of that name.
    pub fn verdict(&self, key: &ObjectKey) -> Option<Verdict> {
        let held = self.cluster.get(key)?;
        let taken = held.errors().next().is_none();
        let overruled_by = self.holder_of(key).filter(|_| {
            let by_file = |loaded: &Arc<Loaded>| matches!(loaded.object.provenance, Provenance::File(_));
            self.in_force.get(key).is_some_and(by_file)
        });
        Some(Verdict { taken, kept: !taken && held.good.is_some(), overruled_by, findings: held.findings.clone() })
    }
}

/// What the author wrote, without what the API server and controllers keep beside it.
fn authored(object: &Json, kind: Kind) -> Json {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.into(), value.clone());
        }
    }
    if let Some(Json::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let mut manifest = Map::new();
    manifest.insert("apiVersion".into(), object["apiVersion"].clone());
    manifest.insert("kind".into(), kind.as_str().into());
    manifest.insert("metadata".into(), metadata.into());
    // Everything beside is held against the schema; `status` is ours.
    for (name, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()) {
            manifest.insert(name.clone(), value.clone());
        }
    }
    Json::Object(manifest)
}
