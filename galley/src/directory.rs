//! Directories of YAML: reads all there is, and says when to read again.
//!
//! Watches directories, never files: editors and Kubernetes replace files and links, they do not write into them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// How long files must be quiet before they are read.
const QUIET: Duration = Duration::from_millis(50);
/// How long they may keep changing before they are read anyway.
const PATIENCE: Duration = Duration::from_millis(500);
/// Largest file read, in bytes.
const MAX_FILE: u64 = 10 << 20;
/// How deep directories are followed.
const MAX_DEPTH: usize = 16;

/// Every YAML or JSON file below the directories with its content, or why it could not be read.
pub(crate) fn scan(directories: &[PathBuf]) -> BTreeMap<PathBuf, Result<String, String>> {
    let mut files = BTreeMap::new();
    for directory in directories {
        collect(directory, 0, &mut files);
    }
    files
}

fn collect(directory: &Path, depth: usize, files: &mut BTreeMap<PathBuf, Result<String, String>>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        // Follows links, so that a swapped link shows its new target.
        if path.is_dir() {
            if depth < MAX_DEPTH {
                collect(&path, depth + 1, files);
            }
        } else if is_configuration(&path)
            && let Some(content) = read(&path)
        {
            files.insert(path, content);
        }
    }
}

fn is_configuration(path: &Path) -> bool {
    path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// `None` for a file that is gone.
fn read(path: &Path) -> Option<Result<String, String>> {
    let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
    if size > MAX_FILE {
        return Some(Err(format!("has {size} bytes, more than the {MAX_FILE} that are taken")));
    }
    match std::fs::read(path) {
        Ok(bytes) => Some(String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("cannot be read: {error}"))),
    }
}

/// Tells when something below the directories may have changed.
pub(crate) struct Changes {
    directories: Vec<PathBuf>,
    watcher: Option<notify::RecommendedWatcher>,
    events: mpsc::UnboundedReceiver<()>,
}

impl Changes {
    /// Begins to watch; what happens from now on is not missed.
    pub fn watch(directories: &[PathBuf]) -> Self {
        let (tx, events) = mpsc::unbounded_channel();
        let ours: Vec<PathBuf> = directories.to_vec();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| matters(&event, &ours)) {
                // Nobody listens any more when the galley is gone.
                let _ = tx.send(());
            }
        });
        let watcher = watcher.inspect_err(|error| tracing::error!("files cannot be watched: {error}")).ok();
        let mut changes = Self { directories: directories.to_vec(), watcher, events };
        changes.arm();
        changes
    }

    /// Watches each directory, and its nearest existing parent for when it comes or is replaced. Watching anew is
    /// harmless, and needed when a directory was replaced.
    pub fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for directory in &self.directories {
            if let Some(parent) = directory.ancestors().skip(1).find(|parent| parent.is_dir()) {
                let _ = watcher.watch(parent, RecursiveMode::NonRecursive);
            }
            if directory.is_dir()
                && let Err(error) = watcher.watch(directory, RecursiveMode::Recursive)
            {
                tracing::warn!(directory = %directory.display(), "cannot be watched: {error}");
            }
        }
    }

    /// Waits for a change, and then for quiet.
    pub async fn next(&mut self) {
        if self.events.recv().await.is_none() {
            return std::future::pending().await;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let quiet = (tokio::time::Instant::now() + QUIET).min(deadline);
            match tokio::time::timeout_at(quiet, self.events.recv()).await {
                Ok(Some(())) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// Reading is no change; and a parent is watched only for the directory's own coming and going.
fn matters(event: &notify::Event, directories: &[PathBuf]) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    if matches!(event.kind, EventKind::Access(_)) && event.kind != written {
        return false;
    }
    event.paths.is_empty()
        || event
            .paths
            .iter()
            .any(|path| directories.iter().any(|directory| path.starts_with(directory) || directory.starts_with(path)))
}
