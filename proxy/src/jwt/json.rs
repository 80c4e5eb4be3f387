//! JSON objects, read as strictly as a signed text deserves: a name that stands twice is refused (RFC 8725 section
//! 2.6: two readers could take different ones), and so is what a double cannot hold.

use std::collections::BTreeMap;
use std::fmt;

use api::prost_types::{ListValue, Struct, Value, value::Kind};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Parses one object; `None` for anything else, and for anything after it.
pub fn parse(text: &[u8]) -> Option<Struct> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let node = Node::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match node.0.kind {
        Some(Kind::StructValue(object)) => Some(object),
        _ => None,
    }
}

/// A value as JSON, its names sorted.
pub fn to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::BoolValue(truth)) => (*truth).into(),
        Some(Kind::StructValue(object)) => {
            object.fields.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
        }
        Some(Kind::ListValue(list)) => list.values.iter().map(to_json).collect(),
        Some(Kind::NullValue(_)) | None => serde_json::Value::Null,
    }
}

/// Whole numbers print without a fraction.
fn number_to_json(number: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { (number as i64).into() } else { number.into() }
}

struct Node(Value);

impl Node {
    fn of<E>(kind: Kind) -> Result<Self, E> {
        Ok(Self(Value { kind: Some(kind) }))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Node::of(Kind::BoolValue(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Node::of(Kind::NumberValue(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Node::of(Kind::NumberValue(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Node::of(Kind::NumberValue(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Node::of(Kind::StringValue(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Node::of(Kind::StringValue(text))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Node::of(Kind::NullValue(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut values = Vec::new();
        while let Some(Node(value)) = items.next_element()? {
            values.push(value);
        }
        Node::of(Kind::ListValue(ListValue { values }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, Node(value))) = entries.next_entry::<String, Node>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Node::of(Kind::StructValue(Struct { fields }))
    }
}
