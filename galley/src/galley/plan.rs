//! What is to be done with objects that are to be applied, given what is there. Pure but for the clock.

use std::collections::BTreeSet;

use super::{Applied, Applying, Shared, now};
use crate::diagnostic::{Diagnostic, Rejection, code};
use crate::document::Document;
use crate::object::ObjectKey;
use crate::state::State;

/// One object to be applied.
pub(super) struct Planned {
    pub document: Document,
    pub applied: Applied,
    pub created: u64,
    /// The revision that the object must still have.
    pub expected: u64,
    /// What it was.
    pub before: Option<serde_json::Value>,
}

impl Planned {
    pub fn outcome(self, revision: u64) -> Applied {
        match self.applied.change {
            Applying::Unchanged => self.applied,
            _ => Applied { revision, ..self.applied },
        }
    }
}

impl Shared {
    pub(super) fn plan(
        &self,
        documents: Vec<Document>,
        origin: &str,
        findings: &[Diagnostic],
    ) -> Result<Vec<Planned>, Rejection> {
        let state = self.state.lock();
        let held = documents.iter().filter_map(|document| {
            let holder = state.holder_of(&document.key)?;
            let message = format!("{} is held by {holder}; change it there", document.key);
            Some(Diagnostic { line: document.line, column: 1, ..Diagnostic::general(origin, message) })
        });
        let diagnostics: Vec<_> = held.collect();
        if !diagnostics.is_empty() {
            return Err(Rejection { diagnostics });
        }
        // A finding belongs to the last object that begins before it; those before any belong to the first.
        let starts: Vec<_> = documents.iter().map(|document| document.line).skip(1).collect();
        let owner = |found: &Diagnostic| starts.partition_point(|start| *start <= found.line);
        let planned = documents.into_iter().enumerate().map(|(index, document)| {
            let of_it = |found: &&Diagnostic| owner(found) == index;
            let warnings = findings.iter().filter(of_it).cloned().collect();
            plan_one(&state, document, warnings)
        });
        Ok(planned.collect())
    }
}

fn plan_one(state: &State, document: Document, warnings: Vec<Diagnostic>) -> Planned {
    let before = state.stored(&document.key).map(|loaded| &loaded.object);
    let change = match before {
        None => Applying::Created,
        Some(object) if object.manifest == document.manifest => Applying::Unchanged,
        Some(_) => Applying::Configured,
    };
    let revision = before.map_or(0, |object| object.revision);
    let applied = Applied {
        kind: document.key.kind,
        namespace: document.key.namespace.clone(),
        name: document.key.name.clone(),
        change,
        revision,
        warnings,
    };
    let created = before.map_or_else(now, |object| object.created);
    let before = before.map(|object| object.manifest.clone());
    Planned { document, applied, created, expected: revision, before }
}

/// Refuses a change of one object that is not at the revision that its author saw.
pub(super) fn check_expected(origin: &str, plan: &[Planned], expecting: Option<u64>) -> Result<(), Rejection> {
    let Some(expected) = expecting else { return Ok(()) };
    let keys: BTreeSet<&ObjectKey> = plan.iter().map(|planned| &planned.document.key).collect();
    match plan.iter().find(|planned| planned.expected != expected) {
        _ if keys.len() > 1 => {
            Err(Rejection::because(origin, "a revision is expected of one object, and there are more"))
        }
        Some(planned) => Err(moved(&planned.document.key, expected, planned.expected)),
        None => Ok(()),
    }
}

pub(super) fn moved(key: &ObjectKey, expected: u64, found: u64) -> Rejection {
    let revision = |revision: u64| if revision == 0 { "absent".to_owned() } else { format!("at revision {revision}") };
    let message = format!("is {} now, not {}: read it again", revision(found), revision(expected));
    let mut rejection = Rejection::because(&key.to_string(), message);
    rejection.diagnostics[0].code = code::MOVED;
    rejection
}
