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
    let mut check = Check { most: 1, refused: Vec::new() };
    check.bytes(&M::full_name(), &message.encode_to_vec(), at, 0);
    check.refused.pop().map_or(Ok(()), Err)
}

/// As `check`, for a file, of which everything is told that is wrong.
pub(super) fn check_all<M: Name>(message: &M, at: &At<'_>) -> Result<(), Vec<ConfigError>> {
    let mut check = Check { most: MOST_TOLD, refused: Vec::new() };
    check.bytes(&M::full_name(), &message.encode_to_vec(), at, 0);
    if check.refused.is_empty() { Ok(()) } else { Err(check.refused) }
}

/// A file that is wrong in more places is wrong everywhere.
const MOST_TOLD: usize = 50;

struct Check {
    /// How many refusals are enough.
    most: usize,
    refused: Vec<ConfigError>,
}

impl Check {
    fn refuse(&mut self, error: ConfigError) {
        if self.refused.len() < self.most {
            self.refused.push(error);
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8], at: &At<'_>, depth: usize) {
        if depth > DEEPEST {
            return self.refuse(at.refuse(name, "messages are nested too deep"));
        }
        let Some(descriptor) = api::descriptor_pool().get_message_by_name(name) else {
            return self.refuse(at.refuse(name, "this type is not supported"));
        };
        match DynamicMessage::decode(descriptor, bytes) {
            Ok(message) => self.walk(&message, at, depth),
            Err(error) => self.refuse(at.refuse(name, error.to_string())),
        }
    }

    fn walk(&mut self, message: &DynamicMessage, at: &At<'_>, depth: usize) {
        if let Some(unknown) = message.unknown_fields().next() {
            self.refuse(at.refuse(format_args!("field {}", unknown.number()), "this field is not known"));
        }
        for (field, value) in message.fields() {
            if self.refused.len() == self.most {
                return;
            }
            let at = at.field(field.name());
            if SUPPORTED.contains(field.full_name()) {
                self.value(value, &at, depth + 1);
            } else {
                self.refuse(at.refuse(value, format!("{} is not supported", field.full_name())));
            }
        }
    }

    fn value(&mut self, value: &Value, at: &At<'_>, depth: usize) {
        match value {
            Value::Message(message) => self.inner(message, at, depth),
            Value::List(values) => {
                values.iter().enumerate().for_each(|(index, value)| self.value(value, &at.index(index), depth));
            }
            Value::Map(entries) => entries.iter().for_each(|(key, value)| match key {
                MapKey::String(key) => self.value(value, &at.key(key), depth),
                _ => self.value(value, at, depth),
            }),
            _ => {}
        }
    }

    fn inner(&mut self, message: &DynamicMessage, at: &At<'_>, depth: usize) {
        let descriptor = message.descriptor();
        match descriptor.full_name() {
            "google.protobuf.Any" => match message.transcode_to::<prost_types::Any>() {
                Ok(any) if any == prost_types::Any::default() => {}
                Ok(any) => self.bytes(any.type_url.rsplit('/').next().unwrap_or_default(), &any.value, at, depth),
                Err(error) => self.refuse(at.refuse("Any", error.to_string())),
            },
            name if name.starts_with("google.protobuf.") => {}
            name if depth > DEEPEST => self.refuse(at.refuse(name, "messages are nested too deep")),
            _ => self.walk(message, at, depth),
        }
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
