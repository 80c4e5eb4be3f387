//! Extensions of a bootstrap file that are packed as Istio packs them, and those that change nothing here.

use serde_json::Value;

use super::BootstrapError;

const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];
const INTERNAL_LISTENER: &str = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";

/// Replaces every typed struct by the message that it stands for, as Envoy does.
pub fn unwrap_structs(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let kind = fields.get("@type").and_then(Value::as_str).map(name_of).unwrap_or_default();
            if TYPED_STRUCTS.contains(&kind)
                && let Some(Value::String(of)) = fields.get("type_url").or_else(|| fields.get("typeUrl")).cloned()
            {
                let inner = fields.remove("value").unwrap_or_default();
                let mut inner = if let Value::Object(inner) = inner { inner } else { serde_json::Map::new() };
                inner.insert("@type".to_owned(), Value::String(of));
                *fields = inner;
            }
            fields.values_mut().for_each(unwrap_structs);
        }
        Value::Array(values) => values.iter_mut().for_each(unwrap_structs),
        _ => {}
    }
}

/// Takes out the extension that lets listeners be internal, and says how much they hold: there are no such listeners
/// here, and one that is asked for is refused itself.
pub fn take_internal_listeners(file: &mut Value) -> Result<(), BootstrapError> {
    let Value::Object(fields) = file else { return Ok(()) };
    let Some(Value::Array(extensions)) = fields.get_mut("bootstrap_extensions") else { return Ok(()) };
    for (index, extension) in extensions.iter().enumerate() {
        let config = extension.get("typed_config").and_then(Value::as_object);
        let is = |config: &serde_json::Map<String, Value>| {
            config.get("@type").and_then(Value::as_str).map(name_of) == Some(INTERNAL_LISTENER)
        };
        let Some(config) = config.filter(|config| is(config)) else { continue };
        let unknown = config.keys().find(|key| !["@type", "buffer_size_kb"].contains(&key.as_str()));
        if let Some(unknown) = unknown {
            return Err(BootstrapError::Mapping {
                path: format!("bootstrap_extensions[{index}].typed_config.{unknown}"),
                message: "unknown field".to_owned(),
            });
        }
    }
    extensions.retain(|extension| {
        let kind = extension.pointer("/typed_config/@type").and_then(Value::as_str).map(name_of);
        kind != Some(INTERNAL_LISTENER)
    });
    if extensions.is_empty() {
        fields.remove("bootstrap_extensions");
    }
    Ok(())
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
