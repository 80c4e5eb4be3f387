//! Whether a value has the shape that the API's document promises: types, required fields, known words.

use serde_json::Value;

/// What does not fit, and where.
pub fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return misfit(document, document.pointer(pointer)?, value, at);
    }
    for either in ["oneOf", "anyOf"] {
        if let Some(forms) = schema[either].as_array() {
            let all: Option<Vec<String>> = forms.iter().map(|form| misfit(document, form, value, at)).collect();
            return all.map(|misfits| misfits.join(" or "));
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().find_map(|part| misfit(document, part, value, at));
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    if !types.iter().any(|name| is_a(value, name)) {
        return Some(format!("{at}: {value} is no {}", types.join(" or ")));
    }
    if let (Some(known), true) = (schema["enum"].as_array(), value.is_string()) {
        return (!known.contains(value)).then(|| format!("{at}: {value} is none of {known:?}"));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = required.filter(|_| value.is_object()).find(|name| value.get(name).is_none());
    if let Some(name) = missing {
        return Some(format!("{at}: there is no {name}"));
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let of_field =
        |(name, schema): (&String, &Value)| misfit(document, schema, value.get(name)?, &format!("{at}/{name}"));
    let items = value.as_array().into_iter().flatten();
    fields.filter_map(of_field).next().or_else(|| {
        let schema = schema.get("items")?;
        items.filter_map(|item| misfit(document, schema, item, &format!("{at}[]"))).next()
    })
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    }
}

#[test]
fn what_is_missing_or_of_another_type_is_told_by_its_place() {
    let document = serde_json::json!({ "components": { "schemas": { "A": {
        "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" }, "m": { "type": ["string", "null"] } },
    } } } });
    let list = serde_json::json!({ "type": "array", "items": { "$ref": "#/components/schemas/A" } });
    let of = |text: &str| misfit(&document, &list, &serde_json::from_str(text).unwrap(), "");
    assert_eq!(of(r#"[{"n": 1, "m": null}]"#), None);
    assert_eq!(of(r#"[{"m": "x"}]"#).unwrap(), "[]: there is no n");
    assert_eq!(of(r#"[{"n": "1"}]"#).unwrap(), "[]/n: \"1\" is no integer");
}
