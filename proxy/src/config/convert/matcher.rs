//! String matchers.

use api::envoy::r#type::matcher::v3 as wire;
use regex::bytes::{Regex, RegexBuilder};

use crate::config::StringMatch;
use crate::config::error::{At, ConfigError};

pub(super) fn string(wire: &wire::StringMatcher, at: &At<'_>) -> Result<StringMatch, ConfigError> {
    use wire::string_matcher::MatchPattern;
    let ignore_case = wire.ignore_case;
    Ok(match &wire.match_pattern {
        Some(MatchPattern::Exact(text)) => StringMatch::Exact { text: text.clone(), ignore_case },
        Some(MatchPattern::Prefix(text)) => StringMatch::Prefix { text: text.clone(), ignore_case },
        Some(MatchPattern::Suffix(text)) => StringMatch::Suffix { text: text.clone(), ignore_case },
        Some(MatchPattern::Contains(text)) => StringMatch::Contains { text: text.clone(), ignore_case },
        Some(MatchPattern::SafeRegex(pattern)) => StringMatch::Regex(full_regex(pattern, &at.field("safe_regex"))?),
        Some(MatchPattern::Custom(_)) => return Err(at.field("custom").refuse("a custom matcher", "is not supported")),
        None => return Err(at.missing()),
    })
}

/// A pattern that must match the whole text.
pub(super) fn full_regex(wire: &wire::RegexMatcher, at: &At<'_>) -> Result<Regex, ConfigError> {
    // The pattern is tried alone first, so that an unbalanced one cannot close the group around it.
    regex(&wire.regex, &at.field("regex"))?;
    regex(&format!(r"\A(?:{})\z", wire.regex), &at.field("regex"))
}

pub(super) fn part_regex(wire: &wire::RegexMatcher, at: &At<'_>) -> Result<Regex, ConfigError> {
    regex(&wire.regex, &at.field("regex"))
}

fn regex(pattern: &str, at: &At<'_>) -> Result<Regex, ConfigError> {
    if pattern.is_empty() {
        return Err(at.missing());
    }
    let built = RegexBuilder::new(pattern).size_limit(1 << 20).dfa_size_limit(1 << 20).build();
    built.map_err(|error| at.refuse(pattern, error.to_string()))
}
