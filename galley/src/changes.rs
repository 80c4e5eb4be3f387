//! What changed among the objects in force, for whoever tells others of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::galley::Galley;
use crate::object::{Object, ObjectKey};
use crate::state::Loaded;

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
        }
    }
}

/// Remembers what was in force when it was last asked.
pub struct Follower {
    galley: Galley,
    seen: BTreeMap<ObjectKey, Arc<Loaded>>,
}

impl Follower {
    /// Begins with what is in force now.
    pub fn new(galley: &Galley) -> Self {
        Self { galley: galley.clone(), seen: galley.shared.state.lock().in_force().clone() }
    }

    /// What changed since the last time, with the object as it is now, or as it was before its end.
    pub fn news(&mut self) -> Vec<(Change, Object)> {
        let now = self.galley.shared.state.lock().in_force().clone();
        let before = std::mem::replace(&mut self.seen, now);
        let gone = before.iter().filter(|(key, _)| !self.seen.contains_key(*key));
        let mut news: Vec<_> = gone.map(|(_, loaded)| (Change::Deleted, loaded.object.clone())).collect();
        for (key, loaded) in &self.seen {
            match before.get(key) {
                None => news.push((Change::Added, loaded.object.clone())),
                Some(known) if !Arc::ptr_eq(known, loaded) && known.object != loaded.object => {
                    news.push((Change::Modified, loaded.object.clone()));
                }
                Some(_) => {}
            }
        }
        news
    }
}
