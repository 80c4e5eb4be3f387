//! Why a resource is refused: the path of the field, the value it has, and the rule it breaks.

use std::fmt;

/// Fit to be sent back in a NACK and to be read by the person who wrote the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {value}: {rule}")]
pub struct ConfigError {
    /// `filter_chains[0].filters[1].typed_config.stat_prefix`
    pub path: String,
    pub value: String,
    pub rule: String,
}

/// A place in a message; rendered only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root(&'a str),
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    pub fn root(message: &'a str) -> Self {
        Self { parent: None, step: Step::Root(message) }
    }

    /// The message that is a whole file: its fields are not prefixed.
    pub fn file() -> Self {
        Self::root("")
    }

    pub fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    pub fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    pub fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    pub fn refuse(&self, value: impl fmt::Display, rule: impl Into<String>) -> ConfigError {
        ConfigError { path: self.to_string(), value: short(&value.to_string()), rule: rule.into() }
    }

    fn is_outermost(&self) -> bool {
        matches!(self.parent, Some(At { step: Step::Root(""), .. }))
    }

    pub fn missing(&self) -> ConfigError {
        self.refuse("not set", "is required")
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Root(message) => f.write_str(message),
            Step::Field(name) if self.is_outermost() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

/// Enough of a value to recognise it.
fn short(value: &str) -> String {
    const LONGEST: usize = 120;
    if value.len() <= LONGEST {
        return value.to_owned();
    }
    let kept: String = value.chars().take(LONGEST).collect();
    format!("{kept}…")
}
