//! How the two proxies of a call tell each other who they are: a header with a base64 `google.protobuf.Struct` (Istio,
//! metadata exchange). It is believed only from a peer that proved its identity.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use api::prost::Message as _;
use api::prost_types::value::Kind;
use api::prost_types::{Struct, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::WorkloadRef;

/// The header's name.
pub const HEADER: &str = "x-envoy-peer-metadata";
/// A longer value is not read.
const MAX_LENGTH: usize = 8 * 1024;
const MAX_CACHED: usize = 1000;

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

/// The header value that tells who this workload is.
pub fn encode_peer(workload: &WorkloadRef) -> String {
    let labels = [
        ("service.istio.io/canonical-name", &workload.canonical_service),
        ("service.istio.io/canonical-revision", &workload.canonical_revision),
    ];
    let labels = Struct { fields: labels.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect() };
    let fields = [
        ("NAME", text(&workload.name)),
        ("NAMESPACE", text(&workload.namespace)),
        ("WORKLOAD_NAME", text(&workload.name)),
        ("CLUSTER_ID", text(&workload.cluster)),
        ("LABELS", Value { kind: Some(Kind::StructValue(labels)) }),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    STANDARD.encode(Struct { fields }.encode_to_vec())
}

fn string(fields: &Struct, name: &str) -> Option<String> {
    match fields.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(value) => Some(value.clone()),
        _ => None,
    }
}

/// Who a header value says its sender is; `None` if it says nothing that can be read.
pub fn decode_peer(value: &[u8]) -> Option<WorkloadRef> {
    if value.len() > MAX_LENGTH {
        return None;
    }
    let fields = Struct::decode(STANDARD.decode(value).ok()?.as_slice()).ok()?;
    let none = Struct::default();
    let labels = match fields.fields.get("LABELS").and_then(|labels| labels.kind.as_ref()) {
        Some(Kind::StructValue(labels)) => labels,
        _ => &none,
    };
    let name = string(&fields, "WORKLOAD_NAME").or_else(|| string(&fields, "NAME"))?;
    let label = |names: [&str; 2]| names.iter().find_map(|name| string(labels, name));
    Some(WorkloadRef {
        canonical_service: label(["service.istio.io/canonical-name", "app"]).unwrap_or_else(|| name.clone()),
        canonical_revision: label(["service.istio.io/canonical-revision", "version"])
            .unwrap_or_else(|| "latest".into()),
        namespace: string(&fields, "NAMESPACE").unwrap_or_default(),
        cluster: string(&fields, "CLUSTER_ID").unwrap_or_default(),
        name,
    })
}

/// Remembers what header values mean, so that each is decoded once.
#[derive(Debug, Default)]
pub struct PeerCache(RefCell<HashMap<Vec<u8>, Option<Arc<WorkloadRef>>>>);

impl PeerCache {
    pub fn get(&self, value: &[u8]) -> Option<Arc<WorkloadRef>> {
        let mut cache = self.0.borrow_mut();
        if let Some(known) = cache.get(value) {
            return known.clone();
        }
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        let peer = decode_peer(value).map(Arc::new);
        if value.len() <= MAX_LENGTH {
            cache.insert(value.to_vec(), peer.clone());
        }
        peer
    }
}
