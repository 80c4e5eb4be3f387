//! From a text to checked objects: every document of it, with everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Rejection, Severity, code};
use crate::kind::Kind;
use crate::kinds::check::{Scope, host_is_plain, is_label};
use crate::kinds::{self, Labels};
use crate::object::ObjectKey;
use crate::reader::{Object, Place, Report, closest};
use crate::snapshot::{Config, Meta};
use crate::yaml::{self, Node, Value};

/// One checked object of a text.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub key: ObjectKey,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    pub spec: Spec,
    pub manifest: serde_json::Value,
    pub line: u32,
}

/// What an object says, by kind.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    VirtualService(kinds::VirtualService),
    DestinationRule(kinds::DestinationRule),
    Gateway(kinds::Gateway),
    ServiceEntry(kinds::ServiceEntry),
    WorkloadEntry(kinds::WorkloadEntry),
    WorkloadGroup(kinds::WorkloadGroup),
    PeerAuthentication(kinds::PeerAuthentication),
    RequestAuthentication(kinds::RequestAuthentication),
    AuthorizationPolicy(kinds::AuthorizationPolicy),
    Telemetry(kinds::Telemetry),
    MeshConfig(kinds::MeshConfig),
}

/// An object ready for a snapshot.
#[derive(Clone, Debug)]
pub(crate) enum Checked {
    VirtualService(Arc<Config<kinds::VirtualService>>),
    DestinationRule(Arc<Config<kinds::DestinationRule>>),
    Gateway(Arc<Config<kinds::Gateway>>),
    ServiceEntry(Arc<Config<kinds::ServiceEntry>>),
    WorkloadEntry(Arc<Config<kinds::WorkloadEntry>>),
    WorkloadGroup(Arc<Config<kinds::WorkloadGroup>>),
    PeerAuthentication(Arc<Config<kinds::PeerAuthentication>>),
    RequestAuthentication(Arc<Config<kinds::RequestAuthentication>>),
    AuthorizationPolicy(Arc<Config<kinds::AuthorizationPolicy>>),
    Telemetry(Arc<Config<kinds::Telemetry>>),
    MeshConfig(Arc<Config<kinds::MeshConfig>>),
}

impl Spec {
    pub fn with(self, meta: Meta) -> Checked {
        match self {
            Self::VirtualService(spec) => Checked::VirtualService(Arc::new(Config { meta, spec })),
            Self::DestinationRule(spec) => Checked::DestinationRule(Arc::new(Config { meta, spec })),
            Self::Gateway(spec) => Checked::Gateway(Arc::new(Config { meta, spec })),
            Self::ServiceEntry(spec) => Checked::ServiceEntry(Arc::new(Config { meta, spec })),
            Self::WorkloadEntry(spec) => Checked::WorkloadEntry(Arc::new(Config { meta, spec })),
            Self::WorkloadGroup(spec) => Checked::WorkloadGroup(Arc::new(Config { meta, spec })),
            Self::PeerAuthentication(spec) => Checked::PeerAuthentication(Arc::new(Config { meta, spec })),
            Self::RequestAuthentication(spec) => Checked::RequestAuthentication(Arc::new(Config { meta, spec })),
            Self::AuthorizationPolicy(spec) => Checked::AuthorizationPolicy(Arc::new(Config { meta, spec })),
            Self::Telemetry(spec) => Checked::Telemetry(Arc::new(Config { meta, spec })),
            Self::MeshConfig(spec) => Checked::MeshConfig(Arc::new(Config { meta, spec })),
        }
    }
}

/// Reads every document of a text. The documents count only if no finding is an error.
pub(crate) fn parse(text: &str, origin: &str) -> (Vec<Document>, Vec<Diagnostic>) {
    let report = Report::new(origin);
    let mut documents = Vec::new();
    match yaml::parse(text) {
        Ok(nodes) => nodes.iter().for_each(|node| read(&Place::new(node, "", &report), &mut documents)),
        Err(error) => report.add(code::SCHEMA_ERROR, Severity::Error, error.at, "", error.message),
    }
    refuse_twins(&documents, &report);
    (documents, report.into_diagnostics())
}

/// Checks a text without taking it: its warnings, or all that is wrong. Needs no galley.
pub fn check(text: &str, origin: &str) -> Result<Vec<Diagnostic>, Rejection> {
    let (_, diagnostics) = parse(text, origin);
    match diagnostics.iter().any(Diagnostic::is_error) {
        true => Err(Rejection { diagnostics }),
        false => Ok(diagnostics),
    }
}

