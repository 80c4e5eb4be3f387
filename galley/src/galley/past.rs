//! The revisions of what was applied, and the way back to one of them.

use std::collections::BTreeMap;

use store::StoreError;

use super::Galley;
use crate::diagnostic::{Diagnostic, Rejection};
use crate::document;
use crate::history::{Author, Changed, Record, Revision};
use crate::object::ObjectKey;

/// Why configuration is not put back.
#[derive(Debug)]
pub enum NoWayBack {
    /// No such revision is kept; the words say which are.
    Unknown(String),
    /// What would be put back is refused, or held by somebody else.
    Rejected(Rejection),
    Store(StoreError),
}

impl Galley {
    /// The revisions that touch the wanted objects, newest first.
    pub fn history(&self, wanted: impl Fn(&ObjectKey) -> bool) -> Vec<Revision> {
        let book = self.shared.history.lock();
        book.revisions().filter(|revision| revision.changes.iter().any(|(key, _)| wanted(key))).cloned().collect()
    }

    /// What a revision changed; none if it is not kept.
    pub async fn revision(&self, revision: u64) -> Result<Option<(Revision, Vec<Changed>)>, StoreError> {
        let path = self.shared.history.lock().path_of(revision).map(str::to_owned);
        let Some(path) = path else { return Ok(None) };
        let entry = self.shared.options.store.get(&path).await?;
        let record = entry.as_ref().and_then(|entry| Record::read(&entry.value));
        Ok(record.map(|record| (record.describe(revision), record.changes())))
    }

    /// What has to be done so that the wanted objects are as they were right after a revision: from what they are to
    /// what they were.
    pub async fn way_back(
        &self,
        revision: u64,
        wanted: impl Fn(&ObjectKey) -> bool,
    ) -> Result<Vec<Changed>, NoWayBack> {
        let after = {
            let book = self.shared.history.lock();
            let kept = book.path_of(revision).is_some();
            let oldest = book.oldest().unwrap_or_default();
            if !kept && (revision < oldest || book.after(revision).is_empty()) {
                let words = match oldest {
                    0 => "nothing was changed through the API yet".to_owned(),
                    _ => format!("the history begins with revision {oldest}; `weft history` lists what there is"),
                };
                return Err(NoWayBack::Unknown(format!("revision {revision} is not kept: {words}")));
            }
            book.after(revision)
        };
        // The first change after the revision knows what was there before it.
        let mut then: BTreeMap<ObjectKey, Option<serde_json::Value>> = BTreeMap::new();
        for later in after {
            let found = self.revision(later).await.map_err(NoWayBack::Store)?;
            for changed in found.into_iter().flat_map(|(_, changes)| changes).filter(|changed| wanted(&changed.key)) {
                then.entry(changed.key).or_insert(changed.before);
            }
        }
        let state = self.shared.state.lock();
        let now = |key: &ObjectKey| state.stored(key).map(|loaded| loaded.object.manifest.clone());
        let changed = then.into_iter().map(|(key, then)| Changed { before: now(&key), after: then, key });
        Ok(changed.filter(|changed| changed.before != changed.after).collect())
    }

    /// Puts the wanted objects back to what they were right after a revision, as a revision of its own, which comes back
    /// with what it changed; 0 if they are so already.
    pub async fn roll_back(
        &self,
        revision: u64,
        wanted: impl Fn(&ObjectKey) -> bool,
        author: impl Into<Author>,
    ) -> Result<(u64, Vec<Changed>), NoWayBack> {
        let changes = self.way_back(revision, wanted).await?;
        let mut delete = Vec::new();
        let (mut documents, mut findings): (Vec<_>, Vec<Diagnostic>) = Default::default();
        for changed in &changes {
            match &changed.after {
                None => delete.push(changed.key.clone()),
                Some(manifest) => {
                    let (document, found) = document::parse_manifest(manifest, &changed.key.to_string());
                    findings.extend(found);
                    documents.extend(document);
                }
            }
        }
        if findings.iter().any(Diagnostic::is_error) {
            return Err(NoWayBack::Rejected(Rejection { diagnostics: findings }));
        }
        let origin = format!("revision {revision}");
        let done = self.change_all(documents, &delete, &origin, &findings, &author.into()).await;
        Ok((done.map_err(NoWayBack::Rejected)?.revision, changes))
    }
}
