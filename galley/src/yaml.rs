//! YAML (and so JSON) as a tree in which every value knows its line and column.

mod build;
mod scalar;
mod seek;

pub(crate) use build::parse;
pub(crate) use seek::place;

/// Line and column, both from 1; zero when the tree did not come from a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub value: Value,
    pub at: Mark,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    pub key: String,
    pub at: Mark,
    pub value: Node,
}

/// A text that is no YAML, or more than is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub at: Mark,
    pub message: String,
}

impl Node {
    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(pairs) => pairs.iter().find(|pair| pair.key == key).map(|pair| &pair.value),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What the value is, in an operator's word.
    pub fn type_name(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(pairs) => {
                Json::Object(pairs.iter().map(|pair| (pair.key.clone(), pair.value.to_json())).collect())
            }
        }
    }

    /// A tree without places, of a value that was once checked with them.
    pub fn of_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.clone()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::of_json).collect()),
            Json::Object(fields) => Value::Map(fields.iter().map(|(key, value)| Pair::of_json(key, value)).collect()),
        };
        Self { value, at: Mark::default() }
    }
}

impl Pair {
    fn of_json(key: &str, value: &serde_json::Value) -> Self {
        Self { key: key.to_owned(), at: Mark::default(), value: Node::of_json(value) }
    }
}
