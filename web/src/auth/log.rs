//! What of a request goes into the audit log: every change, and every refusal to somebody whose token is known.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::StatusCode;
use galley::ObjectKey;

use super::{Known, known_id};
use crate::access::{self, Need};
use crate::audit::Record;
use crate::problem::Problem;
use crate::scope;
use crate::state::State;

/// What a handler tells of its answer, where path and body do not say it.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    pub object: String,
    pub detail: String,
    pub revision_before: Option<u64>,
    pub revision_after: Option<u64>,
    pub diff: String,
}

/// What was answered.
pub struct Told {
    pub status: StatusCode,
    pub noted: Option<Noted>,
    /// What it made of the objects that it is about.
    pub diff: String,
}

/// What was asked for.
pub struct Asked {
    verb: &'static str,
    path: String,
    dry_run: bool,
    trace_id: String,
    ip: Option<String>,
    /// Whether it may change something.
    pub changes: bool,
    takes_query: bool,
}

impl Asked {
    pub fn of(request: &Request, path: &str, from: Option<SocketAddr>) -> Self {
        let method = request.method().as_str();
        let query = request.uri().query().unwrap_or_default();
        let verb = match access::needed(method, path, query) {
            Need::Caller(verb) | Need::One(verb, ..) | Need::Seen(verb) | Need::InNamespaceOfBody(verb) => {
                verb.as_str()
            }
            Need::Documents => citadel::Verb::Write.as_str(),
        };
        let looks = matches!(method, "GET" | "HEAD") || ["/_why", "/_can", "/_authz"].contains(&path);
        let first = path.split('/').nth(1).unwrap_or_default();
        Self {
            verb,
            path: format!("{method} {path}"),
            dry_run: access::is_dry(query),
            trace_id: scope::current().map(|scope| scope.trace_id).unwrap_or_default(),
            ip: from.map(|from| from.ip().to_string()),
            changes: !looks,
            takes_query: ["_apply", "_rollback"].contains(&first) || galley::Kind::named(first).is_some(),
        }
    }

    /// A change that takes no query would be made in spite of `dryRun`, and written down as tried: it is refused.
    pub fn means_nothing(&self, query: Option<&str>) -> Option<Problem> {
        let query = query.filter(|query| !query.is_empty() && self.changes && !self.takes_query)?;
        let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or(pair)).collect();
        let names = names.join(", ");
        let rule = "only changes of configuration can be tried (`dryRun`) or take a query";
        Some(Problem::malformed(format!("{names} means nothing to {}: {rule}; leave it out", self.path)))
    }

    /// Whether it is a change, and not only tried.
    pub fn writes(&self) -> bool {
        self.changes && !self.dry_run
    }

    pub fn record(&self, known: &Known, result: &str) -> Record {
        Record {
            actor: known.token.name.clone(),
            method: if known.session.is_some() { "session" } else { "token" }.into(),
            token: known.token.id.clone(),
            ip: self.ip.clone(),
            verb: self.verb.into(),
            object: self.path.clone(),
            dry_run: self.dry_run,
            result: result.into(),
            trace_id: self.trace_id.clone(),
            ..Record::default()
        }
    }
}

/// Somebody whose secret is wrong, under an ID that is one of ours. Written beside the answer, which must not take longer
/// for that.
pub fn stranger(state: &State, request: &Request, from: Option<SocketAddr>) {
    let path = request.uri().path().strip_prefix("/api/v1").unwrap_or(request.uri().path()).to_owned();
    let (asked, headers) = (Asked::of(request, &path, from), request.headers().clone());
    let (tokens, audit) = (state.api_tokens.clone(), state.door.audit.clone());
    tokio::spawn(async move {
        let Some(id) = known_id(&tokens, &headers).await else { return };
        let record = Record {
            method: "none".into(),
            token: id,
            ip: asked.ip,
            verb: asked.verb.into(),
            object: asked.path,
            result: "401".into(),
            detail: "a wrong secret under the ID of this token, or it expired".into(),
            trace_id: asked.trace_id,
            ..Record::default()
        };
        audit.write(record).await;
    });
}

/// The newest revision of the objects, as they are now.
pub fn revision(state: &State, targets: &[ObjectKey]) -> Option<u64> {
    let revisions = targets.iter().filter_map(|key| state.galley.get(key.kind, &key.namespace, &key.name));
    revisions.map(|object| object.revision).max()
}

pub async fn answered(
    state: &State,
    known: &Known,
    asked: &Asked,
    targets: &[ObjectKey],
    before: Option<u64>,
    Told { status, noted, diff }: Told,
) {
    let is_refusal = [403, 412, 422].contains(&status.as_u16());
    // What a browser tries while somebody types changes nothing, and is no act of theirs.
    let tries = asked.dry_run && known.session.is_some();
    if (!asked.changes || tries) && !is_refusal {
        return;
    }
    let result = if status.is_success() { "done" } else { status.as_str() };
    let mut record = asked.record(known, result);
    record.revision_before = before;
    record.diff = diff;
    if !targets.is_empty() {
        record.object = names(targets);
        record.revision_after = if status.is_success() { revision(state, targets) } else { before };
    }
    if let Some(noted) = noted {
        if !noted.object.is_empty() {
            record.object = noted.object;
        }
        record.detail = noted.detail;
        if !noted.diff.is_empty() {
            record.diff = noted.diff;
        }
        record.revision_before = noted.revision_before.or(record.revision_before);
        record.revision_after = noted.revision_after.or(record.revision_after);
    }
    state.door.audit.write(record).await;
}

/// The objects by name; of many the first ones.
fn names(targets: &[ObjectKey]) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<String> = targets.iter().take(SHOWN).map(ToString::to_string).collect();
    if targets.len() > SHOWN {
        names.push(format!("and {} more", targets.len() - SHOWN));
    }
    names.join(", ")
}
