//! Conditions on dynamic metadata (Envoy, `envoy.type.matcher.v3.MetadataMatcher`).

use std::ops::Range;

use api::prost_types::value::Kind;

use crate::access_log::RequestInfo;
use crate::config::StringMatch;

#[derive(Clone, Debug, PartialEq)]
pub struct MetadataMatch {
    /// The filter that left it.
    pub namespace: String,
    pub path: Vec<String>,
    pub value: ValueMatch,
    pub invert: bool,
}

/// `envoy.type.matcher.v3.ValueMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatch {
    Null,
    Exactly(f64),
    /// From, and below.
    Within(Range<f64>),
    Text(StringMatch),
    Bool(bool),
    Present(bool),
    /// A list of which one element matches.
    List(Box<ValueMatch>),
    OneOf(Vec<ValueMatch>),
}

impl MetadataMatch {
    pub fn matches(&self, info: &RequestInfo) -> bool {
        let value = info.metadata_value(&self.namespace, self.path.iter().map(String::as_str));
        self.value.matches(value.as_ref().and_then(|value| value.kind.as_ref())) != self.invert
    }
}

impl ValueMatch {
    /// A value that is not there matches nothing.
    pub fn matches(&self, value: Option<&Kind>) -> bool {
        match (self, value) {
            (Self::OneOf(any), value) => any.iter().any(|one| one.matches(value)),
            (Self::Present(wanted), value) => *wanted && value.is_some(),
            (Self::Null, Some(Kind::NullValue(_))) => true,
            (Self::Exactly(wanted), Some(Kind::NumberValue(number))) => wanted == number,
            (Self::Within(range), Some(Kind::NumberValue(number))) => range.contains(number),
            (Self::Text(rule), Some(Kind::StringValue(text))) => rule.matches(text.as_bytes()),
            (Self::Bool(wanted), Some(Kind::BoolValue(flag))) => wanted == flag,
            (Self::List(one), Some(Kind::ListValue(list))) => {
                list.values.iter().any(|value| one.matches(value.kind.as_ref()))
            }
            _ => false,
        }
    }
}