/// Reads an object that was checked when it was stored.
pub(crate) fn parse_manifest(manifest: &serde_json::Value, origin: &str) -> (Option<Document>, Vec<Diagnostic>) {
    let report = Report::new(origin);
    let mut documents = Vec::new();
    read(&Place::new(&Node::of_json(manifest), "", &report), &mut documents);
    (documents.pop(), report.into_diagnostics())
}

fn refuse_twins(documents: &[Document], report: &Report) {
    let mut seen = BTreeSet::new();
    for document in documents.iter().filter(|document| !seen.insert(&document.key)) {
        let at = yaml::Mark { line: document.line, column: 1 };
        report.add(code::SCHEMA_ERROR, Severity::Error, at, "", format!("{} is there twice", document.key));
    }
}

fn read(place: &Place<'_>, documents: &mut Vec<Document>) {
    if !matches!(place.node.value, Value::Map(_)) {
        return place.error(format!(
            "a document is an object with apiVersion, kind, metadata and spec, not {}",
            place.node.type_name()
        ));
    }
    let word = |name: &str| place.node.get(name).and_then(Node::as_text);
    let (Some(version), Some(kind)) = (word("apiVersion"), word("kind")) else {
        return place.error("apiVersion and kind are required");
    };
    if kind == "List" && version == "v1" {
        return read_list(place, documents);
    }
    match recognise(version, kind) {
        Recognised::Taken(kind) => documents.extend(read_object(place, kind)),
        Recognised::Skipped => {
            place.warn(code::SCHEMA_WARNING, format!("skipped: {kind} ({version}) is Kubernetes' own"))
        }
        Recognised::Refused(message, suggestion) => place.suggest(message, suggestion),
    }
}

fn read_list(place: &Place<'_>, documents: &mut Vec<Document>) {
    place.object(|o| {
        o.field("apiVersion");
        o.field("kind");
        o.field("metadata");
        for item in o.required("items").map(|items| items.list()).unwrap_or_default() {
            read(&item, documents);
        }
    });
}

enum Recognised {
    Taken(Kind),
    /// An object for Kubernetes that often stands in the same file.
    Skipped,
    Refused(String, Option<String>),
}

/// Kinds of Istio's that are not taken yet.
const LATER: [&str; 8] =
    ["Sidecar", "EnvoyFilter", "ProxyConfig", "WasmPlugin", "TrafficExtension", "HTTPRoute", "GRPCRoute", "TLSRoute"];

fn recognise(api_version: &str, kind: &str) -> Recognised {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let istio = group.ends_with("istio.io") || Kind::ALL.into_iter().any(|kind| kind.group() == group);
    if !istio && group != "gateway.networking.k8s.io" {
        return foreign(group, api_version, kind);
    }
    if !istio || LATER.contains(&kind) {
        return Recognised::Refused(format!("{kind} ({api_version}) is not supported by this version of weft"), None);
    }
    let Some(known) = Kind::ALL.into_iter().find(|known| known.as_str() == kind) else {
        let suggestion = closest(kind, Kind::ALL.into_iter().map(Kind::as_str));
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        return Recognised::Refused(format!("unknown kind {kind:?}; there are {kinds}"), suggestion);
    };
    if known.group() != group {
        let right = format!("{}/{version}", known.group());
        return Recognised::Refused(format!("{kind} is not of apiVersion {api_version:?}"), Some(right));
    }
    if !known.versions().contains(&version) {
        let suggestion = closest(version, known.versions().iter().copied()).map(|version| format!("{group}/{version}"));
        let versions = known.versions().join(", ");
        return Recognised::Refused(
            format!("apiVersion {api_version:?} is not known; {group} has {versions}"),
            suggestion,
        );
    }
    Recognised::Taken(known)
}

fn foreign(group: &str, api_version: &str, kind: &str) -> Recognised {
    const KUBERNETES: [&str; 5] = ["", "apps", "batch", "policy", "autoscaling"];
    if KUBERNETES.contains(&group) || group.ends_with(".k8s.io") {
        return Recognised::Skipped;
    }
    let groups = Kind::ALL.into_iter().map(Kind::group);
    let suggestion = closest(group, groups);
    Recognised::Refused(format!("{kind} of apiVersion {api_version:?} is no configuration of the mesh"), suggestion)
}

