//! What files, store and cluster hold, and which of it is in force.

mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster::Held;
pub(crate) use cluster::{Verdict, Written};
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::document::{self, Checked, Document};
use crate::object::{Object, ObjectKey};
use crate::snapshot::{Meta, Provenance, Snapshot};

/// An object as written, and as checked.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub object: Object,
    pub checked: Checked,
}

/// One file: its last good objects, and what is wrong with its present content.
#[derive(Debug, Default)]
struct File {
    /// The content that was read last, good or bad.
    content: Option<Result<String, String>>,
    objects: Vec<Arc<Loaded>>,
    findings: Vec<Diagnostic>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    files: BTreeMap<PathBuf, File>,
    stored: BTreeMap<ObjectKey, Arc<Loaded>>,
    cluster: BTreeMap<ObjectKey, Held>,
    /// Stored values that this build cannot take.
    unreadable: BTreeMap<String, Diagnostic>,
    /// The revision of the last change seen of each key, deletions included, so that none is applied twice.
    revisions: BTreeMap<ObjectKey, u64>,
    in_force: BTreeMap<ObjectKey, Arc<Loaded>>,
    version: u64,
}

/// A value in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Layout of this record.
    v: u32,
    pub created: u64,
    pub author: String,
    pub manifest: serde_json::Value,
}

impl Record {
    pub fn new(created: u64, author: &str, manifest: serde_json::Value) -> Self {
        Self { v: 1, created, author: author.to_owned(), manifest }
    }
}

impl State {
    /// The object in force under a key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Loaded>> {
        self.in_force.get(key)
    }

    pub fn in_force(&self) -> &BTreeMap<ObjectKey, Arc<Loaded>> {
        &self.in_force
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.in_force.values()
    }

    /// The applied object under a key, in force or not.
    pub fn stored(&self, key: &ObjectKey) -> Option<&Arc<Loaded>> {
        self.stored.get(key)
    }

    /// What holds an object, so that it cannot be applied or deleted.
    pub fn holder_of(&self, key: &ObjectKey) -> Option<String> {
        match &self.in_force.get(key)?.object.provenance {
            Provenance::File(path) => Some(format!("the file {}", path.display())),
            Provenance::Cluster(name) => Some(format!("the Kubernetes cluster {name}")),
            Provenance::Store { .. } => None,
        }
    }

    /// Errors in files, objects that two files hold, and stored values that cannot be taken.
    pub fn problems(&self) -> Vec<Diagnostic> {
        let errors =
            self.files.values().flat_map(|file| file.findings.iter().filter(|found| found.is_error()).cloned());
        let in_cluster = self.cluster.values().flat_map(Held::errors).cloned();
        errors
            .chain(self.twins())
            .chain(self.unreadable.values().cloned())
            .chain(in_cluster)
            .chain(self.stale())
            .collect()
    }

    fn twins(&self) -> Vec<Diagnostic> {
        let mut seen: BTreeMap<&ObjectKey, &PathBuf> = BTreeMap::new();
        let mut twins = Vec::new();
        for (path, file) in &self.files {
            for loaded in &file.objects {
                if let Some(first) = seen.get(&loaded.object.key) {
                    let message = format!("{} is also in {}, which is in force", loaded.object.key, first.display());
                    twins.push(Diagnostic::general(&path.display().to_string(), message));
                } else {
                    seen.insert(&loaded.object.key, path);
                }
            }
        }
        twins
    }

    /// Takes the present content of all files; true if objects may have changed.
    pub fn take_files(&mut self, mut present: BTreeMap<PathBuf, Result<String, String>>) -> bool {
        let before = self.files.len();
        self.files.retain(|path, _| present.contains_key(path));
        let mut changed = self.files.len() != before;
        while let Some((path, content)) = present.pop_first() {
            let file = self.files.entry(path.clone()).or_default();
            if file.content.as_ref() != Some(&content) {
                file.take(&path, content);
                changed = true;
            }
        }
        changed
    }

    /// Takes a value of the store, unless it is older than what is known.
    pub fn take_stored(&mut self, store_key: &str, value: Option<&[u8]>, revision: u64) -> bool {
        let Some(key) = parse_key(store_key) else { return false };
        if self.revisions.get(&key).is_some_and(|known| *known >= revision) {
            return false;
        }
        self.revisions.insert(key.clone(), revision);
        self.unreadable.remove(store_key);
        match value.map(|bytes| load(&key, bytes, revision)) {
            None => {
                self.stored.remove(&key);
            }
            Some(Ok(loaded)) => {
                self.stored.insert(key, Arc::new(loaded));
            }
            Some(Err(why)) => {
                self.stored.remove(&key);
                self.unreadable.insert(store_key.to_owned(), Diagnostic::general(&format!("store: {key}"), why));
            }
        }
        true
    }

    /// The paths of stored objects that a listing of the store does not have, unless they are newer.
    pub fn not_in(&self, listing: &store::Listing) -> Vec<String> {
        let there: BTreeSet<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        let stored = self.stored.values().filter(|loaded| loaded.object.revision <= listing.revision);
        stored.map(|loaded| store_key(&loaded.object.key)).filter(|path| !there.contains(path.as_str())).collect()
    }

    /// Settles what is in force and makes the snapshot of it: files over the cluster over the store, earlier files
    /// over later.
    pub fn settle(&mut self) -> Snapshot {
        self.in_force = self.stored.clone();
        let of_cluster = self.cluster.iter().filter_map(|(key, held)| Some((key.clone(), held.good()?.clone())));
        self.in_force.extend(of_cluster);
        for file in self.files.values().rev() {
            self.in_force.extend(file.objects.iter().map(|loaded| (loaded.object.key.clone(), loaded.clone())));
        }
        self.version += 1;
        Snapshot::of(self.version, self.in_force.values().map(|loaded| loaded.checked.clone()))
    }

    /// What would be in force if these documents were applied, and those objects deleted.
    pub fn preview(&self, documents: Vec<Document>, gone: &BTreeSet<ObjectKey>, now: u64) -> Snapshot {
        let stay = self.in_force.iter().filter(|(key, _)| !gone.contains(key));
        let mut objects: BTreeMap<ObjectKey, Checked> =
            stay.map(|(key, loaded)| (key.clone(), loaded.checked.clone())).collect();
        for document in documents {
            let created = self.stored(&document.key).map_or(now, |loaded| loaded.object.created);
            let meta = Meta {
                name: document.key.name.clone(),
                namespace: document.key.namespace.clone(),
                created,
                ..Meta::default()
            };
            objects.insert(document.key, document.spec.with(meta));
        }
        Snapshot::of(self.version, objects.into_values())
    }
}

