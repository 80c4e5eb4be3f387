//! The configuration store of the mesh: files and applied objects, checked, merged and published.

mod past;
mod plan;
mod write;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use api::Hostname;
use futures_util::StreamExt;
use parking_lot::Mutex;
use registry::{Registry, ServiceKey};
use store::{Listing, Store, StoreError};
use tokio::sync::watch;

use crate::analysis::{self, Found, Scene};
use crate::diagnostic::{Diagnostic, Rejection};
use crate::directory::{self, Changes};
use crate::document::{self, Document};
use crate::history::{self, Book};
use crate::kind::Kind;
use crate::object::{Object, ObjectKey};
use crate::snapshot::Snapshot;
use crate::state::{PREFIX, State};
use crate::static_registry::StaticRegistry;
use crate::yaml;

/// What a galley is made of.
#[derive(Clone)]
pub struct GalleyOptions {
    pub store: Arc<dyn Store>,
    /// Directories of YAML, watched. A missing one is waited for.
    pub directories: Vec<PathBuf>,
    /// The mesh's DNS domain: `cluster.local`.
    pub domain: String,
}

pub use past::NoWayBack;

/// Cloning shares.
#[derive(Clone)]
pub struct Galley {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub options: GalleyOptions,
    pub state: Mutex<State>,
    history: Mutex<Book>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Held by whoever writes to the store.
    writing: tokio::sync::Mutex<()>,
    /// Watching from before the first reading; taken by `run`.
    changes: Mutex<Option<Changes>>,
    /// How much of what clusters hold was not read yet.
    pub awaited: Arc<AtomicUsize>,
    /// Texts that were given to be applied, and held to the rules: taken and refused.
    judged: [AtomicU64; 2],
}

