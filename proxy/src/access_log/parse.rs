//! From the text of a format to its pieces.

use api::prost_types::{Struct, value::Kind};

use super::FormatError;
use super::format::{Json, Piece};
use super::operator::{HeaderPair, Operator, Plain};
use super::time_format::TimeFormat;

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
        let end = end_of_operator(after).ok_or(FormatError::Unclosed(text.len() - rest.len() + at))?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(operator(&after[..end])?);
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

fn operator(text: &str) -> Result<Piece, FormatError> {
    let bad = |problem: &str| FormatError::BadArgument { operator: text.to_owned(), problem: problem.to_owned() };
    let (body, length) = match text.rsplit_once(':') {
        Some((body, digits)) if is_number(digits) && (!body.contains('(') || body.ends_with(')')) => {
            (body, Some(digits.parse().map_err(|_| bad("the length is not a number"))?))
        }
        _ => (text, None),
    };
    let (name, argument) = match body.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').ok_or_else(|| bad("`)` is missing"))?)),
        None => (body, None),
    };
    let pair = |names| header_pair(names).ok_or_else(|| bad("a header name is expected"));
    let operator = match (name, argument) {
        ("START_TIME", argument) => Operator::StartTime(TimeFormat::parse(argument).map_err(|e| bad(&e))?),
        ("REQ", Some(names)) => Operator::Request(pair(names)?),
        ("RESP", Some(names)) => Operator::Response(pair(names)?),
        ("TRAILER", Some(names)) => Operator::Trailer(pair(names)?),
        ("REQ" | "RESP" | "TRAILER", None) => return Err(bad("a header name in parentheses is expected")),
        (name, argument) => match (Plain::parse(name), argument) {
            (Some(plain), None) => Operator::Plain(plain),
            (Some(_), Some(_)) => return Err(bad("the operator takes no argument")),
            (None, _) => return Err(FormatError::UnknownOperator(text.to_owned())),
        },
    };
    Ok(Piece::Value { operator, max_length: length })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn header_pair(names: &str) -> Option<HeaderPair> {
    let (first, second) = match names.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (names, None),
    };
    let valid = |name: &str| {
        let bare = name.strip_prefix(':').unwrap_or(name);
        !bare.is_empty() && bare.bytes().all(crate::http::headers::is_token)
    };
    (valid(first) && second.is_none_or(valid))
        .then(|| HeaderPair { first: first.to_ascii_lowercase(), second: second.map(str::to_ascii_lowercase) })
}

/// A JSON format's object.
pub(super) fn object(fields: &Struct, depth: usize) -> Result<Vec<(String, Json)>, FormatError> {
    if depth > 8 {
        return Err(FormatError::Json("too deep".to_owned()));
    }
    fields
        .fields
        .iter()
        .map(|(key, value)| {
            let value = match &value.kind {
                Some(Kind::StringValue(text)) => Json::Text(pieces(text)?),
                Some(Kind::NumberValue(number)) => Json::Constant(number.to_string()),
                Some(Kind::BoolValue(flag)) => Json::Constant(flag.to_string()),
                Some(Kind::StructValue(inner)) => Json::Object(object(inner, depth + 1)?),
                _ => return Err(FormatError::Json(format!("`{key}` is a list or null"))),
            };
            Ok((key.clone(), value))
        })
        .collect()
}
