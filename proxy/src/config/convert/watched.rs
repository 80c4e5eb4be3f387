//! The directories that a resource says are watched for changes of the files it names (`watched_directory`).

use std::path::PathBuf;

use api::prost::Name;
use api::prost_types::Any;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

const DIRECTORY: &str = "envoy.config.core.v3.WatchedDirectory";

/// Of a resource that has been converted before, so that all its types are known.
pub fn watched_directories<M: Name>(message: &M) -> Vec<PathBuf> {
    let mut found = Vec::new();
    bytes(&M::full_name(), &message.encode_to_vec(), &mut found);
    found
}

fn bytes(name: &str, bytes: &[u8], found: &mut Vec<PathBuf>) {
    let descriptor = api::descriptor_pool().get_message_by_name(name);
    if let Some(Ok(message)) = descriptor.map(|descriptor| DynamicMessage::decode(descriptor, bytes)) {
        walk(&message, found);
    }
}

fn walk(message: &DynamicMessage, found: &mut Vec<PathBuf>) {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        if let Ok(any) = message.transcode_to::<Any>() {
            bytes(any.type_url.rsplit('/').next().unwrap_or_default(), &any.value, found);
        }
        return;
    }
    for (field, value) in message.fields() {
        match value {
            Value::Message(inner) if inner.descriptor().full_name() == DIRECTORY => {
                let path = inner.get_field_by_name("path");
                found.extend(path.as_deref().and_then(Value::as_str).map(PathBuf::from));
            }
            Value::Message(inner) => walk(inner, found),
            Value::List(values) if field.kind().as_message().is_some() => {
                values.iter().filter_map(Value::as_message).for_each(|inner| walk(inner, found));
            }
            Value::Map(entries) => entries.values().filter_map(Value::as_message).for_each(|inner| walk(inner, found)),
            _ => {}
        }
    }
}
