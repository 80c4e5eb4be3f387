//! Refuses every field that is set but not honoured. `supported.txt` lists the fields that are, by full name; a message
//! is walked as it is encoded, so a field can be forgotten in the conversion but not overlooked here. Only where
//! something stands out is it taken apart as a dynamic message, which knows the values and takes a hundred times as
//! long.

use std::sync::LazyLock;

use api::schema::{self, Message};
use api::{prost, prost_types};
use prost::{Message as _, Name};
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};

use super::error::{At, ConfigError};
use super::wire::{Entries, type_of};

/// By the place of a field among all.
static SUPPORTED: LazyLock<Vec<bool>> = LazyLock::new(|| {
    let mut supported = vec![false; schema::fields()];
    let lines = include_str!("supported.txt").lines().filter_map(|line| line.rsplit_once('.'));
    for field in lines.filter_map(|(message, field)| Message::named(message)?.field_named(field)) {
        supported[field.index()] = true;
    }
    supported
});

fn is_supported(message: &str, number: u32) -> bool {
    Message::named(message).and_then(|message| message.field(number)).is_some_and(|field| SUPPORTED[field.index()])
}

const DEEPEST: usize = 64;

/// Checks all set fields of a message, those in its `Any` fields too.
pub(super) fn check<M: Name>(message: &M, at: &At<'_>) -> Result<(), ConfigError> {
    let refused = refusals(&M::full_name(), &message.encode_to_vec(), at, 1).pop();
    refused.map_or(Ok(()), Err)
}

/// As `check`, for a file, of which everything is told that is wrong.
pub(super) fn check_all<M: Name>(encoded: &[u8], at: &At<'_>) -> Result<(), Vec<ConfigError>> {
    let refused = refusals(&M::full_name(), encoded, at, MOST_TOLD);
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn refusals(name: &str, bytes: &[u8], at: &At<'_>, most: usize) -> Vec<ConfigError> {
    if Message::named(name).is_some_and(|message| is_plain(message, bytes, 0)) {
        return Vec::new();
    }
    let mut check = Check { most, refused: Vec::new() };
    check.bytes(name, bytes, at, 0);
    check.refused
}

/// Whether every field is supported, at first glance.
fn is_plain(message: Message, bytes: &[u8], depth: usize) -> bool {
    match message.name() {
        _ if depth > DEEPEST => return false,
        ANY => return is_plain_any(bytes, depth),
        name if name.starts_with("google.protobuf.") => return true,
        _ => {}
    }
    let is_entry = message.is_map_entry();
    Entries::of(message, bytes).all(|entry| {
        let Some(entry) = entry else { return false };
        let inner = || entry.message.is_none_or(|(message, bytes)| is_plain(message, bytes, depth + 1));
        (is_entry || SUPPORTED[entry.field.index()]) && inner()
    })
}

fn is_plain_any(bytes: &[u8], depth: usize) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let Ok(any) = prost_types::Any::decode(bytes) else { return false };
    Message::named(type_of(&any.type_url)).is_some_and(|message| is_plain(message, &any.value, depth + 1))
}

const ANY: &str = "google.protobuf.Any";

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
            if is_supported(field.parent_message().full_name(), field.number()) {
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
            ANY => match message.transcode_to::<prost_types::Any>() {
                Ok(any) if any == prost_types::Any::default() => {}
                Ok(any) => self.bytes(type_of(&any.type_url), &any.value, at, depth),
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
    use super::*;
    use api::envoy::config::cluster::v3::Cluster;
    use api::prost_types::Any;

    fn at_first_glance(cluster: &Cluster) -> bool {
        is_plain(Message::named("envoy.config.cluster.v3.Cluster").unwrap(), &cluster.encode_to_vec(), 0)
    }

    fn with(options: Any) -> Cluster {
        let options = [("options".to_owned(), options)].into();
        Cluster { name: "c".into(), typed_extension_protocol_options: options, ..Default::default() }
    }

    fn both(cluster: &Cluster) -> (bool, bool) {
        (at_first_glance(cluster), check(cluster, &At::root("cluster")).is_ok())
    }

    #[test]
    fn what_passes_at_first_glance_has_only_supported_fields_however_deep() {
        let node = |id: &str| api::envoy::config::core::v3::Node { id: id.into(), ..Default::default() };
        assert_eq!(both(&Cluster { name: "c".into(), ..Default::default() }), (true, true));
        assert_eq!(both(&with(api::any(&Cluster { name: "c".into(), ..Default::default() }))), (true, true));
        assert_eq!(both(&Cluster { alt_stat_name: "not supported".into(), ..Default::default() }), (false, false));
        let hidden = api::any(&Cluster { alt_stat_name: "not supported".into(), ..Default::default() });
        assert_eq!(both(&with(api::any(&with(hidden)))), (false, false));
        assert_eq!(both(&with(Any { value: vec![0xf8, 0x7f, 1], ..api::any(&node("")) })), (false, false));
        assert_eq!(both(&with(Any { type_url: "x/y".into(), value: vec![] })), (false, false));
        let deep = (0..100).fold(api::any(&node("n")), |inner, _| api::any(&inner));
        assert_eq!(both(&with(deep)), (false, false));
    }

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
