//! Names of enum values in any case, as Envoy takes them: `round_robin` for `ROUND_ROBIN`.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

/// Writes the names of enum values in a message as its definition does. What is no such name is left for others to
/// refuse.
pub fn in_their_case(value: &mut Value, of: &MessageDescriptor) {
    let Value::Object(fields) = value else { return };
    if of.full_name() == "google.protobuf.Any" {
        let url = fields.get("@type").and_then(Value::as_str).unwrap_or_default();
        let name = url.rsplit('/').next().unwrap_or_default();
        if let Some(packed) = of.parent_pool().get_message_by_name(name) {
            in_their_case(value, &packed);
        }
        return;
    }
    for (name, value) in fields {
        let field = of.get_field_by_name(name).or_else(|| of.get_field_by_json_name(name));
        if let Some(field) = field {
            in_field(value, &field);
        }
    }
}

fn in_field(value: &mut Value, field: &FieldDescriptor) {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { return };
        if let Value::Object(values) = value {
            values.values_mut().for_each(|value| one(value, &entry.map_entry_value_field().kind()));
        }
        return;
    }
    match value {
        Value::Array(values) if field.is_list() => values.iter_mut().for_each(|value| one(value, &field.kind())),
        value => one(value, &field.kind()),
    }
}

fn one(value: &mut Value, kind: &Kind) {
    match (kind, &*value) {
        (Kind::Message(of), _) => in_their_case(value, of),
        (Kind::Enum(of), Value::String(name)) if of.get_value_by_name(name).is_none() => {
            let meant = of.values().find(|known| known.name().eq_ignore_ascii_case(name));
            if let Some(meant) = meant {
                *value = Value::String(meant.name().to_owned());
            }
        }
        _ => {}
    }
}
