//! YAML and JSON as one tree of values. A key that stands twice in a mapping is an error in both.

use api::Document;
use serde_json::Value;

use super::Format;

/// More than the largest configuration in use; less than what would exhaust memory.
const MOST_VALUES: usize = 20_000_000;

/// The value of a text, which holds one document.
pub fn parse(text: &str, format: Format) -> Result<Value, String> {
    // Windows' editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("the file is empty".to_owned());
    }
    match format {
        Format::Json => serde_json::from_str::<Document>(text).map(|document| document.0).map_err(|e| e.to_string()),
        Format::Yaml => yaml(text),
    }
}

fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: MOST_VALUES,
            max_nodes: MOST_VALUES,
            simple_key_max_lookahead: usize::MAX,
        },
    };
    let document = serde_saphyr::from_str_with_options::<Document>(text, options);
    let document = document.map_err(|error| error.render_with_formatter(&serde_saphyr::UserMessageFormatter))?;
    Ok(document.0)
}
