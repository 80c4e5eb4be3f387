//! Which resources there are: the built-in ones, and those that resource definitions add.

use axum::response::Response;
use serde_json::{Value, json};

use super::respond;

#[derive(Clone, Debug)]
pub struct Resource {
    pub group: String,
    pub versions: Vec<String>,
    pub plural: String,
    pub kind: String,
    pub is_namespaced: bool,
    pub has_status: bool,
    /// Of a resource definition.
    pub is_custom: bool,
}

impl Resource {
    /// `virtualservices.networking.istio.io`
    pub fn id(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }
}

pub fn builtin() -> Vec<Resource> {
    let table = [
        ("", "namespaces", "Namespace", false),
        ("", "nodes", "Node", false),
        ("", "pods", "Pod", true),
        ("", "services", "Service", true),
        ("", "serviceaccounts", "ServiceAccount", true),
        ("", "secrets", "Secret", true),
        ("", "configmaps", "ConfigMap", true),
        ("", "persistentvolumeclaims", "PersistentVolumeClaim", true),
        ("discovery.k8s.io", "endpointslices", "EndpointSlice", true),
        ("apps", "deployments", "Deployment", true),
        ("authentication.k8s.io", "tokenreviews", "TokenReview", false),
        ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", false),
        ("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding", false),
        ("rbac.authorization.k8s.io", "roles", "Role", true),
        ("rbac.authorization.k8s.io", "rolebindings", "RoleBinding", true),
        ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", false),
        ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", false),
    ];
    let resource = |(group, plural, kind, is_namespaced): (&str, &str, &str, bool)| Resource {
        group: group.into(),
        versions: vec!["v1".into()],
        plural: plural.into(),
        kind: kind.into(),
        is_namespaced,
        has_status: !group.starts_with("rbac") && !["secrets", "configmaps", "serviceaccounts"].contains(&plural),
        is_custom: false,
    };
    table.map(resource).to_vec()
}

/// What a CustomResourceDefinition adds.
pub fn defined(definition: &Value) -> Option<Resource> {
    let spec = &definition["spec"];
    let text = |value: &Value| Some(value.as_str()?.to_owned());
    let versions: Vec<&Value> =
        spec["versions"].as_array()?.iter().filter(|version| version["served"] == true).collect();
    Some(Resource {
        group: text(&spec["group"])?,
        versions: versions.iter().filter_map(|version| text(&version["name"])).collect(),
        plural: text(&spec["names"]["plural"])?,
        kind: text(&spec["names"]["kind"])?,
        is_namespaced: spec["scope"] == "Namespaced",
        has_status: versions.iter().any(|version| version["subresources"]["status"].is_object()),
        is_custom: true,
    })
}

type Located = (Resource, String, String, String, String);

/// Resource, version, namespace, name and subresource of a path.
pub fn locate(resources: &[Resource], path: &[&str]) -> Option<Located> {
    let (group, version, rest) = match path {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && rest[0] != "status" => (*namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return None,
    };
    let is_it = |resource: &&Resource| {
        resource.group == group && resource.plural == plural && resource.versions.iter().any(|known| known == version)
    };
    let resource = resources.iter().find(is_it)?;
    if subresource == "status" && !resource.has_status {
        return None;
    }
    Some((resource.clone(), version.into(), namespace.into(), name.into(), subresource.into()))
}

/// What groups, versions and resources there are, for kubectl.
pub fn discovery(resources: &[Resource], path: &[&str]) -> Option<Response> {
    let groups = || {
        let mut groups: Vec<(&str, &[String])> = Vec::new();
        for resource in resources.iter().filter(|resource| !resource.group.is_empty()) {
            if groups.iter().all(|(group, _)| *group != resource.group) {
                groups.push((&resource.group, &resource.versions));
            }
        }
        let version =
            |group: &str, version: &str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
        let entry = |(group, versions): &(&str, &[String])| {
            let versions: Vec<Value> = versions.iter().map(|known| version(group, known)).collect();
            json!({ "name": group, "versions": versions, "preferredVersion": versions[0] })
        };
        groups.iter().map(entry).collect::<Vec<_>>()
    };
    let listed = |group: &str, version: &str| {
        let of =
            |resource: &&Resource| resource.group == group && resource.versions.iter().any(|known| known == version);
        let entry = |resource: &Resource| {
            json!({
                "name": resource.plural, "singularName": resource.kind.to_lowercase(), "kind": resource.kind,
                "namespaced": resource.is_namespaced,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        };
        let resources: Vec<Value> = resources.iter().filter(of).map(entry).collect();
        let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let found = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources });
        (!resources.is_empty()).then(|| respond(200, &found))
    };
    match path {
        ["version"] => Some(respond(200, &json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.0" }))),
        ["api"] => Some(respond(200, &json!({ "kind": "APIVersions", "versions": ["v1"] }))),
        ["apis"] => Some(respond(200, &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups() }))),
        ["api", version] => listed("", version),
        ["apis", group, version] => listed(group, version),
        _ => None,
    }
}
