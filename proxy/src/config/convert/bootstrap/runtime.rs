//! `layered_runtime`. The one key that is honoured is the limit on connections; every other is refused, for a key that
//! nothing reads would change nothing.

use std::collections::BTreeMap;

use api::envoy::config::bootstrap::v3::{LayeredRuntime, runtime_layer::LayerSpecifier};
use api::prost_types::value::Kind;
use api::prost_types::{Struct, Value};

use crate::config::error::{At, ConfigError};

const MAX_CONNECTIONS: &str = "overload.global_downstream_max_connections";

/// The limit on connections, if a layer sets it: the last one does. An admin layer is empty for as long as nobody can
/// change it, and there is no way to.
pub(super) fn max_connections(wire: Option<&LayeredRuntime>, at: &At<'_>) -> Result<Option<usize>, ConfigError> {
    let mut most = None;
    let at = at.field("layers");
    for (index, layer) in wire.into_iter().flat_map(|wire| &wire.layers).enumerate() {
        let at = at.index(index);
        match &layer.layer_specifier {
            Some(LayerSpecifier::StaticLayer(values)) => {
                let at = at.field("static_layer");
                for (key, value) in flat(values) {
                    most = Some(limit(&key, value, &at.key(&key))?);
                }
            }
            Some(LayerSpecifier::AdminLayer(_)) => {}
            Some(LayerSpecifier::DiskLayer(_)) => return Err(at.field("disk_layer").refuse("set", RULE)),
            Some(LayerSpecifier::RtdsLayer(_)) => return Err(at.field("rtds_layer").refuse("set", RULE)),
            None => return Err(at.field("static_layer").missing()),
        }
    }
    Ok(most)
}

const RULE: &str = "is not supported; a static_layer and an admin_layer are";

fn limit(key: &str, value: &Value, at: &At<'_>) -> Result<usize, ConfigError> {
    if key != MAX_CONNECTIONS {
        return Err(at.refuse(shown(value), format!("nothing reads this key; {MAX_CONNECTIONS} is honoured")));
    }
    let number = match &value.kind {
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && *number >= 1.0 => Some(*number as usize),
        Some(Kind::StringValue(text)) => text.parse().ok().filter(|number| *number > 0),
        _ => None,
    };
    number.ok_or_else(|| at.refuse(shown(value), "is a whole number, at least 1"))
}

fn shown(value: &Value) -> String {
    match &value.kind {
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::BoolValue(value)) => value.to_string(),
        _ => "a value".to_owned(),
    }
}

/// Keys may be written with dots, or one inside the other.
fn flat(values: &Struct) -> BTreeMap<String, &Value> {
    let mut all = BTreeMap::new();
    for (key, value) in &values.fields {
        match &value.kind {
            Some(Kind::StructValue(inner)) => {
                all.extend(flat(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            _ => drop(all.insert(key.clone(), value)),
        }
    }
    all
}
