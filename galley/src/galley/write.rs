//! Changes of applied objects: all of them in one transaction, with their revision in the history.

use bytes::Bytes;
use store::{StoreError, Transaction};

use super::plan::{Planned, check_expected, moved};
use super::{Applied, Applying, Galley, Shared};
use crate::diagnostic::{Diagnostic, Rejection};
use crate::document::{self, Document};
use crate::history::{self, Author, Changed};
use crate::kind::Kind;
use crate::object::ObjectKey;
use crate::state::{PREFIX, Record, store_key};

/// How often a change is planned anew because somebody else changed the same at that moment.
const ATTEMPTS: usize = 5;
/// As many objects have a condition each; beyond, the head of the history stands for them all. An etcd compares 128.
const CONDITIONS: usize = 100;

/// What is to be done at once.
#[derive(Default)]
struct Work {
    puts: Vec<Planned>,
    /// Each with what it is and its revision.
    deletes: Vec<(ObjectKey, serde_json::Value, u64)>,
}

impl Work {
    fn check_expected(&self, origin: &str, expecting: Option<u64>) -> Result<(), Rejection> {
        check_expected(origin, &self.puts, expecting)?;
        match self.deletes.first().zip(expecting) {
            Some(((key, _, found), expected)) if *found != expected => Err(moved(key, expected, *found)),
            _ => Ok(()),
        }
    }
}

/// What was done.
pub(super) struct Done {
    pub applied: Vec<Applied>,
    pub deleted: usize,
    /// 0 if nothing had to be changed.
    pub revision: u64,
}

/// Why nothing was written.
enum Unwritten {
    /// Somebody was first; what is there now is known again.
    Again,
    Rejected(Rejection),
}

impl Galley {
    /// The objects that a text names, whether it would be taken or not.
    pub fn named_in(&self, text: &str) -> Vec<ObjectKey> {
        document::parse(text, "").0.into_iter().map(|document| document.key).collect()
    }

    /// Takes all documents of a text or none. When it returns they are durable and published.
    pub async fn apply(&self, text: &str, origin: &str, author: impl Into<Author>) -> Result<Vec<Applied>, Rejection> {
        let (documents, diagnostics) = self.shared.checked(text, origin)?;
        let done = self.change_all(documents, &[], origin, &diagnostics, &author.into()).await?;
        Ok(done.applied)
    }

    /// Removes an applied object; the revision of that, or none if there was no such object.
    pub async fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        author: impl Into<Author>,
    ) -> Result<Option<u64>, Rejection> {
        let key = ObjectKey::new(kind, namespace, name);
        let done =
            self.change_all(Vec::new(), std::slice::from_ref(&key), &key.to_string(), &[], &author.into()).await?;
        Ok((done.deleted > 0).then_some(done.revision))
    }

    /// Puts and deletes in one transaction.
    pub(super) async fn change_all(
        &self,
        documents: Vec<Document>,
        delete: &[ObjectKey],
        origin: &str,
        diagnostics: &[Diagnostic],
        author: &Author,
    ) -> Result<Done, Rejection> {
        let _turn = self.shared.writing.lock().await;
        let mut is_read = false;
        for _ in 0..ATTEMPTS {
            let many = documents.len() + delete.len() > CONDITIONS;
            let head = if many { Some(self.shared.read_behind_head(origin).await?) } else { None };
            let puts = self.shared.plan(documents.clone(), origin, diagnostics)?;
            let work = Work { puts, deletes: self.shared.plan_deletes(delete)? };
            if let Err(moved) = work.check_expected(origin, author.expecting) {
                // Another control plane may have made what is expected.
                if !is_read && self.shared.options.store.is_shared() {
                    self.shared.read_behind_head(origin).await?;
                    is_read = true;
                    continue;
                }
                return Err(moved);
            }
            match self.shared.write(&work, head, origin, author).await {
                Ok(revision) => {
                    let deleted = work.deletes.len();
                    let applied = work.puts.into_iter().map(|planned| planned.outcome(revision)).collect();
                    return Ok(Done { applied, deleted, revision });
                }
                Err(Unwritten::Again) => {}
                Err(Unwritten::Rejected(rejection)) => return Err(rejection),
            }
        }
        Err(Rejection::because(origin, "others change the same objects all the time; try again"))
    }
}

