//! Matches on path, headers, method and query.

use std::collections::BTreeMap;

use api::envoy::config::route::v3 as route;
use galley::kinds::{HeaderMatch, HttpMatch, StringMatch};
use route::header_matcher::HeaderMatchSpecifier;
use route::query_parameter_matcher::QueryParameterMatchSpecifier;
use route::route_match::{ConnectMatcher, PathSpecifier};

use crate::wire;

/// Takes every request.
pub(crate) fn everything() -> route::RouteMatch {
    route::RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".into())), ..Default::default() }
}

/// Takes CONNECT requests.
pub(crate) fn connect() -> route::RouteMatch {
    route::RouteMatch { path_specifier: Some(PathSpecifier::ConnectMatcher(ConnectMatcher {})), ..Default::default() }
}

pub(super) fn compile(of: &HttpMatch) -> route::RouteMatch {
    let pseudo = [(":scheme", &of.scheme), (":method", &of.method), (":authority", &of.authority)];
    let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some(header(name, wire_match(value.as_ref()?), false)));
    route::RouteMatch {
        path_specifier: Some(path(of.uri.as_ref())),
        case_sensitive: of.ignore_uri_case.then_some(false),
        headers: pseudo.chain(headers(&of.headers, false)).chain(headers(&of.without_headers, true)).collect(),
        query_parameters: of.query_params.iter().map(query).collect(),
        ..Default::default()
    }
}

fn path(uri: Option<&StringMatch>) -> PathSpecifier {
    match uri {
        None => PathSpecifier::Prefix("/".into()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(StringMatch::Regex(pattern)) => PathSpecifier::SafeRegex(wire::regex(pattern.as_str())),
    }
}

fn headers(of: &BTreeMap<String, HeaderMatch>, invert: bool) -> impl Iterator<Item = route::HeaderMatcher> {
    of.iter().map(move |(name, value)| {
        let specifier = match value {
            HeaderMatch::Present => HeaderMatchSpecifier::PresentMatch(true),
            HeaderMatch::Value(value) => wire_match(value),
        };
        header(name, specifier, invert)
    })
}

/// An inverted match of a value also holds when the header is missing.
fn header(name: &str, specifier: HeaderMatchSpecifier, invert: bool) -> route::HeaderMatcher {
    let of_value = specifier != HeaderMatchSpecifier::PresentMatch(true);
    route::HeaderMatcher {
        name: name.to_owned(),
        invert_match: invert,
        treat_missing_header_as_empty: invert && of_value,
        header_match_specifier: Some(specifier),
    }
}

fn wire_match(value: &StringMatch) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::StringMatch(wire::string_match(value))
}

fn query((name, value): (&String, &HeaderMatch)) -> route::QueryParameterMatcher {
    let specifier = match value {
        HeaderMatch::Present => QueryParameterMatchSpecifier::PresentMatch(true),
        HeaderMatch::Value(value) => QueryParameterMatchSpecifier::StringMatch(wire::string_match(value)),
    };
    route::QueryParameterMatcher { name: name.clone(), query_parameter_match_specifier: Some(specifier) }
}
