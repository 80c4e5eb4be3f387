//! A proxy's configuration in protobuf's JSON, as Envoy's config dump shows it. What is secret in it is said to be
//! there and not shown.

use api::prost_types::Any;
use pilot::{Kind, Resource, Snapshot};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value};

/// The fields that Envoy's .proto files mark as sensitive, and headers that carry credentials.
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

/// All resources of a type.
pub fn resources(snapshot: &Snapshot, kind: Kind) -> Vec<Value> {
    // The descriptors take megabytes: they live as long as this dump.
    let pool = api::descriptor_pool();
    snapshot.of(kind).iter().map(|resource| resource_json(&pool, resource)).collect()
}

/// The size of everything that a proxy runs on, encoded.
pub fn size(snapshot: &Snapshot) -> usize {
    let of_kind = |kind| snapshot.of(kind).iter().map(|resource| resource.any.value.len()).sum::<usize>();
    Kind::ALL.into_iter().map(of_kind).sum()
}

fn resource_json(pool: &DescriptorPool, resource: &Resource) -> Value {
    let mut shown = Map::new();
    shown.insert("name".into(), Value::from(&*resource.name));
    shown.insert("version".into(), Value::from(&*resource.version));
    shown.insert("resource".into(), packed(pool, &resource.any));
    Value::Object(shown)
}

/// Names as they stand in the .proto files.
pub fn packed(pool: &DescriptorPool, any: &Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = pool.get_message_by_name(name);
    let message = descriptor.and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.as_slice()).ok());
    let options = SerializeOptions::new().use_proto_field_name(true);
    let json = message.and_then(|message| message.serialize_with_options(serde_json::value::Serializer, &options).ok());
    let mut object = Map::from_iter([("@type".to_owned(), Value::from(any.type_url.as_str()))]);
    if let Some(Value::Object(fields)) = json {
        object.extend(fields);
    }
    let mut json = Value::Object(object);
    redact(&mut json);
    json
}

pub fn redact(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields
                .iter_mut()
                .for_each(|(name, value)| if SECRET.contains(&name.as_str()) { hide(value) } else { redact(value) });
            hide_credentials(fields);
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

/// The value of a header that carries a credential: `{key: "authorization", value: …}`.
fn hide_credentials(fields: &mut Map<String, Value>) {
    const HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];
    let name = fields.get("key").or_else(|| fields.get("name")).and_then(Value::as_str).unwrap_or_default();
    if HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)) {
        for value in ["value", "raw_value"] {
            if let Some(value) = fields.get_mut(value) {
                hide(value);
            }
        }
    }
}

/// Texts are replaced; what is around them stays, so that one sees where the secret comes from.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) => *text = "[redacted]".to_owned(),
        Value::Object(fields) => {
            let inner = fields.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "filename" | "@type"));
            inner.for_each(|(_, value)| hide(value));
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_secret_is_not_shown_and_where_it_comes_from_is() {
        let mut shown = json!({
            "private_key": { "inline_string": "KEY", "filename": "/k" },
            "headers": [{ "key": "Authorization", "value": "Bearer x" }, { "key": "via", "value": "y" }],
        });
        redact(&mut shown);
        let expected = json!({
            "private_key": { "inline_string": "[redacted]", "filename": "/k" },
            "headers": [{ "key": "Authorization", "value": "[redacted]" }, { "key": "via", "value": "y" }],
        });
        assert_eq!(shown, expected);
    }
}
