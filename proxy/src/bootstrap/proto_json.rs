//! Protobuf's JSON mapping, through the descriptors: values to messages, where what a message does not know is an
//! error, and messages to values, where what is secret is not shown.

use api::prost::{Message as _, Name};
use api::prost_types::Any;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;
use serde_path_to_error::Track;

use super::{BootstrapError, enums};

/// The message that a value stands for.
pub fn message<M: Name + Default>(value: Value) -> Result<M, BootstrapError> {
    let encoded = encoded::<M>(value)?;
    M::decode(encoded.as_slice())
        .map_err(|error| BootstrapError::Mapping { path: String::new(), message: error.to_string() })
}

/// The same, encoded.
pub fn encoded<M: Name>(mut value: Value) -> Result<Vec<u8>, BootstrapError> {
    let name = M::full_name();
    let wrong = |path: String, message: String| BootstrapError::Mapping { path, message };
    let descriptor = api::descriptor_pool().get_message_by_name(&name);
    let descriptor = descriptor.ok_or_else(|| wrong(name, "this type is not known".to_owned()))?;
    enums::in_their_case(&mut value, &descriptor);
    let mut track = Track::new();
    let values = serde_path_to_error::Deserializer::new(value, &mut track);
    let mapped = DynamicMessage::deserialize(descriptor, values);
    let mapped = mapped.map_err(|error| match track.path().to_string().as_str() {
        "." => wrong("the file".to_owned(), error.to_string()),
        path => wrong(path.to_owned(), error.to_string()),
    })?;
    Ok(mapped.encode_to_vec())
}

/// The JSON of a packed message, with its type, and names as they stand in the .proto files. What is secret in it is
/// said to be there and not shown.
pub fn packed(any: &Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = api::descriptor_pool().get_message_by_name(name);
    let message = descriptor.and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.as_slice()).ok());
    let options = SerializeOptions::new().use_proto_field_name(true);
    let json = message.and_then(|message| message.serialize_with_options(serde_json::value::Serializer, &options).ok());
    let mut object = serde_json::Map::from_iter([("@type".to_owned(), Value::from(any.type_url.as_str()))]);
    if let Some(Value::Object(fields)) = json {
        object.extend(fields);
    }
    let mut json = Value::Object(object);
    redact(&mut json);
    json
}

/// The fields that Envoy's .proto files mark as sensitive.
const SECRET: [&str; 8] = [
    "private_key",
    "private_key_provider",
    "password",
    "pkcs12",
    "session_ticket_keys",
    "generic_secret",
    "client_secret",
    "hmac_secret",
];

fn redact(json: &mut Value) {
    match json {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            secret if SECRET.contains(&secret) => hide(value),
            // Symmetric and private keys sign tokens, too.
            "local_jwks" if signs(value) => hide(value),
            _ => redact(value),
        }),
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Whether a key set holds more than what verifies.
fn signs(source: &Value) -> bool {
    let Some(text) = source.get("inline_string").and_then(Value::as_str) else {
        return source.get("inline_bytes").is_some();
    };
    // What cannot be read is nobody's to see.
    let Ok(set) = serde_json::from_str::<Value>(text) else { return true };
    let keys = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    keys.iter().any(|key| key.get("k").is_some() || key.get("d").is_some())
}

fn hide(json: &mut Value) {
    match json {
        Value::Object(fields) => fields.values_mut().for_each(hide),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(text) => *text = "[redacted]".to_owned(),
        _ => {}
    }
}
