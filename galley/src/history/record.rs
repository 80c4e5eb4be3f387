//! A revision as the store keeps it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Author, Changed, Revision};
use crate::kind::Kind;
use crate::object::ObjectKey;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Layout of this record.
    v: u32,
    at: u64,
    author: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    changes: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    kind: String,
    namespace: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

impl Record {
    pub fn new(at: u64, author: &Author, changes: Vec<Changed>) -> Self {
        let line = |changed: Changed| Line {
            kind: changed.key.kind.as_str().to_owned(),
            namespace: changed.key.namespace,
            name: changed.key.name,
            before: changed.before,
            after: changed.after,
        };
        let (author, message) = (author.name.clone(), author.message.clone());
        Self { v: 1, at, author, message, changes: changes.into_iter().map(line).collect() }
    }

    /// `None` for bytes that this build does not understand.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.v == 1)
    }

    pub fn describe(&self, revision: u64) -> Revision {
        let changes = self.changes.iter().filter_map(|line| {
            let changed = Changed { key: line.key()?, before: line.before.clone(), after: line.after.clone() };
            let change = changed.change();
            Some((changed.key, change))
        });
        Revision {
            revision,
            at: self.at,
            author: self.author.clone(),
            message: self.message.clone(),
            changes: changes.collect(),
        }
    }

    pub fn changes(self) -> Vec<Changed> {
        let changed = |line: Line| Some(Changed { key: line.key()?, before: line.before, after: line.after });
        self.changes.into_iter().filter_map(changed).collect()
    }
}

impl Line {
    /// None for a kind that this build does not know.
    fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey::new(Kind::named(&self.kind)?, &self.namespace, &self.name))
    }
}
