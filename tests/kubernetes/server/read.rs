//! Getting, listing and watching.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::watch as channel;
use tokio::time::Instant;

use super::store::{Id, Listed, Logged};
use super::{Call, Shared, failure, respond, selector, status, streamed};

/// An object as one version of its resource shows it.
pub fn shown(call: &Call, object: &Value) -> Value {
    let mut object = object.clone();
    if call.metadata_only {
        return json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
        });
    }
    object["apiVersion"] = call.resource.api_version(&call.version).into();
    object
}

pub fn get(shared: &Arc<Shared>, call: &Call) -> Response {
    match shared.lock().db.get(&id(call)) {
        Some(object) => respond(200, &shown(call, object)),
        None => not_found(call),
    }
}

pub fn id(call: &Call) -> Id {
    Id { resource: call.resource.id(), namespace: call.namespace.clone(), name: call.name.clone() }
}

pub fn not_found(call: &Call) -> Response {
    failure(404, "NotFound", format!("{} {:?} not found", call.resource.id(), call.name))
}

fn selects(call: &Call, object: &Value) -> Result<bool, String> {
    let in_namespace = call.namespace.is_empty() || object["metadata"]["namespace"] == call.namespace.as_str();
    let by_field = selector::fields(object, call.query("fieldSelector"), &call.resource.plural)?;
    Ok(in_namespace && by_field && selector::labels(object, call.query("labelSelector")))
}

/// Pages show the state at which the list began; `continue` names the list and how much of it was shown.
pub fn list(shared: &Arc<Shared>, call: &Call) -> Response {
    if let Err(wrong) = selects(call, &Value::Null) {
        return failure(400, "BadRequest", wrong);
    }
    let mut inner = shared.lock();
    let (token, from) = call.query("continue").rsplit_once('/').unwrap_or_default();
    let (listed, from) = match inner.db.kept(token) {
        Some(listed) => (listed, from.parse().unwrap_or(0)),
        None if !token.is_empty() => return failure(410, "Expired", "The provided continue parameter is too old"),
        None => {
            let mut objects = inner.db.all(&call.resource.id(), &call.namespace);
            objects.retain(|object| selects(call, object).unwrap_or(false));
            (Listed { version: inner.db.version(), objects: Arc::new(objects) }, 0)
        }
    };
    let limit = call.query("limit").parse::<usize>().unwrap_or(usize::MAX).min(listed.objects.len() - from);
    let next = from + limit;
    let mut metadata = json!({ "resourceVersion": listed.version.to_string() });
    if next < listed.objects.len() {
        metadata["remainingItemCount"] = (listed.objects.len() - next).into();
        let token = if token.is_empty() { inner.db.keep(listed.clone()) } else { token.to_owned() };
        metadata["continue"] = format!("{token}/{next}").into();
    }
    drop(inner);
    let items: Vec<Value> = listed.objects[from..next].iter().map(|object| shown(call, object)).collect();
    let kind = format!("{}List", call.resource.kind);
    let api_version = call.resource.api_version(&call.version);
    respond(200, &json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items }))
}

fn selected<'a>(call: &Call, object: &'a Option<Value>) -> Option<&'a Value> {
    object.as_ref().filter(|object| selects(call, object) == Ok(true))
}

struct Watching {
    shared: Arc<Shared>,
    call: Call,
    version: u64,
    changed: channel::Receiver<u64>,
    ready: VecDeque<Value>,
    until: Instant,
    ended: bool,
}

pub fn watch(shared: &Arc<Shared>, call: &Call) -> Response {
    if let Err(wrong) = selects(call, &Value::Null) {
        return failure(400, "BadRequest", wrong);
    }
    let changed = shared.version.subscribe();
    let (version, ready) = match call.query("resourceVersion").parse::<u64>() {
        Ok(version) if version > 0 => (version, VecDeque::new()),
        _ => {
            let inner = shared.lock();
            let all = inner.db.all(&call.resource.id(), &call.namespace);
            let wanted = all.iter().filter(|object| selects(call, object).unwrap_or(false));
            (inner.db.version(), wanted.map(|object| event("ADDED", shown(call, object))).collect())
        }
    };
    let is_forgotten = shared.lock().db.is_forgotten(version);
    let ready = match is_forgotten {
        true => {
            VecDeque::from([event("ERROR", status(410, "Expired", &format!("too old resource version: {version}")))])
        }
        false => ready,
    };
    let seconds = call.query("timeoutSeconds").parse().unwrap_or(300);
    let watching = Watching {
        shared: shared.clone(),
        call: call.clone(),
        version,
        changed,
        ready,
        until: Instant::now() + Duration::from_secs(seconds),
        ended: is_forgotten,
    };
    streamed(futures_util::stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok(format!("{event}\n")), watching))
    }))
}

fn event(kind: &str, object: Value) -> Value {
    json!({ "type": kind, "object": object })
}

impl Watching {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.changed.borrow_and_update();
            let logged = self.shared.lock().db.since(self.version);
            logged.iter().for_each(|logged| self.take(logged));
            if self.ready.is_empty() {
                tokio::select! {
                    changed = self.changed.changed() => changed.ok()?,
                    () = tokio::time::sleep_until(self.until) => self.ended = true,
                }
            }
        }
    }

    /// What a change is to a watch that selects: an object that is not selected any more is deleted.
    fn take(&mut self, logged: &Logged) {
        self.version = logged.version;
        if logged.resource.is_empty() {
            if self.call.query("allowWatchBookmarks") == "true" {
                let kind = &self.call.resource.kind;
                let api_version = self.call.resource.api_version(&self.call.version);
                let metadata = json!({ "resourceVersion": logged.version.to_string(), "creationTimestamp": null });
                let bookmark = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
                self.ready.push_back(event("BOOKMARK", bookmark));
            }
            return;
        }
        if logged.resource != self.call.resource.id() {
            return;
        }
        let told = match (selected(&self.call, &logged.before), selected(&self.call, &logged.after)) {
            (None, Some(after)) => event("ADDED", shown(&self.call, after)),
            (Some(_), Some(after)) => event("MODIFIED", shown(&self.call, after)),
            (Some(before), None) => {
                let mut last = shown(&self.call, before);
                last["metadata"]["resourceVersion"] = logged.version.to_string().into();
                event("DELETED", last)
            }
            (None, None) => return,
        };
        self.ready.push_back(told);
    }
}
