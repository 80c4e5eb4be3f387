//! Prints values of metadata: a text as it is, everything else as JSON.

use api::prost_types::{ListValue, Struct, Value, value::Kind};

use super::print::Printed;

/// What is at a path; without a path, everything.
pub(super) fn print_at(all: &Struct, path: &[String], out: &mut Vec<u8>) -> Printed {
    let Some((first, rest)) = path.split_first() else {
        out.extend_from_slice(object(all).to_string().as_bytes());
        return Printed::Json;
    };
    match (all.fields.get(first), rest) {
        (None, _) => Printed::Absent,
        (Some(value), []) => print(value, out),
        (Some(Value { kind: Some(Kind::StructValue(inner)) }), rest) => print_at(inner, rest, out),
        (Some(_), _) => Printed::Absent,
    }
}

fn print(value: &Value, out: &mut Vec<u8>) -> Printed {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Printed::Absent,
        Some(Kind::StringValue(text)) => {
            out.extend_from_slice(text.as_bytes());
            Printed::Text
        }
        Some(_) => {
            out.extend_from_slice(json(value).to_string().as_bytes());
            Printed::Json
        }
    }
}

/// What is at a path, as a span's tag has it.
pub fn text(all: &Struct, path: &[String]) -> Option<String> {
    let mut out = Vec::new();
    (print_at(all, path, &mut out) != Printed::Absent).then(|| String::from_utf8_lossy(&out).into_owned())
}

fn object(value: &Struct) -> serde_json::Value {
    value.fields.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::BoolValue(flag)) => (*flag).into(),
        // A whole number has no point.
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::StructValue(inner)) => object(inner),
        Some(Kind::ListValue(ListValue { values })) => values.iter().map(json).collect(),
    }
}
