//! The configuration store of the mesh: files and applied objects, checked, merged and published.

use std::path::PathBuf;
use std::sync::Arc;

use registry::{MemoryRegistry, Registry};
use store::Store;
use tokio::sync::watch;

use crate::diagnostic::{Diagnostic, Rejection};
use crate::kind::Kind;
use crate::object::Object;
use crate::snapshot::Snapshot;

/// What a galley is made of.
pub struct GalleyOptions {
    pub store: Arc<dyn Store>,
    /// Directories of YAML, watched. A missing one is waited for.
    pub directories: Vec<PathBuf>,
    /// The mesh's DNS domain: `cluster.local`.
    pub domain: String,
}

/// Cloning shares.
#[derive(Clone)]
pub struct Galley {
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// What `apply` did to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub change: Applying,
    /// The store's revision at which the object stands now.
    pub revision: u64,
    pub warnings: Vec<Diagnostic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applying {
    Created,
    Configured,
    Unchanged,
}

/// What is wrong now with a file: its last good objects stay in force.
pub type Problem = Diagnostic;

impl Galley {
    /// Reads all there is, so that the first snapshot is complete.
    pub async fn open(_options: GalleyOptions) -> Result<Self, Rejection> {
        Ok(Self { snapshots: watch::Sender::default() })
    }

    /// Follows files and store until dropped; without it nothing but `apply` and `delete` changes the snapshot.
    pub async fn run(&self) {
        std::future::pending().await
    }

    /// The current snapshot, then each new one.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Takes all documents of a text or none. When it returns they are durable and published.
    pub async fn apply(&self, _text: &str, origin: &str, _author: &str) -> Result<Vec<Applied>, Rejection> {
        Err(Rejection::because(origin, "this build cannot apply yet"))
    }

    /// What `apply` would say, without doing it.
    pub async fn validate(&self, _text: &str, origin: &str) -> Result<Vec<Applied>, Rejection> {
        Err(Rejection::because(origin, "this build cannot validate yet"))
    }

    /// Removes an applied object; false if there was none.
    pub async fn delete(&self, _kind: Kind, _namespace: &str, _name: &str) -> Result<bool, Rejection> {
        Err(Rejection::because("delete", "this build cannot delete yet"))
    }

    /// The object in force under that name, as written.
    pub fn get(&self, _kind: Kind, _namespace: &str, _name: &str) -> Option<Object> {
        None
    }

    /// Objects in force, by key; all kinds or namespaces when `None`.
    pub fn list(&self, _kind: Option<Kind>, _namespace: Option<&str>) -> Vec<Object> {
        Vec::new()
    }

    /// What is wrong with files now.
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// The services that ServiceEntry and WorkloadEntry declare, as the registry `static`.
    pub fn registry(&self) -> Arc<dyn Registry> {
        Arc::new(MemoryRegistry::new("static"))
    }
}
