//! Creating, changing and deleting, with everything that can refuse it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::read::{id, not_found, shown};
use super::store::{Id, stamp};
use super::{Call, Inner, Shared, failure, kinds, respond};

type Refused = Box<Response>;

fn refuse<T>(code: u16, reason: &str, message: impl Into<String>) -> Result<T, Refused> {
    Err(Box::new(failure(code, reason, message)))
}

fn answer(result: Result<(u16, Value), Refused>) -> Response {
    match result {
        Ok((code, object)) => respond(code, &object),
        Err(refused) => *refused,
    }
}

fn body(call: &Call) -> Result<Value, Refused> {
    serde_json::from_slice(&call.body)
        .or_else(|_| serde_saphyr::from_slice(&call.body))
        .or_else(|error| refuse(400, "BadRequest", error.to_string()))
}

pub fn create(shared: &Arc<Shared>, call: &Call) -> Response {
    answer(body(call).and_then(|object| make(shared, call, object)).map(|object| (201, object)))
}

fn make(shared: &Arc<Shared>, call: &Call, mut object: Value) -> Result<Value, Refused> {
    let mut inner = shared.lock();
    let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else {
        return refuse(422, "Invalid", "name or generateName is required");
    };
    let id = Id { name, ..id(call) };
    if inner.db.get(&id).is_some() {
        return refuse(409, "AlreadyExists", format!("{} {:?} already exists", id.resource, id.name));
    }
    if call.resource.is_namespaced {
        let namespace = Id { resource: "namespaces".into(), namespace: String::new(), name: id.namespace.clone() };
        if inner.db.get(&namespace).is_none() {
            return refuse(404, "NotFound", format!("namespaces {:?} not found", id.namespace));
        }
        object["metadata"]["namespace"] = id.namespace.clone().into();
    }
    let metadata = stamp(object["metadata"].take(), inner.db.version() + 1);
    object["metadata"] = metadata;
    if call.resource.has_status && call.resource.is_custom {
        object.as_object_mut().map(|object| object.remove("status"));
    }
    if call.resource.is_custom || call.resource.group == "apps" {
        object["metadata"]["generation"] = 1.into();
    }
    store(shared, &mut inner, call, id, object)
}

/// The last step of every write.
fn store(shared: &Shared, inner: &mut Inner, call: &Call, id: Id, mut object: Value) -> Result<Value, Refused> {
    object["kind"] = call.resource.kind.clone().into();
    object["apiVersion"] = call.resource.api_version(&call.version).into();
    check(call, &object).or_else(|wrong| refuse(400, "BadRequest", wrong))?;
    if call.is_dry_run() {
        return Ok(shown(call, &object));
    }
    let object = inner.db.commit(id, Some(object));
    if call.resource.kind == "CustomResourceDefinition"
        && let Some(defined) = kinds::defined(&object)
    {
        inner.resources.retain(|known| known.id() != defined.id());
        inner.resources.push(defined);
    }
    shared.version.send_replace(inner.db.version());
    Ok(shown(call, &object))
}

pub fn update(shared: &Arc<Shared>, call: &Call) -> Response {
    let result = body(call).and_then(|object| {
        let before = shared.lock().db.get(&id(call)).cloned();
        let Some(before) = before else { return Err(Box::new(not_found(call))) };
        replace(shared, call, &before, object)
    });
    answer(result.map(|object| (200, object)))
}

/// Puts a new state over the present one, as far as the endpoint reaches.
fn replace(shared: &Arc<Shared>, call: &Call, before: &Value, mut object: Value) -> Result<Value, Refused> {
    let mut inner = shared.lock();
    let wanted = &object["metadata"]["resourceVersion"];
    let version = &before["metadata"]["resourceVersion"];
    let moved_on = inner.db.get(&id(call)).is_none_or(|now| now["metadata"]["resourceVersion"] != *version);
    if moved_on || !wanted.is_null() && wanted != version {
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to the \
             latest version and try again",
            call.resource.id(),
            call.name
        );
        return refuse(409, "Conflict", message);
    }
    if call.subresource == "status" {
        let status = object["status"].take();
        object = before.clone();
        object["status"] = status;
    } else {
        for field in ["uid", "creationTimestamp", "generation"] {
            if let Some(kept) = before["metadata"].get(field) {
                object["metadata"][field] = kept.clone();
            }
        }
        if call.resource.has_status && call.resource.is_custom {
            object["status"] = before["status"].clone();
        }
        if object["spec"] != before["spec"]
            && let Some(generation) = before["metadata"]["generation"].as_i64()
        {
            object["metadata"]["generation"] = (generation + 1).into();
        }
    }
    if object["status"].is_null() {
        object.as_object_mut().map(|object| object.remove("status"));
    }
    store(shared, &mut inner, call, id(call), object)
}

pub fn patch(shared: &Arc<Shared>, call: &Call) -> Response {
    let before = shared.lock().db.get(&id(call)).cloned();
    let result = body(call).and_then(|patch| match (call.content_type.as_str(), before) {
        ("application/merge-patch+json", Some(before)) => {
            let mut object = before.clone();
            // Without a version in the patch the write is not conditional.
            object["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
            merge(&mut object, &patch);
            replace(shared, call, &before, object)
        }
        ("application/merge-patch+json", None) => Err(Box::new(not_found(call))),
        ("application/apply-patch+yaml", before) if call.subresource.is_empty() => apply(shared, call, before, patch),
        (other, _) => refuse(415, "UnsupportedMediaType", format!("{other} is not supported")),
    });
    answer(result.map(|object| (200, object)))
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(into.as_object_mut().map(|into| into.remove(name))),
            value => merge(&mut into[name.as_str()], value),
        }
    }
}