fn read_object(place: &Place<'_>, kind: Kind) -> Option<Document> {
    place.object(|o| {
        o.field("apiVersion");
        o.field("kind");
        o.field("status");
        let meta = o.required("metadata").and_then(|place| metadata(&place, kind));
        let namespace = meta.as_ref().map_or("default", |meta| &meta.namespace).to_owned();
        let empty = Node { value: Value::Map(Vec::new()), at: place.at };
        let spec = match o.field("spec") {
            Some(spec) => spec.object(|o| read_spec(o, kind, &namespace)),
            None => Place::new(&empty, "spec", o.report()).object(|o| read_spec(o, kind, &namespace)),
        };
        let meta = meta?;
        if let Some(value) = meta.annotations.get(Meta::DRY_RUN) {
            check_dry_run(o, value, spec.as_ref());
        }
        Some(Document {
            key: ObjectKey::new(kind, &namespace, &meta.name),
            labels: meta.labels,
            annotations: meta.annotations,
            spec: spec?,
            manifest: place.node.to_json(),
            line: place.at.line,
        })
    })?
}

/// Only what allows or denies can be tried (Istio `istio.io/dry-run`).
fn check_dry_run(o: &Object<'_>, value: &str, spec: Option<&Spec>) {
    use kinds::AccessAction::{Allow, Deny};
    let tries =
        |spec: &Spec| matches!(spec, Spec::AuthorizationPolicy(policy) if matches!(policy.action, Allow | Deny));
    if spec.is_some_and(|spec| !tries(spec)) {
        o.error_at(
            "metadata",
            format!("the annotation {} is for AuthorizationPolicies that ALLOW or DENY", Meta::DRY_RUN),
        );
    } else if value.parse::<bool>().is_err() {
        o.error_at("metadata", format!("the annotation {} is \"true\" or \"false\", not {value:?}", Meta::DRY_RUN));
    }
}

fn read_spec(o: &Object<'_>, kind: Kind, namespace: &str) -> Spec {
    let scope = Scope { namespace };
    match kind {
        Kind::VirtualService => Spec::VirtualService(kinds::virtual_service::read(o, &scope)),
        Kind::DestinationRule => Spec::DestinationRule(kinds::destination_rule::read(o, &scope)),
        Kind::Gateway => Spec::Gateway(kinds::gateway::read(o, &scope)),
        Kind::ServiceEntry => Spec::ServiceEntry(kinds::service_entry::read(o, &scope)),
        Kind::WorkloadEntry => Spec::WorkloadEntry(kinds::workload_entry::read(o)),
        Kind::WorkloadGroup => Spec::WorkloadGroup(kinds::workload_group::read(o)),
        Kind::PeerAuthentication => Spec::PeerAuthentication(kinds::peer_authentication::read(o)),
        Kind::RequestAuthentication => Spec::RequestAuthentication(kinds::request_authentication::read(o)),
        Kind::AuthorizationPolicy => Spec::AuthorizationPolicy(kinds::authorization_policy::read(o)),
        Kind::Telemetry => Spec::Telemetry(kinds::telemetry::read(o)),
        Kind::MeshConfig => Spec::MeshConfig(kinds::mesh_config::read(o)),
    }
}

/// What of the metadata means something here; the rest is Kubernetes' bookkeeping.
fn metadata(place: &Place<'_>, kind: Kind) -> Option<Meta> {
    const BOOKKEEPING: [&str; 11] = [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "ownerReferences",
        "finalizers",
        "selfLink",
        "clusterName",
    ];
    place.object(|o| {
        for field in BOOKKEEPING {
            o.field(field);
        }
        let name = o.required_text("name");
        if !name.is_empty() && !host_is_plain(&name) {
            o.error_at("name", format!("{name:?} is no name: a-z 0-9 - and dots, a letter or digit at both ends"));
        } else if kind == Kind::Gateway && name.contains('.') {
            o.error_at("name", "a Gateway's name must not hold dots");
        } else if kind == Kind::MeshConfig && name != kinds::MeshConfig::NAME {
            o.error_at("name", format!("the mesh has one MeshConfig, and its name is {:?}", kinds::MeshConfig::NAME));
        }
        let namespace = o.text("namespace");
        if kind == Kind::MeshConfig && namespace != kinds::MeshConfig::NAMESPACE {
            let message = format!("the mesh's settings are in namespace {:?}", kinds::MeshConfig::NAMESPACE);
            o.error_at("namespace", message);
        }
        if !namespace.is_empty() && !is_label(&namespace) {
            o.error_at("namespace", format!("{namespace:?} is no name of a namespace"));
        }
        Meta {
            name,
            namespace: if namespace.is_empty() { "default".to_owned() } else { namespace },
            labels: o.labels("labels"),
            annotations: o.labels("annotations"),
            ..Meta::default()
        }
    })
}
