//! Files as sources of resources: each holds a discovery response, in YAML, JSON (`.json`) or binary (`.pb`). A file
//! that cannot be used leaves what it held before, and says in the log what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::envoy::service::discovery::v3::{DiscoveryResponse, Resource};
use api::prost::Message as _;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::resources::digest;
use super::session::of_world;
use crate::bootstrap::{Format, document, proto_json};
use crate::config::ResourceKind as Kind;

/// Files that are read as sources, and the watch over them and over files that resources name.
#[derive(Debug)]
pub struct Files {
    known: BTreeMap<PathBuf, Content>,
    /// Made for the first directory: the system has few of them.
    watcher: Option<notify::RecommendedWatcher>,
    tell: mpsc::UnboundedSender<()>,
    watched: BTreeSet<PathBuf>,
    events: mpsc::UnboundedReceiver<()>,
    /// When a change that has come is to be told, if no other comes before.
    quiet_at: Option<Instant>,
}

/// What a file held when it was last good.
#[derive(Debug, Default)]
pub struct Content {
    digest: Option<u64>,
    /// Counts up with each change.
    pub generation: u64,
    pub resources: BTreeMap<Kind, BTreeMap<String, Resource>>,
}

/// Writers of several files are given this long to finish.
const QUIET: Duration = Duration::from_millis(50);

impl Files {
    pub fn new() -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        Self { known: BTreeMap::new(), watcher: None, tell, watched: BTreeSet::new(), events, quiet_at: None }
    }

    /// Watches these directories and no others. A file is watched by its directory, because it is replaced by renaming.
    pub fn watch(&mut self, directories: BTreeSet<PathBuf>) {
        if directories == self.watched {
            return;
        }
        if self.watcher.is_none() {
            let tell = self.tell.clone();
            let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.map_or(true, |event| is_change(&event)) {
                    let _ = tell.send(());
                }
            });
            self.watcher = watcher.inspect_err(|error| tracing::error!("files cannot be watched: {error}")).ok();
        }
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&directories) {
            let _ = watcher.unwatch(&or_here(gone));
        }
        for directory in directories.difference(&self.watched) {
            if let Err(error) = watcher.watch(&or_here(directory), RecursiveMode::NonRecursive) {
                tracing::error!(directory = %directory.display(), "cannot be watched: {error}");
            }
            // What was read of it may have changed before it was watched.
            self.quiet_at = Some(Instant::now());
        }
        self.watched = directories;
    }

    /// Waits until something may have changed. No change is lost by who stops waiting and waits again.
    pub async fn changed(&mut self) {
        loop {
            let event = match self.quiet_at {
                None => self.events.recv().await,
                Some(at) => match tokio::time::timeout_at(at, self.events.recv()).await {
                    Ok(event) => event,
                    Err(_) => break,
                },
            };
            match event {
                Some(()) => self.quiet_at = Some(Instant::now() + QUIET),
                None if self.quiet_at.is_some() => break,
                None => return std::future::pending().await,
            }
        }
        self.quiet_at = None;
    }

    /// What a file holds; it is read if it was not yet.
    pub fn content(&mut self, path: &Path) -> &Content {
        if !self.known.contains_key(path) {
            self.known.insert(path.to_owned(), Content::default());
            self.read(path);
        }
        &self.known[path]
    }

    /// Keeps only these files.
    pub fn retain(&mut self, wanted: &BTreeSet<PathBuf>) {
        self.known.retain(|path, _| wanted.contains(path));
    }

    /// Reads all files again.
    pub fn reread(&mut self) {
        let paths: Vec<PathBuf> = self.known.keys().cloned().collect();
        paths.iter().for_each(|path| self.read(path));
    }

    fn read(&mut self, path: &Path) {
        let Some(content) = self.known.get_mut(path) else { return };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                content.digest = None;
                return tracing::error!("{}: cannot be read: {error}; staying with what it held", path.display());
            }
        };
        let now = Some(digest(&bytes));
        if content.digest == now {
            return;
        }
        content.digest = now;
        match parse(path, &bytes) {
            Ok(resources) => {
                content.resources = resources;
                content.generation += 1;
            }
            Err(error) => tracing::error!("{}: {error}; staying with what it held before", path.display()),
        }
    }
}

fn or_here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// A file that is being written is no change until it is closed.
fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(notify::event::ModifyKind::Data(_)) => false,
        _ => true,
    }
}

/// The resources of a file by kind and name, or what is wrong with it.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<Kind, BTreeMap<String, Resource>>, String> {
    let response = if path.extension().is_some_and(|extension| extension == "pb") {
        DiscoveryResponse::decode(bytes).map_err(|error| format!("this is no DiscoveryResponse: {error}"))?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("this is not UTF-8: {error}"))?;
        let value = document::parse(text, Format::of(path))?;
        proto_json::message::<DiscoveryResponse>(value).map_err(|error| error.to_string())?
    };
    let update = of_world(response);
    if !update.errors.is_empty() {
        return Err(update.errors.join("; "));
    }
    let mut found: BTreeMap<Kind, BTreeMap<String, Resource>> = BTreeMap::new();
    for (index, resource) in update.resources.into_iter().enumerate() {
        let type_url = resource.resource.as_ref().map(|any| any.type_url.as_str()).unwrap_or_default();
        let kind =
            Kind::of(type_url).ok_or_else(|| format!("resources[{index}]: {type_url} is no type of resource"))?;
        let name = resource.name.clone();
        if found.entry(kind).or_default().insert(name.clone(), resource).is_some() {
            return Err(format!("resources[{index}]: another resource is called {name:?} too"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
