//! Values that several kinds hold: string matches, percentages, visibility, label selectors.

use std::collections::BTreeMap;
use std::fmt;

/// Labels of a workload, or the labels a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// Whether every label that `selector` asks for is among `labels`.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// How a text is compared (Istio `StringMatch`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    Exact(String),
    /// A plain string prefix: `/foo` also matches `/foobar`.
    Prefix(String),
    /// Matches the whole text.
    Regex(Pattern),
}

/// A regular expression in RE2's syntax that is known to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Longest pattern accepted, in characters.
    pub const MAX_LENGTH: usize = 1024;

    /// Checks length and syntax; the error says what is wrong in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a regular expression must not be empty".into());
        }
        if text.chars().count() > Self::MAX_LENGTH {
            return Err(format!("a regular expression has at most {} characters", Self::MAX_LENGTH));
        }
        match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("not a regular expression (RE2): {}", last_line(&error.to_string()))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// A share between 0 and 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

impl Percent {
    pub const ALL: Self = Self(100.0);

    /// The share in millionths, rounded: what Envoy's `FractionalPercent` counts.
    pub fn millionths(self) -> u32 {
        (self.0.clamp(0.0, 100.0) * 10_000.0).round() as u32
    }
}

/// Which namespaces may see an object; `.` is already replaced by the object's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExportTo {
    #[default]
    All,
    Namespaces(Vec<String>),
    /// Nobody (`~`, ServiceEntry only).
    Nobody,
}

impl ExportTo {
    pub fn visible_in(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace),
            Self::Nobody => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
