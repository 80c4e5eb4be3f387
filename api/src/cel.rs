//! Expressions about requests, in the part of the Common Expression Language (CEL) that filters of access logs and tags
//! of metrics are written in, over Envoy's attributes. What is outside of that part is refused by name when an
//! expression is read, so that both ends of the wire agree on what it means.

mod attribute;
mod evaluate;
mod lexer;
mod parser;
mod value;

use std::fmt;

pub use attribute::{Attribute, Kind, Map};
pub use value::Value;

use parser::Tree;

/// An expression that was read. Two are equal if they are written alike.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    tree: Tree,
}

/// What is known of a request, or of a connection.
pub trait Attributes {
    /// `None` if there is no such thing in this request.
    fn attribute(&self, of: Attribute) -> Option<Value<'_>>;

    /// The value at a key, in lower case, of what holds several.
    fn entry(&self, of: Map, key: &str) -> Option<Value<'_>>;
}

/// Why a text is no expression that can be evaluated here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CelError {
    /// The byte at which it goes wrong.
    pub at: usize,
    pub message: String,
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, CelError> {
        Ok(Self { text: text.to_owned(), tree: parser::parse(text)? })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it can be true at all: not a text, a number, a time or a list.
    pub fn is_condition(&self) -> bool {
        self.tree.is_condition()
    }

    /// `None` where a part has no value, or the parts do not fit together: CEL's errors.
    pub fn evaluate<'a>(&'a self, of: &'a impl Attributes) -> Option<Value<'a>> {
        evaluate::tree(&self.tree, of)
    }

    /// Whether it is true. An error is not (Envoy, the CEL filter of access logs).
    pub fn holds(&self, of: &impl Attributes) -> bool {
        matches!(self.evaluate(of), Some(Value::Bool(true)))
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for CelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.at + 1, self.message)
    }
}

impl std::error::Error for CelError {}

#[cfg(test)]
mod tests;
