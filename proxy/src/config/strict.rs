//! Refuses every field that is set but not honoured. `supported.txt` lists the fields that are, by full name; a message
//! is walked as a dynamic one, so a field can be forgotten in the conversion but not overlooked here.

use std::collections::HashSet;
use std::sync::LazyLock;

use api::{prost, prost_types};
use prost::Name;
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::error::{At, ConfigError};

static SUPPORTED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("supported.txt").lines().map(str::trim).filter(|line| !line.is_empty()).collect());

const DEEPEST: usize = 64;

/// Checks all set fields of a message, those in its `Any` fields too.
pub(super) fn check<M: Name>(message: &M, at: &At<'_>) -> Result<(), ConfigError> {
    check_bytes(&M::full_name(), &message.encode_to_vec(), at, 0)
}

fn check_bytes(name: &str, bytes: &[u8], at: &At<'_>, depth: usize) -> Result<(), ConfigError> {
    if depth > DEEPEST {
        return Err(at.refuse(name, "messages are nested too deep"));
    }
    let Some(descriptor) = api::descriptor_pool().get_message_by_name(name) else {
        return Err(at.refuse(name, "this type is not supported"));
    };
    let message = DynamicMessage::decode(descriptor, bytes).map_err(|error| at.refuse(name, error.to_string()))?;
    walk(&message, at, depth)
}

fn walk(message: &DynamicMessage, at: &At<'_>, depth: usize) -> Result<(), ConfigError> {
    if let Some(unknown) = message.unknown_fields().next() {
        return Err(at.refuse(format_args!("field {}", unknown.number()), "this field is not known"));
    }
    for (field, value) in message.fields() {
        let at = at.field(field.name());
        if !SUPPORTED.contains(field.full_name()) {
            return Err(at.refuse(value, format!("{} is not supported", field.full_name())));
        }
        value_fields(value, &at, depth + 1)?;
    }
    Ok(())
}

fn value_fields(value: &Value, at: &At<'_>, depth: usize) -> Result<(), ConfigError> {
    match value {
        Value::Message(message) => inner(message, at, depth),
        Value::List(values) => {
            values.iter().enumerate().try_for_each(|(index, value)| value_fields(value, &at.index(index), depth))
        }
        Value::Map(entries) => entries.iter().try_for_each(|(key, value)| match key {
            MapKey::String(key) => value_fields(value, &at.key(key), depth),
            _ => value_fields(value, at, depth),
        }),
        _ => Ok(()),
    }
}

fn inner(message: &DynamicMessage, at: &At<'_>, depth: usize) -> Result<(), ConfigError> {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Any" => {
            let any: prost_types::Any = message.transcode_to().map_err(|error| at.refuse("Any", error.to_string()))?;
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            check_bytes(name, &any.value, at, depth)
        }
        name if name.starts_with("google.protobuf.") => Ok(()),
        _ if depth > DEEPEST => Err(at.refuse(descriptor.full_name(), "messages are nested too deep")),
        _ => walk(message, at, depth),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted_and_names_fields_that_exist() {
        let lines: Vec<_> = include_str!("supported.txt").lines().collect();
        assert!(lines.is_sorted(), "supported.txt is not sorted");
        for line in lines {
            let (message, field) = line.rsplit_once('.').expect("a full name");
            let descriptor = api::descriptor_pool().get_message_by_name(message);
            assert!(descriptor.is_some_and(|d| d.get_field_by_name(field).is_some()), "{line} does not exist");
        }
    }
}