impl File {
    fn take(&mut self, path: &Path, content: Result<String, String>) {
        let origin = path.display().to_string();
        let parsed = match &content {
            Ok(text) if text.is_empty() && !self.objects.is_empty() => {
                Err("is empty; its last objects stay in force until the file is removed".to_owned())
            }
            Ok(text) => Ok(document::parse(text, &origin)),
            Err(why) => Err(why.clone()),
        };
        self.content = Some(content);
        match parsed {
            Err(why) => self.findings = vec![Diagnostic::general(&origin, why)],
            Ok((documents, findings)) => {
                if !findings.iter().any(Diagnostic::is_error) {
                    let provenance = Provenance::File(path.to_owned());
                    let load = |document| Arc::new(loaded(document, 0, 0, provenance.clone()));
                    self.objects = documents.into_iter().map(load).collect();
                }
                self.findings = findings;
            }
        }
        for found in self.findings.iter().filter(|found| found.is_error()) {
            tracing::warn!(file = %origin, "{found}");
        }
    }
}

/// An object of a document, wherever it came from.
pub(crate) fn loaded(document: Document, created: u64, revision: u64, provenance: Provenance) -> Loaded {
    let object = Object {
        key: document.key.clone(),
        manifest: document.manifest,
        created,
        revision,
        provenance: provenance.clone(),
    };
    let meta = Meta {
        name: document.key.name,
        namespace: document.key.namespace,
        labels: document.labels,
        annotations: document.annotations,
        created,
        revision,
        provenance,
    };
    Loaded { object, checked: document.spec.with(meta) }
}

fn load(key: &ObjectKey, bytes: &[u8], revision: u64) -> Result<Loaded, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| format!("is damaged: {error}"))?;
    if record.v != 1 {
        return Err(format!("was written by a newer weft (layout {})", record.v));
    }
    let (document, findings) = document::parse_manifest(&record.manifest, &key.to_string());
    match (document, findings.iter().find(|found| found.is_error())) {
        (Some(document), None) => {
            Ok(loaded(document, record.created, revision, Provenance::Store { author: record.author }))
        }
        (_, Some(error)) => Err(error.to_string()),
        (None, None) => Err("holds no object".into()),
    }
}

/// Prefix of all configuration in the store.
pub(crate) const PREFIX: &str = "config/";

pub(crate) fn store_key(key: &ObjectKey) -> String {
    format!("{PREFIX}{}/{}/{}", key.namespace, key.kind, key.name)
}

fn parse_key(text: &str) -> Option<ObjectKey> {
    let mut parts = text.strip_prefix(PREFIX)?.splitn(3, '/');
    let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(ObjectKey::new(crate::Kind::named(kind)?, namespace, name))
}