/// Server-side apply: each manager owns the fields that it names, gives up those that it no longer names, and conflicts
/// over those of others unless it forces. Lists are owned as a whole.
fn apply(shared: &Arc<Shared>, call: &Call, before: Option<Value>, patch: Value) -> Result<Value, Refused> {
    let manager = call.query("fieldManager");
    if manager.is_empty() {
        return refuse(422, "Invalid", "fieldManager is required for apply patch");
    }
    let id = id(call);
    let mut named = BTreeSet::new();
    leaves(&patch, String::new(), &mut named);
    let mut object = before.clone().unwrap_or_else(|| json!({ "metadata": { "name": call.name } }));
    let mut owners = shared.lock().db.owners.get(&id).cloned().unwrap_or_default();
    let mut conflicts = Vec::new();
    for path in &named {
        let differs = object.pointer(path).is_some_and(|value| Some(value) != patch.pointer(path));
        for (other, fields) in owners.iter_mut().filter(|(other, _)| *other != manager) {
            if fields.contains(path) && differs {
                conflicts.push(format!("{other:?}: {path}"));
                fields.remove(path);
            }
        }
    }
    if !conflicts.is_empty() && call.query("force") != "true" {
        return refuse(409, "Conflict", format!("Apply failed with conflicts: {}", conflicts.join(", ")));
    }
    for path in owners.get(manager).into_iter().flatten().filter(|path| !named.contains(*path)) {
        if !owners.iter().any(|(other, fields)| other != manager && fields.contains(path)) {
            remove(&mut object, path);
        }
    }
    merge(&mut object, &patch);
    owners.insert(manager.to_owned(), named);
    let stored = match before {
        Some(before) => {
            object["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
            replace(shared, call, &before, object)
        }
        None => make(shared, call, object),
    }?;
    if !call.is_dry_run() {
        shared.lock().db.owners.insert(id, owners);
    }
    Ok(stored)
}

/// The places of all values but what names the object.
fn leaves(value: &Value, path: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(value, format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ if ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"].contains(&path.as_str()) => {}
        _ => drop(found.insert(path)),
    }
}

fn remove(object: &mut Value, path: &str) {
    if let Some((parent, name)) = path.rsplit_once('/')
        && let Some(Value::Object(fields)) = object.pointer_mut(parent)
    {
        fields.remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

pub fn delete(shared: &Arc<Shared>, call: &Call) -> Response {
    let mut inner = shared.lock();
    let id = id(call);
    if inner.db.get(&id).is_none() {
        return not_found(call);
    }
    if call.is_dry_run() {
        return respond(200, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }));
    }
    let last = inner.db.commit(id, None);
    if call.resource.kind == "CustomResourceDefinition"
        && let Some(defined) = kinds::defined(&last)
    {
        inner.resources.retain(|known| known.id() != defined.id());
        for object in inner.db.all(&defined.id(), "") {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            inner.db.commit(Id { resource: defined.id(), namespace: text("namespace"), name: text("name") }, None);
        }
    }
    shared.version.send_replace(inner.db.version());
    respond(200, &shown(call, &last))
}

/// Holds built-in kinds against their types: a field that the type does not have is refused, as with strict field
/// validation.
fn check(call: &Call, object: &Value) -> Result<(), String> {
    match call.resource.kind.as_str() {
        "Deployment" => strict::<Deployment>(object).and_then(|()| {
            let (selector, template) = (&object["spec"]["selector"]["matchLabels"], &object["spec"]["template"]);
            let labels = &template["metadata"]["labels"];
            let pairs = selector.as_object().ok_or("spec.selector: Required value")?;
            match pairs.iter().all(|(name, value)| labels[name.as_str()] == *value) {
                true => Ok(()),
                false => Err("`selector` does not match template `labels`".to_owned()),
            }
        }),
        "Service" => strict::<Service>(object),
        "Pod" => strict::<Pod>(object),
        "EndpointSlice" => strict::<EndpointSlice>(object),
        "Namespace" => strict::<Namespace>(object),
        "ServiceAccount" => strict::<ServiceAccount>(object),
        "PersistentVolumeClaim" => strict::<PersistentVolumeClaim>(object),
        "ClusterRole" => strict::<ClusterRole>(object),
        "ClusterRoleBinding" => strict::<ClusterRoleBinding>(object),
        "CustomResourceDefinition" => strict::<CustomResourceDefinition>(object),
        _ => Ok(()),
    }
}

fn strict<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    match lost(object, &back, "") {
        Some(path) => Err(format!("strict decoding error: unknown field {path:?}")),
        None => Ok(()),
    }
}

/// The first value that did not come back.
fn lost(given: &Value, back: &Value, path: &str) -> Option<String> {
    match given {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match back.get(name) {
            Some(back) => lost(value, back, &format!("{path}.{name}")),
            None if value.is_null() || *value == json!({}) || *value == json!([]) => None,
            None => Some(format!("{path}.{name}")),
        }),
        Value::Array(items) => {
            let pairs = items.iter().zip(back.as_array().into_iter().flatten()).enumerate();
            pairs.into_iter().find_map(|(index, (given, back))| lost(given, back, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}
