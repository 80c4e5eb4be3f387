//! From pieces to lines and header values: what is absent, what is escaped, what is a number.

use std::io::Write as _;

use super::LogContext;
use super::format::{Json, Piece};
use super::operator::Limited;
use super::print::{Printed, print};

/// A log line: absent values are `-`, values are escaped.
pub(super) fn line(pieces: &[Piece], omit_empty: bool, context: &LogContext<'_>, out: &mut Vec<u8>) {
    let mut raw = Vec::with_capacity(64);
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value(limited) => {
                raw.clear();
                match limited.print(context, &mut raw) {
                    Printed::Absent if omit_empty => {}
                    Printed::Absent => out.push(b'-'),
                    Printed::Text => escape(&raw, out),
                    Printed::Number | Printed::Json => out.extend_from_slice(&raw),
                }
            }
        }
    }
}

/// A header value: absent values are empty, nothing is escaped.
pub(super) fn value(pieces: &[Piece], context: &LogContext<'_>, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value(limited) => {
                limited.print(context, out);
            }
        }
    }
}

/// The body of an answer: absent values are `-`, nothing is escaped.
pub(super) fn body(pieces: &[Piece], omit_empty: bool, context: &LogContext<'_>, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Value(limited) => {
                if limited.print(context, out) == Printed::Absent && !omit_empty {
                    out.push(b'-');
                }
            }
        }
    }
}

impl Limited {
    /// Appends the value, cut to its length where it is a text.
    pub fn print(&self, context: &LogContext<'_>, out: &mut Vec<u8>) -> Printed {
        let start = out.len();
        let printed = print(&self.operator, context, out);
        if let (Printed::Text, Some(most)) = (printed, self.max_length) {
            out.truncate(out.len().min(start.saturating_add(most)));
        }
        printed
    }
}

/// One JSON object. A leaf of exactly one operator keeps the type of its value, an absent one is null, as in Envoy.
pub(super) fn object(fields: &[(String, Json)], omit_empty: bool, context: &LogContext<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    let first = out.len();
    for (key, field) in fields {
        let start = out.len();
        if start > first {
            out.push(b',');
        }
        json_text(key.as_bytes(), out);
        out.push(b':');
        if !json(field, omit_empty, context, out) && omit_empty {
            out.truncate(start);
        }
    }
    out.push(b'}');
}

/// False if the value is null.
fn json(value: &Json, omit_empty: bool, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    match value {
        Json::Object(inner) => object(inner, omit_empty, context, out),
        Json::Constant(text) => {
            out.extend_from_slice(text.as_bytes());
            return text != "null";
        }
        Json::Text(pieces) => return leaf(pieces, omit_empty, context, out),
        Json::List(values) => {
            out.push(b'[');
            let first = out.len();
            for value in values {
                let start = out.len();
                if start > first {
                    out.push(b',');
                }
                if !json(value, omit_empty, context, out) && omit_empty {
                    out.truncate(start);
                }
            }
            out.push(b']');
        }
    }
    true
}

fn leaf(pieces: &[Piece], omit_empty: bool, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    let mut raw = Vec::new();
    if let [Piece::Value(limited)] = pieces {
        match limited.print(context, &mut raw) {
            Printed::Absent => {
                out.extend_from_slice(b"null");
                return false;
            }
            Printed::Number | Printed::Json => out.extend_from_slice(&raw),
            Printed::Text => json_text(&raw, out),
        }
        return true;
    }
    for piece in pieces {
        match piece {
            Piece::Literal(text) => raw.extend_from_slice(text.as_bytes()),
            Piece::Value(limited) => {
                if limited.print(context, &mut raw) == Printed::Absent && !omit_empty {
                    raw.push(b'-');
                }
            }
        }
    }
    json_text(&raw, out);
    true
}

/// A JSON string; what is not UTF-8 becomes the replacement character.
fn json_text(raw: &[u8], out: &mut Vec<u8>) {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(raw)).to_string();
    out.extend_from_slice(quoted.as_bytes());
}

/// Quotes, backslashes, control bytes and what is not UTF-8 are written as escapes, so that a value stays inside its
/// quotes and its line.
fn escape(raw: &[u8], out: &mut Vec<u8>) {
    if raw.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return out.extend_from_slice(raw);
    }
    for chunk in raw.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                    let _ = write!(out, "\\u{:04x}", char as u32);
                }
                char => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}
