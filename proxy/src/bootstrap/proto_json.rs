//! Protobuf's JSON mapping: values to messages, through the descriptors. What the message does not know is an error.

use api::prost::{Message as _, Name};
use prost_reflect::DynamicMessage;
use serde_json::Value;
use serde_path_to_error::Track;

use super::BootstrapError;

/// The message that a value stands for.
pub fn message<M: Name + Default>(value: Value) -> Result<M, BootstrapError> {
    let name = M::full_name();
    let wrong = |path: String, message: String| BootstrapError::Mapping { path, message };
    let descriptor = api::descriptor_pool().get_message_by_name(&name);
    let descriptor = descriptor.ok_or_else(|| wrong(name, "this type is not known".to_owned()))?;
    let mut track = Track::new();
    let values = serde_path_to_error::Deserializer::new(value, &mut track);
    let mapped = DynamicMessage::deserialize(descriptor, values);
    let mapped = mapped.map_err(|error| match track.path().to_string().as_str() {
        "." => wrong("the file".to_owned(), error.to_string()),
        path => wrong(path.to_owned(), error.to_string()),
    })?;
    M::decode(mapped.encode_to_vec().as_slice()).map_err(|error| wrong(String::new(), error.to_string()))
}
