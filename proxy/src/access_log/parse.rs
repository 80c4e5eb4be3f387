//! From the text of a format to its pieces.

use api::prost_types::{Struct, Value, value::Kind};

use super::FormatError;
use super::arguments::Command;
use super::format::{Json, Piece};

/// Splits a text at its `%…%` operators; `%%` is a percent sign.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('%') {
            literal.push('%');
            rest = tail;
            continue;
        }
        let place = text.len() - rest.len() + at;
        let end = end_of_operator(after).ok_or(FormatError::Unclosed(place))?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        let limited = Command::split(&after[..end], place)?.check()?;
        pieces.push(Piece::Value(limited));
        rest = &after[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Where the closing percent sign stands: outside parentheses, since a time format holds percent signs of its own.
fn end_of_operator(text: &str) -> Option<usize> {
    let mut inside = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            b'%' if !inside => return Some(index),
            _ => {}
        }
    }
    None
}

/// A JSON format's object.
pub(super) fn object(fields: &Struct, depth: usize) -> Result<Vec<(String, Json)>, FormatError> {
    fields.fields.iter().map(|(key, value)| Ok((key.clone(), json(value, depth)?))).collect()
}

fn json(value: &Value, depth: usize) -> Result<Json, FormatError> {
    if depth > 8 {
        return Err(FormatError::Deep);
    }
    Ok(match &value.kind {
        Some(Kind::StringValue(text)) => Json::Text(pieces(text)?),
        Some(Kind::StructValue(inner)) => Json::Object(object(inner, depth + 1)?),
        Some(Kind::ListValue(list)) => {
            Json::List(list.values.iter().map(|value| json(value, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(Kind::NumberValue(number)) => Json::Constant(constant(*number)),
        Some(Kind::BoolValue(flag)) => Json::Constant(flag.to_string()),
        Some(Kind::NullValue(_)) | None => Json::Constant("null".to_owned()),
    })
}

/// Whole numbers are numbers; others Envoy writes as text.
fn constant(number: f64) -> String {
    if number.fract() == 0.0 { number.to_string() } else { format!("\"{number}\"") }
}
