//! Values of policies as Envoy's matchers: `*` alone, at the beginning or at the end is a wildcard.

use api::envoy::config::core::v3 as core;
use api::envoy::config::rbac::v3 as rbac;
use api::envoy::config::route::v3 as route;
use api::envoy::r#type::matcher::v3 as matcher;
use ipnet::IpNet;
use matcher::string_matcher::MatchPattern;
use matcher::{ListMatcher, OrMatcher, StringMatcher, ValueMatcher, list_matcher, value_matcher};
use route::header_matcher::HeaderMatchSpecifier;

use crate::wire;

/// `*` is any text but none.
pub(super) fn text(value: &str) -> StringMatcher {
    prefixed("", value)
}

/// The same behind a prefix that the value does not name.
pub(super) fn prefixed(prefix: &str, value: &str) -> StringMatcher {
    match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(""), _) => whole(".+"),
        (Some(end), _) if prefix.is_empty() => pattern(MatchPattern::Suffix(end.to_owned())),
        (Some(end), _) => whole(&format!("{}.*{}", escape(prefix), escape(end))),
        (None, Some(begin)) => wire::prefix(format!("{prefix}{begin}")),
        (None, None) => wire::exact(format!("{prefix}{value}")),
    }
}

pub(super) fn exactly(value: &str) -> StringMatcher {
    wire::exact(value)
}

/// An expression that the whole text must match.
pub(super) fn whole(regex: &str) -> StringMatcher {
    pattern(MatchPattern::SafeRegex(wire::regex(regex)))
}

fn pattern(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

/// A text as an expression that matches nothing else.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

pub(super) fn header(name: &str, value: &str) -> route::HeaderMatcher {
    let specifier = match value {
        "*" => HeaderMatchSpecifier::PresentMatch(true),
        value => HeaderMatchSpecifier::StringMatch(text(value)),
    };
    route::HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}

/// Hosts are compared in any case. One that is written without a port is meant with every port, and with the dot at
/// its end by which it is the same name: else either would be a way around a rule.
pub(super) fn host(value: &str) -> route::HeaderMatcher {
    if value == "*" {
        return header(":authority", value);
    }
    let has_port = value.rsplit_once(':').is_some_and(|(_, port)| port == "*" || port.parse::<u16>().is_ok());
    let name = match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(end), _) => format!(".*{}", escape(end)),
        (None, Some(begin)) => format!("{}.*", escape(begin)),
        (None, None) => escape(value),
    };
    let rest = if has_port { "" } else { r"\.?(:[0-9]*)?" };
    route::HeaderMatcher {
        name: ":authority".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(whole(&format!("(?i){name}{rest}")))),
        ..Default::default()
    }
}

pub(super) fn range(net: &IpNet) -> core::CidrRange {
    core::CidrRange { address_prefix: net.network().to_string(), prefix_len: Some(net.prefix_len().into()) }
}

pub(super) fn metadata(filter: &str, path: &[String], value: ValueMatcher) -> rbac::SourcedMetadata {
    let matches = matcher::MetadataMatcher {
        filter: filter.to_owned(),
        path: self::path(path.iter().cloned()),
        value: Some(value),
        ..Default::default()
    };
    rbac::SourcedMetadata { metadata_matcher: Some(matches), metadata_source: rbac::MetadataSource::Dynamic as i32 }
}

pub(super) fn path(keys: impl IntoIterator<Item = String>) -> Vec<matcher::metadata_matcher::PathSegment> {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    keys.into_iter().map(|key| PathSegment { segment: Some(Segment::Key(key)) }).collect()
}

pub(super) fn in_any_case(text: StringMatcher) -> StringMatcher {
    StringMatcher { ignore_case: !matches!(text.match_pattern, Some(MatchPattern::SafeRegex(_))), ..text }
}

pub(super) fn string_value(text: StringMatcher) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::StringMatch(text)) }
}

fn in_list(text: StringMatcher) -> ValueMatcher {
    let one_of = list_matcher::MatchPattern::OneOf(Box::new(string_value(text)));
    let list = ListMatcher { match_pattern: Some(one_of) };
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::ListMatch(Box::new(list))) }
}

/// A claim that is a text, or a list of texts of which one matches.
pub(super) fn claim(text: StringMatcher) -> ValueMatcher {
    let value_matchers = vec![in_list(text.clone()), string_value(text)];
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::OrMatch(OrMatcher { value_matchers })) }
}

/// What a filter left: `[value]` is looked for in a list.
pub(super) fn left_value(value: &str) -> ValueMatcher {
    match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(value) => in_list(text(value)),
        None => string_value(text(value)),
    }
}
