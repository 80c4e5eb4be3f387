//! The objects, and the log of what happened to them, which watches read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// Names one object, whatever version it is asked in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// `virtualservices.networking.istio.io`
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// One change. A bookmark has neither.
#[derive(Clone, Debug)]
pub struct Logged {
    pub version: u64,
    pub resource: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Default)]
pub struct Db {
    version: u64,
    objects: BTreeMap<Id, Value>,
    log: Vec<Logged>,
    /// Changes up to here are forgotten.
    compacted: u64,
    /// Lists as they were when they began, for their later pages.
    lists: HashMap<String, Listed>,
    /// Which manager applied which fields (server-side apply).
    pub owners: BTreeMap<Id, BTreeMap<String, BTreeSet<String>>>,
}

impl Db {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, id: &Id) -> Option<&Value> {
        self.objects.get(id)
    }

    /// All of a resource, in all namespaces or one.
    pub fn all(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let wanted = |id: &&Id| id.resource == resource && (namespace.is_empty() || id.namespace == namespace);
        self.objects.keys().filter(wanted).map(|id| self.objects[id].clone()).collect()
    }

    /// Puts an object in place of what was there, or takes it away; as it is now.
    pub fn commit(&mut self, id: Id, object: Option<Value>) -> Value {
        self.version += 1;
        let before = self.objects.remove(&id);
        let mut shown = object.clone().or_else(|| before.clone()).unwrap_or_default();
        shown["metadata"]["resourceVersion"] = self.version.to_string().into();
        let after = object.map(|_| shown.clone());
        let resource = id.resource.clone();
        match &after {
            Some(after) => drop(self.objects.insert(id, after.clone())),
            None => drop(self.owners.remove(&id)),
        }
        // What is deleted shows its last state, at the version of its end.
        let before = if after.is_none() { Some(shown.clone()) } else { before };
        self.log.push(Logged { version: self.version, resource, before, after });
        shown
    }

    pub fn seed_namespace(&mut self, name: &str) {
        let id = Id { resource: "namespaces".into(), namespace: String::new(), name: name.into() };
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": stamp(json!({ "name": name }), self.version) });
        self.commit(id, Some(object));
    }

    /// Whether a watch can no longer begin at a version.
    pub fn is_forgotten(&self, version: u64) -> bool {
        version < self.compacted
    }

    /// Changes after a version.
    pub fn since(&self, version: u64) -> Vec<Logged> {
        let first = self.log.partition_point(|logged| logged.version <= version);
        self.log[first..].to_vec()
    }

    /// Watches that have begun go on.
    pub fn compact(&mut self) {
        // The version itself moves on, so that whoever stands at the last one has fallen behind too.
        self.version += 1;
        self.compacted = self.version;
        self.lists.clear();
    }

    pub fn bookmark(&mut self) -> u64 {
        self.version += 1;
        self.log.push(Logged { version: self.version, resource: String::new(), before: None, after: None });
        self.version
    }

    /// Keeps a list for its later pages.
    pub fn keep(&mut self, listed: Listed) -> String {
        let token = format!("list-{}-{}", listed.version, self.lists.len());
        self.lists.insert(token.clone(), listed);
        token
    }

    pub fn kept(&self, token: &str) -> Option<Listed> {
        self.lists.get(token).cloned()
    }
}

/// The objects that a list shows, at a version. Cloning shares.
#[derive(Clone)]
pub struct Listed {
    pub version: u64,
    pub objects: Arc<Vec<Value>>,
}

/// Metadata of an object that is new.
pub fn stamp(mut metadata: Value, seed: u64) -> Value {
    metadata["uid"] = format!("00000000-0000-4000-8000-{seed:012x}").into();
    metadata["creationTimestamp"] = format!("{:.0}", Timestamp::now()).into();
    metadata
}