impl Shared {
    fn plan_deletes(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, serde_json::Value, u64)>, Rejection> {
        let state = self.state.lock();
        let mut planned = Vec::new();
        for key in keys {
            if let Some(holder) = state.holder_of(key) {
                return Err(Rejection::because(&key.to_string(), format!("is held by {holder}; delete it there")));
            }
            if let Some(loaded) = state.stored(key) {
                planned.push((key.clone(), loaded.object.manifest.clone(), loaded.object.revision));
            }
        }
        Ok(planned)
    }

    /// The revision of the history's head, with everything up to it known.
    async fn read_behind_head(&self, origin: &str) -> Result<u64, Rejection> {
        let failed = |error: StoreError| Rejection::because(origin, error.to_string());
        let head = self.options.store.get(history::HEAD).await.map_err(failed)?;
        let listing = self.options.store.list(PREFIX).await.map_err(failed)?;
        self.take_listing(&listing);
        Ok(head.map_or(0, |entry| entry.revision))
    }

    /// Commits and publishes; 0 if there is nothing to do.
    async fn write(&self, work: &Work, head: Option<u64>, origin: &str, author: &Author) -> Result<u64, Unwritten> {
        let refused = |error: String| Unwritten::Rejected(Rejection::because(origin, error));
        let mut transaction = Transaction::default();
        let mut changes = Vec::new();
        for planned in work.puts.iter().filter(|planned| planned.applied.change != Applying::Unchanged) {
            let path = store_key(&planned.document.key);
            let record = Record::new(planned.created, &author.name, planned.document.manifest.clone());
            let value = serde_json::to_vec(&record).map_err(|error| refused(error.to_string()))?;
            transaction.expect.push((path.clone(), planned.expected));
            transaction.put.push((path, value.into()));
            let (key, after) = (planned.document.key.clone(), Some(planned.document.manifest.clone()));
            changes.push(Changed { key, before: planned.before.clone(), after });
        }
        for (key, manifest, revision) in &work.deletes {
            transaction.expect.push((store_key(key), *revision));
            transaction.delete.push(store_key(key));
            changes.push(Changed { key: key.clone(), before: Some(manifest.clone()), after: None });
        }
        if changes.is_empty() {
            return Ok(0);
        }
        if let Some(head) = head {
            transaction.expect = vec![(history::HEAD.to_owned(), head)];
        }
        let at = history::now_ms();
        let record = history::Record::new(at, author, changes);
        let record = Bytes::from(serde_json::to_vec(&record).map_err(|error| refused(error.to_string()))?);
        let page = history::new_path(at);
        let surplus = self.history.lock().surplus(record.len());
        let objects = (transaction.put.clone(), transaction.delete.clone());
        transaction.delete.extend(surplus.iter().cloned());
        transaction.put.push((page.clone(), record.clone()));
        transaction.put.push((history::HEAD.to_owned(), Bytes::from(at.to_string())));
        let revision = match self.options.store.commit(transaction).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict { .. }) => {
                let listing = self.options.store.list(PREFIX).await.map_err(|error| refused(error.to_string()))?;
                self.take_listing(&listing);
                return Err(Unwritten::Again);
            }
            Err(error) => return Err(refused(error.to_string())),
        };
        {
            let mut book = self.history.lock();
            surplus.iter().for_each(|path| book.take(path, None, revision));
            book.take(&page, Some(&record), revision);
        }
        self.change(|state| {
            let put = |(path, value): &(String, Bytes)| (path.clone(), Some(value.clone()));
            let puts = objects.0.iter().map(put);
            let all = puts.chain(objects.1.iter().map(|path| (path.clone(), None)));
            all.fold(false, |changed, (path, value)| state.take_stored(&path, value.as_deref(), revision) | changed)
        });
        Ok(revision)
    }
}
