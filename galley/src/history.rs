//! What was changed, by whom, when and why: each change made through the API is a revision, kept in the store in the same
//! transaction as the change itself.
//!
//! The last [`KEPT`] revisions are kept, and no more than [`KEPT_BYTES`] of them; the oldest go first. Files and clusters
//! keep histories of their own and are not in this one.

mod diff;
mod record;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub use diff::unified;
pub(crate) use record::Record;

use crate::object::ObjectKey;

/// How many revisions are kept.
pub const KEPT: usize = 1000;
/// How much they may take in the store.
pub const KEPT_BYTES: usize = 64 << 20;

/// Everything below it in the store is a revision.
pub(crate) const PREFIX: &str = "history/";
/// Written with every change, so that one condition can stand for all objects.
pub(crate) const HEAD: &str = "history-head";

/// Who changes something, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    /// Empty: none was given.
    pub message: String,
    /// The revision at which the object must be, 0 for one that must not be there yet; for changes of one object.
    pub expecting: Option<u64>,
}

impl From<&str> for Author {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// A revision, without what it changed things from and to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub revision: u64,
    /// Unix milliseconds.
    pub at: u64,
    pub author: String,
    pub message: String,
    pub changes: Vec<(ObjectKey, Change)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Configured,
    Deleted,
}

impl Change {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Deleted => "deleted",
        }
    }
}

/// What a revision did to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub key: ObjectKey,
    /// None: it was not there.
    pub before: Option<Value>,
    /// None: it is there no more.
    pub after: Option<Value>,
}

impl Changed {
    pub fn change(&self) -> Change {
        match (&self.before, &self.after) {
            (None, _) => Change::Created,
            (_, None) => Change::Deleted,
            _ => Change::Configured,
        }
    }

    /// As a unified diff of YAML; empty if nothing differs.
    pub fn diff(&self) -> String {
        unified(&self.key.to_string(), self.before.as_ref(), self.after.as_ref())
    }
}

/// The revisions that the store holds.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: BTreeMap<u64, Page>,
    bytes: usize,
}

#[derive(Debug)]
struct Page {
    path: String,
    size: usize,
    revision: Revision,
}

impl Book {
    /// Takes a record as the store has it now.
    pub fn take(&mut self, path: &str, value: Option<&[u8]>, revision: u64) {
        let Some(bytes) = value else {
            let gone: Vec<u64> = self.pages.iter().filter(|(_, page)| page.path == path).map(|(at, _)| *at).collect();
            gone.into_iter().for_each(|at| self.remove(at));
            return;
        };
        let Some(record) = Record::read(bytes) else {
            tracing::warn!(key = path, "a revision in the store cannot be read");
            return;
        };
        self.remove(revision);
        self.bytes += bytes.len();
        let page = Page { path: path.to_owned(), size: bytes.len(), revision: record.describe(revision) };
        self.pages.insert(revision, page);
    }

    fn remove(&mut self, revision: u64) {
        if let Some(page) = self.pages.remove(&revision) {
            self.bytes -= page.size;
        }
    }

    /// The paths of those that must go if one more of this size comes.
    pub fn surplus(&self, size: usize) -> Vec<String> {
        let (mut count, mut bytes) = (self.pages.len() + 1, self.bytes + size);
        let too_many = self.pages.values().take_while(|page| {
            let over = count > KEPT || bytes > KEPT_BYTES;
            (count, bytes) = (count - 1, bytes - page.size);
            over
        });
        too_many.map(|page| page.path.clone()).collect()
    }

    /// Newest first.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.pages.values().rev().map(|page| &page.revision)
    }

    pub fn path_of(&self, revision: u64) -> Option<&str> {
        self.pages.get(&revision).map(|page| page.path.as_str())
    }

    /// Those after a revision, oldest first.
    pub fn after(&self, revision: u64) -> Vec<u64> {
        self.pages.range(revision + 1..).map(|(at, _)| *at).collect()
    }

    /// The oldest that is kept.
    pub fn oldest(&self) -> Option<u64> {
        self.pages.keys().next().copied()
    }
}

/// A place for a new record, which sorts behind those before it.
pub(crate) fn new_path(at: u64) -> String {
    format!("{PREFIX}{at:015}-{:016x}", RandomState::new().hash_one(at))
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