/// What `apply` did to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub change: Applying,
    /// The store's revision at which the object stands now; 0 in a dry run of a new object.
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
    pub async fn open(mut options: GalleyOptions) -> Result<Self, StoreError> {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        options.directories = options.directories.iter().map(absolute).collect();
        let changes = Changes::watch(&options.directories);
        let mut state = State::default();
        for entry in options.store.list(PREFIX).await?.entries {
            state.take_stored(&entry.key, Some(&entry.value), entry.revision);
        }
        state.take_files(directory::scan(&options.directories));
        let mut book = Book::default();
        for entry in options.store.list(history::PREFIX).await?.entries {
            book.take(&entry.key, Some(&entry.value), entry.revision);
        }
        let snapshots = watch::Sender::new(Arc::new(state.settle()));
        let shared = Shared {
            options,
            state: Mutex::new(state),
            history: Mutex::new(book),
            snapshots,
            writing: tokio::sync::Mutex::default(),
            changes: Mutex::new(Some(changes)),
            awaited: Arc::default(),
            judged: Default::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many texts were given to be applied: those that passed, and those that were refused. What is only tried does
    /// not count.
    pub fn validations(&self) -> [u64; 2] {
        self.shared.judged.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Follows files and store until dropped; without it nothing but `apply` and `delete` changes the snapshot.
    pub async fn run(&self) {
        tokio::join!(self.follow_files(), self.follow_store(), self.follow_history());
    }

    async fn follow_files(&self) {
        let kept = self.shared.changes.lock().take();
        let mut changes = kept.unwrap_or_else(|| Changes::watch(&self.shared.options.directories));
        loop {
            changes.arm();
            let directories = self.shared.options.directories.clone();
            if let Ok(files) = tokio::task::spawn_blocking(move || directory::scan(&directories)).await {
                self.shared.change(|state| state.take_files(files));
            }
            changes.next().await;
        }
    }

    async fn follow_store(&self) {
        let mut changes = self.shared.options.store.watch(PREFIX);
        match self.shared.options.store.list(PREFIX).await {
            Ok(listing) => self.shared.take_listing(&listing),
            Err(error) => tracing::error!("the configuration cannot be listed: {error}"),
        }
        while let Some(change) = changes.next().await {
            self.shared.change(|state| state.take_stored(&change.key, change.value.as_deref(), change.revision));
        }
    }

    /// Takes what the store holds at this moment, by whomever it was written.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.shared.take_listing(&self.shared.options.store.list(PREFIX).await?);
        Ok(())
    }

    async fn follow_history(&self) {
        let mut changes = self.shared.options.store.watch(history::PREFIX);
        match self.shared.options.store.list(history::PREFIX).await {
            Ok(listing) => {
                let mut book = self.shared.history.lock();
                listing.entries.iter().for_each(|entry| book.take(&entry.key, Some(&entry.value), entry.revision));
            }
            Err(error) => tracing::error!("the history cannot be listed: {error}"),
        }
        while let Some(change) = changes.next().await {
            self.shared.history.lock().take(&change.key, change.value.as_deref(), change.revision);
        }
    }

    /// Whether the configuration of every attached cluster was read once, or its time for that is over. A new
    /// snapshot follows when it was.
    pub fn is_synced(&self) -> bool {
        self.shared.awaited.load(Ordering::Acquire) == 0
    }

    /// The current snapshot, then each new one.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.subscribe()
    }

    /// What `apply` would say, without doing it.
    pub async fn validate(&self, text: &str, origin: &str) -> Result<Vec<Applied>, Rejection> {
        self.planned(checked(text, origin), origin)
    }

    /// As `validate`, of a text that is given to be applied: a refusal counts, and what passes does once it is applied.
    pub async fn prepare(&self, text: &str, origin: &str) -> Result<Vec<Applied>, Rejection> {
        let judged = checked(text, origin);
        if judged.is_err() {
            self.shared.judged[1].fetch_add(1, Ordering::Relaxed);
        }
        self.planned(judged, origin)
    }

    fn planned(
        &self,
        checked: Result<(Vec<Document>, Vec<Diagnostic>), Rejection>,
        origin: &str,
    ) -> Result<Vec<Applied>, Rejection> {
        let (documents, diagnostics) = checked?;
        let plan = self.shared.plan(documents, origin, &diagnostics)?;
        Ok(plan.into_iter().map(|planned| planned.applied).collect())
    }

    /// What is wrong across the objects in force, given the hosts that registries know.
    pub fn analyse(&self, known: &BTreeSet<ServiceKey>) -> Vec<Found> {
        let snapshot = self.shared.snapshots.borrow().clone();
        self.analyse_snapshot(&snapshot, known)
    }

    /// What would be wrong across objects if the text were applied, each finding at its place in the text.
    pub fn analyse_with(
        &self,
        text: &str,
        origin: &str,
        known: &BTreeSet<ServiceKey>,
    ) -> Result<Vec<Found>, Rejection> {
        self.analyse_after(text, &BTreeSet::new(), origin, known)
    }

    /// What would be wrong if besides these objects were deleted. The text may be empty.
    pub fn analyse_after(
        &self,
        text: &str,
        gone: &BTreeSet<ObjectKey>,
        origin: &str,
        known: &BTreeSet<ServiceKey>,
    ) -> Result<Vec<Found>, Rejection> {
        let (documents, _) = if text.is_empty() { Default::default() } else { checked(text, origin)? };
        let snapshot = self.shared.state.lock().preview(documents, gone, now());
        let mut found = self.analyse_snapshot(&snapshot, known);
        let nodes = yaml::parse(text).unwrap_or_default();
        for Found { object, diagnostic } in &mut found {
            if let Some(at) = yaml::place(&nodes, object, &diagnostic.path) {
                (diagnostic.line, diagnostic.column) = (at.line, at.column);
                origin.clone_into(&mut diagnostic.file);
            }
        }
        Ok(found)
    }

    fn analyse_snapshot(&self, snapshot: &Snapshot, known: &BTreeSet<ServiceKey>) -> Vec<Found> {
        let domain = &self.shared.options.domain;
        let mut services = known.clone();
        for entry in &snapshot.service_entries {
            let namespace = &entry.meta.namespace;
            let hosts = entry.spec.hosts.iter().filter_map(|host| Hostname::resolve(host, namespace, domain).ok());
            services.extend(hosts.map(|host| ServiceKey::new(host, namespace)));
        }
        analysis::analyse(&Scene { snapshot, services: &services, domain })
    }

    /// The object in force under that name, as written.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Object> {
        let key = ObjectKey::new(kind, namespace, name);
        self.shared.state.lock().get(&key).map(|loaded| loaded.object.clone())
    }

    /// Objects in force, by key; all kinds or namespaces when `None`.
    pub fn list(&self, kind: Option<Kind>, namespace: Option<&str>) -> Vec<Object> {
        let state = self.shared.state.lock();
        let wanted = |key: &ObjectKey| {
            kind.is_none_or(|kind| key.kind == kind) && namespace.is_none_or(|namespace| key.namespace == namespace)
        };
        state.all().map(|loaded| &loaded.object).filter(|object| wanted(&object.key)).cloned().collect()
    }

    /// What is wrong now with files and stored objects.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared.state.lock().problems()
    }

    /// The services that ServiceEntry and WorkloadEntry declare, as the registry `static`.
    pub fn registry(&self) -> Arc<dyn Registry> {
        let awaited = self.shared.awaited.clone();
        Arc::new(StaticRegistry::new(self.snapshots(), &self.shared.options.domain).awaiting(awaited))
    }
}

impl Shared {
    /// Takes everything that the store holds; what it does not hold is gone.
    fn take_listing(&self, listing: &Listing) {
        self.change(|state| {
            let mut changed = false;
            for gone in state.not_in(listing) {
                changed |= state.take_stored(&gone, None, listing.revision);
            }
            for entry in &listing.entries {
                changed |= state.take_stored(&entry.key, Some(&entry.value), entry.revision);
            }
            changed
        });
    }

    /// Holds a text that is given to be applied to the rules.
    pub fn checked(&self, text: &str, origin: &str) -> Result<(Vec<Document>, Vec<Diagnostic>), Rejection> {
        let result = checked(text, origin);
        self.judged[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Changes the state and, if that changed anything, publishes.
    pub fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.state.lock();
        if change(&mut state) {
            let snapshot = Arc::new(state.settle());
            self.snapshots.send_replace(snapshot);
        }
    }
}

pub(crate) fn checked(text: &str, origin: &str) -> Result<(Vec<Document>, Vec<Diagnostic>), Rejection> {
    let (documents, diagnostics) = document::parse(text, origin);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Rejection { diagnostics });
    }
    if documents.is_empty() && diagnostics.is_empty() {
        return Err(Rejection::because(origin, "holds no object"));
    }
    Ok((documents, diagnostics))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
