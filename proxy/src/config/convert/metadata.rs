//! What `filter_metadata` says to a proxy of the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::envoy::config::core::v3::Metadata;
use api::prost_types::{Struct, Value, value::Kind};

use crate::config::{Labels, LbMetadata, ServiceRef, WorkloadRef};

/// `filter_metadata.istio.config`
pub(super) fn config(metadata: Option<&Metadata>) -> Option<String> {
    text(istio(metadata)?.get("config")?)
}

/// The first of `filter_metadata.istio.services`.
pub(super) fn service(metadata: Option<&Metadata>) -> Option<ServiceRef> {
    let Some(Kind::ListValue(services)) = &istio(metadata)?.get("services")?.kind else { return None };
    let Some(Kind::StructValue(service)) = &services.values.first()?.kind else { return None };
    let part = |name: &str| service.fields.get(name).and_then(text);
    Some(ServiceRef { host: part("host")?, name: part("name")?, namespace: part("namespace")? })
}

/// `filter_metadata.istio.workload`: `name;namespace;canonical service;canonical revision;cluster`, where what is
/// missing is empty.
pub(super) fn workload(metadata: Option<&Metadata>) -> Option<WorkloadRef> {
    let text = text(istio(metadata)?.get("workload")?)?;
    let mut parts = text.split(';').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Some(WorkloadRef {
        name: next(),
        namespace: next(),
        canonical_service: next(),
        canonical_revision: next(),
        cluster: next(),
    })
}

/// `filter_metadata["envoy.transport_socket_match"]`
pub(super) fn transport_labels(metadata: Option<&Metadata>) -> Labels {
    let labels = metadata.and_then(|metadata| metadata.filter_metadata.get("envoy.transport_socket_match"));
    labels.map(labels_of).unwrap_or_default()
}

pub(super) fn labels_of(fields: &Struct) -> Labels {
    fields.fields.iter().filter_map(|(name, value)| Some((name.as_str(), text(value)?))).collect()
}

/// `filter_metadata["envoy.lb"]`, where there is any of it.
pub(super) fn lb(metadata: Option<&Metadata>) -> Option<Arc<LbMetadata>> {
    let fields = metadata?.filter_metadata.get("envoy.lb").filter(|fields| !fields.fields.is_empty())?;
    Some(Arc::new(values_of(fields)))
}

/// What a route asks for, and what its weighted cluster asks for instead or besides.
pub(super) fn criteria(route: Option<&Metadata>, own: Option<&Metadata>) -> Option<Arc<LbMetadata>> {
    match (lb(route), lb(own)) {
        (Some(route), Some(own)) => {
            let mut all = LbMetadata::clone(&route);
            all.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
            Some(Arc::new(all))
        }
        (route, own) => own.or(route),
    }
}

pub(super) fn values_of(fields: &Struct) -> LbMetadata {
    fields.fields.iter().map(|(name, value)| (name.clone(), json(value).to_string())).collect()
}

fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::BoolValue(truth)) => (*truth).into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(fields)) => {
            fields.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
        }
        Some(Kind::NullValue(_)) | None => serde_json::Value::Null,
    }
}

fn istio(metadata: Option<&Metadata>) -> Option<&BTreeMap<String, Value>> {
    Some(&metadata?.filter_metadata.get("istio")?.fields)
}

fn text(value: &Value) -> Option<String> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}
