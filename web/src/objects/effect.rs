//! What a change would do, told before it is made: whether it is valid, what it changes in each document, and what it
//! changes for proxies.

use galley::analysis::Found;
use galley::{Applied, Object, ObjectKey, Rejection};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::apply::{Outcomes, change};
use super::impact::{self, Impact};
use super::patch::{Operation, diff};
use super::write::{Deleted, Written};
use crate::problem::{Finding, Problem};
use crate::state::State;

/// What would happen. Nothing did.
#[derive(Serialize, ToSchema)]
pub struct DryRun {
    /// Always true.
    pub dry_run: bool,
    /// Whether it would be taken.
    pub valid: bool,
    /// All that is wrong with it or doubtful about it.
    pub diagnostics: Vec<Finding>,
    /// What would become of each object.
    pub items: Vec<Effect>,
    /// What changes in the one object, as a JSON Patch; of several, `items` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Vec<Operation>>,
    /// What changes for proxies; unknown while the control plane starts, or where it would not be taken.
    pub impact: Option<Impact>,
}

/// What would become of one object.
#[derive(Serialize, ToSchema)]
pub struct Effect {
    kind: &'static str,
    namespace: String,
    name: String,
    /// `created`, `configured`, `unchanged` or `deleted`
    change: &'static str,
    /// The revision that it has now; 0 for one that is not there.
    revision: u64,
    warnings: Vec<Finding>,
    /// As a JSON Patch.
    diff: Vec<Operation>,
    /// The same for people: a unified diff of YAML, empty if nothing differs.
    unified: String,
}

/// For the documentation: a change answers with either.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is there for its schema")]
pub enum WrittenOrDryRun {
    Written(Box<Written>),
    DryRun(Box<DryRun>),
}

/// For the documentation: `_apply` answers with either.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is there for its schema")]
pub enum OutcomesOrDryRun {
    Outcomes(Outcomes),
    DryRun(Box<DryRun>),
}

/// For the documentation: a deletion answers with either.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is there for its schema")]
pub enum DeletedOrDryRun {
    Deleted(Deleted),
    DryRun(Box<DryRun>),
}

/// What applying a text would do.
pub async fn of_text(state: &State, text: &str, origin: &str) -> Result<DryRun, Problem> {
    let planned = match state.galley.validate(text, origin).await {
        Ok(planned) => planned,
        Err(rejection) => return Ok(DryRun::refused(&rejection)),
    };
    let refused = |rejection: Rejection| Problem::rejected(&rejection);
    let found = state.galley.analyse_with(text, origin, &state.known_services()).map_err(refused)?;
    let manifests = state.galley.manifests(text, origin).map_err(refused)?;
    let items: Vec<Effect> =
        planned.iter().map(|planned| Effect::of(state, planned, &found, manifests.get(&key_of(planned)))).collect();
    let preview = state.galley.preview(text, origin).map_err(refused)?;
    Ok(DryRun::of(items, impact::of(state, preview).await))
}

/// What deleting an object would do.
pub async fn of_deletion(state: &State, object: &Object) -> Result<DryRun, Problem> {
    let item = Effect {
        kind: object.key.kind.as_str(),
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
        change: "deleted",
        revision: object.revision,
        warnings: Vec::new(),
        diff: diff(Some(&object.manifest), None),
        unified: galley::history::unified(&object.key.to_string(), Some(&object.manifest), None),
    };
    let preview = state.galley.preview_without(&object.key);
    Ok(DryRun::of(vec![item], impact::of(state, preview).await))
}

impl DryRun {
    fn of(items: Vec<Effect>, impact: Option<Impact>) -> Self {
        let diagnostics = items.iter().flat_map(|item| item.warnings.clone()).collect();
        let diff = if let [one] = items.as_slice() { Some(one.diff.clone()) } else { None };
        Self { dry_run: true, valid: true, diagnostics, items, diff, impact }
    }

    pub fn refused(rejection: &Rejection) -> Self {
        let diagnostics = rejection.diagnostics.iter().map(Finding::from).collect();
        Self { dry_run: true, valid: false, diagnostics, items: Vec::new(), diff: None, impact: None }
    }

    /// Everything that is said of the text.
    pub fn findings(&mut self) -> impl Iterator<Item = &mut [Finding]> {
        let of_items = self.items.iter_mut().map(|item| &mut item.warnings[..]);
        std::iter::once(&mut self.diagnostics[..]).chain(of_items)
    }

    /// The object that it is of, if it is of another than this alone.
    pub fn other_than(&self, key: &ObjectKey) -> Option<&str> {
        let same =
            |item: &Effect| (item.kind, &item.namespace, &item.name) == (key.kind.as_str(), &key.namespace, &key.name);
        match self.items.as_slice() {
            [] => None,
            [one] if same(one) => None,
            [one] => Some(&one.name),
            _ => Some("several objects"),
        }
    }
}

impl Effect {
    fn of(state: &State, planned: &Applied, found: &[Found], after: Option<&Value>) -> Self {
        let key = key_of(planned);
        let before = state.galley.get(planned.kind, &planned.namespace, &planned.name);
        let before = before.as_ref().map(|object| &object.manifest);
        let across = found.iter().filter(|found| found.object == key).map(|found| &found.diagnostic);
        Self {
            kind: planned.kind.as_str(),
            namespace: planned.namespace.clone(),
            name: planned.name.clone(),
            change: change(planned.change),
            revision: planned.revision,
            warnings: planned.warnings.iter().chain(across).map(Finding::from).collect(),
            diff: diff(before, after),
            unified: galley::history::unified(&key.to_string(), before, after),
        }
    }
}

fn key_of(planned: &Applied) -> ObjectKey {
    ObjectKey::new(planned.kind, &planned.namespace, &planned.name)
}
