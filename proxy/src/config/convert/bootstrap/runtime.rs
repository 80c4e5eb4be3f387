//! `layered_runtime`. Keys that say what this proxy does in any case are taken with that value; every other is refused,
//! for a key that nothing reads would change nothing.

use std::collections::BTreeMap;

use api::envoy::config::bootstrap::v3::{LayeredRuntime, runtime_layer::LayerSpecifier};
use api::prost_types::value::Kind;
use api::prost_types::{Struct, Value};

use crate::config::Runtime;
use crate::config::error::{At, ConfigError};

const MAX_CONNECTIONS: &str = "overload.global_downstream_max_connections";
const FRAGMENTS: &str = "envoy.reloadable_features.http_reject_path_with_fragment";

/// Keys of which only one value is taken, the one that is true here.
const FIXED: [(&str, bool, &str); 2] = [
    (
        "envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst",
        true,
        "`use_original_dst` is always allowed",
    ),
    ("envoy.restart_features.use_eds_cache_for_ads", true, "endpoints that are known are always used again"),
];

/// Numbers that bound how large a pattern may be. Patterns have a bound of their own, which no key moves: one that is
/// larger is refused, whatever these say.
const PATTERN_SIZES: [&str; 2] = ["re2.max_program_size.error_level", "re2.max_program_size.warn_level"];

/// What the layers say, the later ones over the earlier. An admin layer is empty for as long as nobody can change it,
/// and there is no way to.
pub(super) fn convert(wire: Option<&LayeredRuntime>, at: &At<'_>) -> Result<Runtime, ConfigError> {
    let mut runtime = Runtime::default();
    let at = at.field("layers");
    for (index, layer) in wire.into_iter().flat_map(|wire| &wire.layers).enumerate() {
        let at = at.index(index);
        match &layer.layer_specifier {
            Some(LayerSpecifier::StaticLayer(values)) => {
                let at = at.field("static_layer");
                for (key, value) in flat(values) {
                    set(&mut runtime, &key, value, &at.key(&key))?;
                }
            }
            Some(LayerSpecifier::AdminLayer(_)) => {}
            Some(LayerSpecifier::DiskLayer(_)) => return Err(at.field("disk_layer").refuse("set", RULE)),
            Some(LayerSpecifier::RtdsLayer(_)) => return Err(at.field("rtds_layer").refuse("set", RULE)),
            None => return Err(at.field("static_layer").missing()),
        }
    }
    Ok(runtime)
}

const RULE: &str = "is not supported; a static_layer and an admin_layer are";

fn set(runtime: &mut Runtime, key: &str, value: &Value, at: &At<'_>) -> Result<(), ConfigError> {
    if key == MAX_CONNECTIONS {
        let number = number(value).filter(|number| *number > 0);
        let number = number.ok_or_else(|| at.refuse(shown(value), "is a whole number, at least 1"))?;
        runtime.max_connections = Some(number);
    } else if key == FRAGMENTS {
        let rejects = flag(value).ok_or_else(|| at.refuse(shown(value), "is true or false"))?;
        runtime.strips_fragments = !rejects;
    } else if let Some((_, fixed, why)) = FIXED.iter().find(|(known, ..)| *known == key) {
        if flag(value) != Some(*fixed) {
            return Err(at.refuse(shown(value), format!("is {fixed}: {why}")));
        }
    } else if PATTERN_SIZES.contains(&key) {
        number(value).ok_or_else(|| at.refuse(shown(value), "is a whole number"))?;
    } else {
        return Err(at.refuse(shown(value), "nothing reads this key; docs/envoy-compatibility.md lists those that are"));
    }
    Ok(())
}

fn number(value: &Value) -> Option<usize> {
    match &value.kind {
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && *number >= 0.0 => Some(*number as usize),
        Some(Kind::StringValue(text)) => text.parse().ok(),
        _ => None,
    }
}

fn flag(value: &Value) -> Option<bool> {
    match &value.kind {
        Some(Kind::BoolValue(value)) => Some(*value),
        Some(Kind::StringValue(text)) => text.parse().ok(),
        _ => None,
    }
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
