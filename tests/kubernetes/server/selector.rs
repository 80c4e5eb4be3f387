//! Label and field selectors.

use serde_json::Value;

/// Fields that can be selected on any object, and those of pods; of secrets it is their type.
const FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];
const POD_FIELDS: [&str; 4] = ["spec.nodeName", "spec.serviceAccountName", "status.phase", "status.podIP"];

/// Whether an object is selected; an error for a field that cannot be selected by.
pub fn fields(object: &Value, selector: &str, plural: &str) -> Result<bool, String> {
    for part in selector.split(',').filter(|part| !part.is_empty()) {
        let (field, is_equal, wanted) = match part.split_once("!=") {
            Some((field, wanted)) => (field, false, wanted),
            None => {
                let (field, wanted) = part.split_once('=').ok_or_else(|| format!("invalid selector: {part}"))?;
                (field, true, wanted.trim_start_matches('='))
            }
        };
        let is_known = FIELDS.contains(&field)
            || plural == "pods" && POD_FIELDS.contains(&field)
            || plural == "secrets" && field == "type";
        if !is_known {
            return Err(format!("field label not supported: {field}"));
        }
        let found = field.split('.').fold(object, |value, name| &value[name]).as_str().unwrap_or_default();
        if (found == wanted) != is_equal {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn labels(object: &Value, selector: &str) -> bool {
    let label = |name: &str| object["metadata"]["labels"][name.trim()].as_str();
    let set = |text: &str| text.trim_matches(['(', ')', ' ']).split(',').map(|word| word.trim().to_owned()).collect();
    split(selector).iter().all(|part| {
        let part = part.trim();
        if let Some((name, words)) = part.split_once(" notin ") {
            let words: Vec<String> = set(words);
            label(name).is_none_or(|value| !words.iter().any(|word| word == value))
        } else if let Some((name, words)) = part.split_once(" in ") {
            let words: Vec<String> = set(words);
            label(name).is_some_and(|value| words.iter().any(|word| word == value))
        } else if let Some((name, value)) = part.split_once("!=") {
            label(name) != Some(value)
        } else if let Some((name, value)) = part.split_once('=') {
            label(name) == Some(value.trim_start_matches('='))
        } else if let Some(name) = part.strip_prefix('!') {
            label(name).is_none()
        } else {
            label(part).is_some()
        }
    })
}

/// At the commas outside of parentheses.
fn split(selector: &str) -> Vec<String> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in selector.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}
