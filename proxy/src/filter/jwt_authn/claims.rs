//! Claims as headers and metadata get them.

use api::prost_types::{ListValue, Struct, Value, value::Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::jwt::{Status, Token, to_json};

/// The payload as it came, perhaps padded to a multiple of four.
pub fn payload(token: &Token, padded: bool) -> String {
    let mut text = token.payload_text.trim_end_matches('=').to_owned();
    while padded && !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// A claim as the value of a header: objects and lists as JSON in base64; nothing for null and for empty text.
pub fn header_value(claim: &Value) -> Option<String> {
    match claim.kind.as_ref()? {
        Kind::StringValue(text) => (!text.is_empty()).then(|| text.clone()),
        Kind::BoolValue(truth) => Some(truth.to_string()),
        Kind::NumberValue(number) => Some(self::number(*number)),
        Kind::NullValue(_) => None,
        Kind::StructValue(_) | Kind::ListValue(_) => Some(STANDARD.encode(to_json(claim).to_string())),
    }
}

/// Whole numbers that fit are written so, others with six digits (Envoy, as C++ writes a double).
fn number(number: f64) -> String {
    if number.fract() == 0.0 && (0.0..u64::MAX as f64).contains(&number) {
        return (number as u64).to_string();
    }
    format!("{number:.6}")
}

pub fn object(fields: Struct) -> Kind {
    Kind::StructValue(fields)
}

/// A payload whose named claims are lists (`normalize_payload_in_metadata`).
pub fn normalized(payload: &Struct, space_delimited: &[String]) -> Struct {
    let mut payload = payload.clone();
    for name in space_delimited {
        if let Some(Value { kind: Some(kind) }) = payload.fields.get_mut(name)
            && let Kind::StringValue(text) = kind
        {
            let word = |word: &str| Value { kind: Some(Kind::StringValue(word.to_owned())) };
            let values = text.split(' ').filter(|word| !word.is_empty()).map(word).collect();
            *kind = Kind::ListValue(ListValue { values });
        }
    }
    payload
}

/// `failed_status_in_metadata`
pub fn failure(status: Status) -> Kind {
    let value = |kind| Value { kind: Some(kind) };
    let code = value(Kind::NumberValue(f64::from(status.code())));
    let message = value(Kind::StringValue(status.text().to_owned()));
    object(Struct { fields: [("code".to_owned(), code), ("message".to_owned(), message)].into() })
}
