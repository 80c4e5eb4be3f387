//! `stats_config`: which metrics are shown, and with which labels.

use api::envoy::config::metrics::v3 as wire;
use regex::{Regex, RegexBuilder};
use wire::stats_matcher::StatsMatcher;
use wire::tag_specifier::TagValue;

use crate::config::convert::matcher;
use crate::config::error::{At, ConfigError};
use crate::stats::{Shown, StatsView, Tag, TagRule};

pub(super) fn convert(wire: Option<&wire::StatsConfig>, at: &At<'_>) -> Result<StatsView, ConfigError> {
    let none = wire::StatsConfig::default();
    let wire = wire.unwrap_or(&none);
    let tags = at.field("stats_tags");
    let one = |(index, wire): (usize, &_)| tag(wire, &tags.index(index));
    Ok(StatsView {
        own_tags_only: wire.use_all_default_tags == Some(false),
        tags: wire.stats_tags.iter().enumerate().map(one).collect::<Result<_, _>>()?,
        shown: shown(wire.stats_matcher.as_ref(), &at.field("stats_matcher"))?,
    })
}

fn tag(wire: &wire::TagSpecifier, at: &At<'_>) -> Result<Tag, ConfigError> {
    if wire.tag_name.is_empty() {
        return Err(at.field("tag_name").missing());
    }
    let rule = match &wire.tag_value {
        Some(TagValue::FixedValue(value)) => TagRule::Fixed(value.clone()),
        Some(TagValue::Regex(text)) if !text.is_empty() => {
            let (regex, begins) = pattern(text, &at.field("regex"))?;
            TagRule::Pattern { regex, begins }
        }
        _ => {
            return Err(at.field("regex").refuse("not set", "is required; tags of Envoy's own are on or off together"));
        }
    };
    Ok(Tag { name: wire.tag_name.clone(), rule })
}

/// The pattern, and what a name must begin with besides: what is looked ahead for after the first, fixed part of a
/// pattern (Istio writes `^listener(?=\.)…`) is what the name goes on with.
fn pattern(text: &str, at: &At<'_>) -> Result<(Regex, String), ConfigError> {
    let ahead = text.strip_prefix('^').and_then(|rest| rest.split_once("(?=\\")).and_then(|(fixed, rest)| {
        let (next, rest) = rest.split_at_checked(1)?;
        let rest = rest.strip_prefix(')')?;
        let plain = fixed.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let punctuation = next.bytes().all(|byte| byte.is_ascii_punctuation());
        (plain && punctuation).then(|| (format!("^{fixed}{rest}"), format!("{fixed}{next}")))
    });
    let (pattern, begins) = ahead.unwrap_or_else(|| (text.to_owned(), String::new()));
    let built = RegexBuilder::new(&pattern).size_limit(1 << 20).build();
    let regex = built.map_err(|error| at.refuse(text, error.to_string()))?;
    if regex.captures_len() < 2 {
        return Err(at.refuse(text, "has a group, which is what the tag takes out of the name"));
    }
    Ok((regex, begins))
}

fn shown(wire: Option<&wire::StatsMatcher>, at: &At<'_>) -> Result<Option<Shown>, ConfigError> {
    let (name, inclusive, list) = match wire.and_then(|wire| wire.stats_matcher.as_ref()) {
        None | Some(StatsMatcher::RejectAll(false)) => return Ok(None),
        Some(StatsMatcher::RejectAll(true)) => return Ok(Some(Shown { inclusive: true, patterns: Vec::new() })),
        Some(StatsMatcher::InclusionList(list)) => ("inclusion_list", true, list),
        Some(StatsMatcher::ExclusionList(list)) => ("exclusion_list", false, list),
    };
    let at = at.field(name);
    let at = at.field("patterns");
    let one = |(index, wire): (usize, &_)| matcher::string(wire, &at.index(index));
    let patterns = list.patterns.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(Some(Shown { inclusive, patterns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_istio_looks_ahead_for_is_what_a_name_begins_with() {
        let at = At::root("regex");
        let (regex, begins) = pattern(r"^listener(?=\.).*?\.http\.(([[:digit:]]*)\.)", &at).unwrap();
        assert_eq!(begins, "listener.");
        assert_eq!(&regex.captures("listener.x.http.80.rq").unwrap()[2], "80");
        assert!(pattern("a(?=b)(c)", &at).is_err() && pattern("no group", &at).is_err());
    }
}
