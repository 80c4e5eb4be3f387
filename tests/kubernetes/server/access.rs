//! Who asks, and whether a role lets them (RBAC). Everything asked is written down.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use super::store::Id;
use super::{Call, Inner, Shared, failure, respond};

/// The token of somebody who may do everything.
pub const ADMIN_TOKEN: &str = "admin";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub user: String,
    pub verb: String,
    pub group: String,
    /// With its subresource: `virtualservices/status`.
    pub resource: String,
}

pub enum User {
    Admin,
    ServiceAccount { namespace: String, name: String },
}

impl User {
    fn name(&self) -> String {
        match self {
            Self::Admin => "admin".into(),
            Self::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
        }
    }
}

pub fn user(shared: &Shared, token: &str) -> Option<User> {
    if token == ADMIN_TOKEN {
        return Some(User::Admin);
    }
    let (namespace, name) = shared.lock().tokens.get(token).cloned()?;
    Some(User::ServiceAccount { namespace, name })
}

/// A token for a service account (TokenRequest).
pub fn token(shared: &Arc<Shared>, call: &Call) -> Response {
    let mut inner = shared.lock();
    let id = Id { resource: call.resource.id(), namespace: call.namespace.clone(), name: call.name.clone() };
    if call.resource.plural != "serviceaccounts" || inner.db.get(&id).is_none() {
        return failure(404, "NotFound", format!("serviceaccounts {:?} not found", call.name));
    }
    let wanted: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let audiences: Vec<_> = list(&wanted["spec"]["audiences"]).iter().filter_map(Value::as_str).collect();
    // What a real one says inside of it, this one says in its name.
    let token = [&[format!("token-{}-{}", call.namespace, call.name).as_str()][..], &audiences].concat().join("~");
    inner.tokens.insert(token.clone(), (call.namespace.clone(), call.name.clone()));
    respond(
        201,
        &json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": { "token": token } }),
    )
}

/// Whose token it is, and which of the audiences asked for it is for (TokenReview).
pub fn review(shared: &Shared, call: &Call) -> Response {
    let asked: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let token = asked["spec"]["token"].as_str().unwrap_or_default();
    let status = match shared.lock().tokens.get(token) {
        Some((namespace, name)) => {
            let wanted = list(&asked["spec"]["audiences"]).iter();
            let own: Vec<_> = wanted.filter(|audience| token.split('~').skip(1).any(|own| *audience == own)).collect();
            let user = format!("system:serviceaccount:{namespace}:{name}");
            // As the real one: a token for others is not authenticated.
            json!({ "authenticated": !own.is_empty(), "audiences": own, "user": { "username": user } })
        }
        None => json!({ "authenticated": false, "error": "invalid bearer token" }),
    };
    respond(201, &json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status }))
}

pub fn check(shared: &Shared, user: &User, call: &Call) -> Result<(), Response> {
    let mut inner = shared.lock();
    let plural = &call.resource.plural;
    let resource = if call.subresource.is_empty() { plural.clone() } else { format!("{plural}/{}", call.subresource) };
    let group = call.resource.group.clone();
    let asked = Asked { user: user.name(), verb: call.verb().into(), group, resource };
    inner.asked.push(asked.clone());
    let User::ServiceAccount { namespace, name } = user else { return Ok(()) };
    if may(&inner, (namespace, name), &asked, &call.namespace, &call.name) {
        return Ok(());
    }
    let Asked { user, verb, group, resource } = asked;
    let message =
        format!("{resource} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {group:?}");
    Err(failure(403, "Forbidden", message))
}

/// Whether a user may do something (SubjectAccessReview).
pub fn review_access(shared: &Shared, call: &Call) -> Response {
    let review: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let wanted = &review["spec"]["resourceAttributes"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user = text(&review["spec"]["user"]);
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let (verb, group, resource) = (text(&wanted["verb"]), text(&wanted["group"]), text(&wanted["resource"]));
    let asked = Asked { user: user.clone(), verb, group, resource };
    let inner = shared.lock();
    let allowed = account
        .is_some_and(|account| may(&inner, account, &asked, &text(&wanted["namespace"]), &text(&wanted["name"])));
    let kind = "SubjectAccessReview";
    respond(201, &json!({ "kind": kind, "apiVersion": "authorization.k8s.io/v1", "status": { "allowed": allowed } }))
}

/// Whether a role that is bound to a service account lets it do something, here or in the whole cluster.
fn may(inner: &Inner, (namespace, name): (&str, &str), asked: &Asked, place: &str, object: &str) -> bool {
    let all = |plural: &str| inner.db.all(&format!("{plural}.rbac.authorization.k8s.io"), "");
    let mut bindings = all("clusterrolebindings");
    let local = |binding: &Value| binding["metadata"]["namespace"] == place;
    bindings.extend(all("rolebindings").into_iter().filter(|binding| !place.is_empty() && local(binding)));
    let is_bound = |binding: &Value| {
        list(&binding["subjects"]).iter().any(|subject| {
            subject["kind"] == "ServiceAccount" && subject["name"] == name && subject["namespace"] == namespace
        })
    };
    let mut roles = all("clusterroles");
    roles.extend(all("roles"));
    let is_role = |role: &Value, binding: &Value| {
        let reference = &binding["roleRef"];
        role["kind"] == reference["kind"]
            && role["metadata"]["name"] == reference["name"]
            && (role["kind"] == "ClusterRole" || role["metadata"]["namespace"] == binding["metadata"]["namespace"])
    };
    bindings.iter().filter(|binding| is_bound(binding)).any(|binding| {
        let role = roles.iter().find(|role| is_role(role, binding));
        role.is_some_and(|role| list(&role["rules"]).iter().any(|rule| allows(rule, asked, object)))
    })
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a rule of a role lets something be asked.
pub fn allows(rule: &Value, asked: &Asked, name: &str) -> bool {
    let has = |field: &str, wanted: &str| list(&rule[field]).iter().any(|value| value == wanted || value == "*");
    let names = list(&rule["resourceNames"]);
    has("verbs", &asked.verb)
        && has("apiGroups", &asked.group)
        && has("resources", &asked.resource)
        && (names.is_empty() || names.iter().any(|known| known == name))
}
