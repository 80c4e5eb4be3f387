//! How a text is matched.

use regex::bytes::Regex;

/// A text that must be equal, begin, end, contain or fully match.
#[derive(Clone, Debug)]
pub enum StringMatch {
    Exact {
        text: String,
        ignore_case: bool,
    },
    Prefix {
        text: String,
        ignore_case: bool,
    },
    Suffix {
        text: String,
        ignore_case: bool,
    },
    Contains {
        text: String,
        ignore_case: bool,
    },
    /// Anchored at both ends.
    Regex(Regex),
}

impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Exact { text: a, ignore_case: x }, Self::Exact { text: b, ignore_case: y })
            | (Self::Prefix { text: a, ignore_case: x }, Self::Prefix { text: b, ignore_case: y })
            | (Self::Suffix { text: a, ignore_case: x }, Self::Suffix { text: b, ignore_case: y })
            | (Self::Contains { text: a, ignore_case: x }, Self::Contains { text: b, ignore_case: y }) => {
                a == b && x == y
            }
            _ => false,
        }
    }
}

impl StringMatch {
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact { text, ignore_case: false } => value == text.as_bytes(),
            Self::Exact { text, ignore_case: true } => value.eq_ignore_ascii_case(text.as_bytes()),
            Self::Prefix { text, ignore_case } => {
                value.get(..text.len()).is_some_and(|head| same(head, text, *ignore_case))
            }
            Self::Suffix { text, ignore_case } => {
                value.len().checked_sub(text.len()).is_some_and(|start| same(&value[start..], text, *ignore_case))
            }
            Self::Contains { text, ignore_case } => {
                text.is_empty() || value.windows(text.len()).any(|part| same(part, text, *ignore_case))
            }
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

fn same(value: &[u8], text: &str, ignore_case: bool) -> bool {
    if ignore_case { value.eq_ignore_ascii_case(text.as_bytes()) } else { value == text.as_bytes() }
}
