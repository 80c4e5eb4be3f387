//! Conditions of routes.

use api::envoy::config::route::v3 as wire;
use api::envoy::r#type::matcher::v3::StringMatcher;
use wire::header_matcher::HeaderMatchSpecifier;
use wire::query_parameter_matcher::QueryParameterMatchSpecifier;
use wire::route_match::PathSpecifier;

use super::{basics, matcher};
use crate::config::StringMatch;
use crate::config::error::{At, ConfigError};
use crate::route::{HeaderMatch, HeaderRule, PathMatch, QueryMatch, QueryRule, RouteMatch};

pub(super) fn convert(wire: &wire::RouteMatch, at: &At<'_>) -> Result<RouteMatch, ConfigError> {
    let case_sensitive = wire.case_sensitive != Some(false);
    Ok(RouteMatch {
        path: path(wire.path_specifier.as_ref(), at)?,
        case_sensitive,
        headers: headers(&wire.headers, &at.field("headers"))?,
        query: queries(&wire.query_parameters, &at.field("query_parameters"))?,
        fraction: basics::runtime_fraction(wire.runtime_fraction.as_ref(), &at.field("runtime_fraction"))?,
        grpc: wire.grpc.is_some(),
    })
}

fn path(wire: Option<&PathSpecifier>, at: &At<'_>) -> Result<PathMatch, ConfigError> {
    Ok(match wire {
        Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(prefix.clone()),
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(path.clone()),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            if prefix.ends_with('/') || !prefix.starts_with('/') {
                let at = at.field("path_separated_prefix");
                return Err(at.refuse(prefix, "begins with `/` and does not end with it"));
            }
            PathMatch::SeparatedPrefix(prefix.clone())
        }
        Some(PathSpecifier::SafeRegex(wire)) => {
            PathMatch::Regex(matcher::full_regex(wire, &at.field("safe_regex"))?.into())
        }
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        Some(PathSpecifier::PathMatchPolicy(_)) => {
            return Err(at.field("path_match_policy").refuse("set", "is not supported"));
        }
        None => return Err(at.field("prefix").missing()),
    })
}

pub(super) fn headers(wire: &[wire::HeaderMatcher], at: &At<'_>) -> Result<Vec<HeaderMatch>, ConfigError> {
    wire.iter().enumerate().map(|(index, one)| header(one, &at.index(index))).collect()
}

#[expect(deprecated, reason = "control planes in use still send the old fields")]
pub(super) fn header(wire: &wire::HeaderMatcher, at: &At<'_>) -> Result<HeaderMatch, ConfigError> {
    use HeaderMatchSpecifier as Specifier;
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    let ignore_case = false;
    let rule = match &wire.header_match_specifier {
        None => HeaderRule::Present(true),
        Some(Specifier::PresentMatch(present)) => HeaderRule::Present(*present),
        Some(Specifier::RangeMatch(range)) => HeaderRule::Range(range.start, range.end),
        Some(Specifier::StringMatch(wire)) => HeaderRule::Text(matcher::string(wire, &at.field("string_match"))?),
        Some(Specifier::ExactMatch(text)) => HeaderRule::Text(StringMatch::Exact { text: text.clone(), ignore_case }),
        Some(Specifier::PrefixMatch(text)) => HeaderRule::Text(StringMatch::Prefix { text: text.clone(), ignore_case }),
        Some(Specifier::SuffixMatch(text)) => HeaderRule::Text(StringMatch::Suffix { text: text.clone(), ignore_case }),
        Some(Specifier::ContainsMatch(text)) => {
            HeaderRule::Text(StringMatch::Contains { text: text.clone(), ignore_case })
        }
        Some(Specifier::SafeRegexMatch(wire)) => {
            HeaderRule::Text(StringMatch::Regex(matcher::full_regex(wire, &at.field("safe_regex_match"))?))
        }
    };
    Ok(HeaderMatch {
        name: wire.name.to_ascii_lowercase(),
        rule,
        invert: wire.invert_match,
        missing_as_empty: wire.treat_missing_header_as_empty,
    })
}

pub(super) fn queries(wire: &[wire::QueryParameterMatcher], at: &At<'_>) -> Result<Vec<QueryMatch>, ConfigError> {
    wire.iter().enumerate().map(|(index, one)| query(one, &at.index(index))).collect()
}

fn query(wire: &wire::QueryParameterMatcher, at: &At<'_>) -> Result<QueryMatch, ConfigError> {
    let text = |wire: &StringMatcher| matcher::string(wire, &at.field("string_match"));
    let rule = match &wire.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => QueryRule::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(at.field("present_match").refuse("false", "only true is supported"));
        }
        Some(QueryParameterMatchSpecifier::StringMatch(wire)) => QueryRule::Text(text(wire)?),
    };
    Ok(QueryMatch { name: wire.name.clone(), rule })
}
