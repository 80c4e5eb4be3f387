//! Whether a route takes a request: path, headers, query parameters, share, gRPC.

use std::borrow::Cow;

use regex::bytes::Regex;

use crate::config::{Fraction, StringMatch};
use crate::http::headers::Headers;
use crate::http::message::RequestHead;

/// `envoy.config.route.v3.RouteMatch`: all conditions must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    pub path: PathMatch,
    pub case_sensitive: bool,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub fraction: Option<Fraction>,
    /// Only gRPC requests, by content type.
    pub grpc: bool,
}

/// What the path (without its query) must be.
#[derive(Clone, Debug)]
pub enum PathMatch {
    Prefix(String),
    Exact(String),
    /// A prefix that ends at a slash or at the end of the path.
    SeparatedPrefix(String),
    Regex(PathRegex),
    /// `CONNECT` requests.
    Connect,
}

/// A pattern, anchored at both ends, and the text that every path begins with that it matches: most paths are told by
/// that alone.
#[derive(Clone, Debug)]
pub struct PathRegex {
    regex: Regex,
    prefix: String,
}

impl From<Regex> for PathRegex {
    fn from(regex: Regex) -> Self {
        Self { prefix: literal_prefix(regex.as_str()), regex }
    }
}

impl PathRegex {
    fn matches(&self, path: &[u8]) -> bool {
        path.starts_with(self.prefix.as_bytes()) && self.regex.is_match(path)
    }
}

/// The characters at the beginning of a pattern that stand for themselves and must be there. Empty where that takes
/// more than a look: alternatives, flags.
fn literal_prefix(pattern: &str) -> String {
    let inner = pattern.strip_prefix(r"\A(?:").and_then(|pattern| pattern.strip_suffix(r")\z")).unwrap_or_default();
    let inner = inner.strip_prefix('^').unwrap_or(inner);
    if inner.contains('|') {
        return String::new();
    }
    let end = inner.find(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$']).unwrap_or(inner.len());
    let mut prefix = inner[..end].to_owned();
    if inner[end..].starts_with(['*', '?', '{', '+']) {
        prefix.pop();
    }
    prefix
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(a), Self::Prefix(b))
            | (Self::Exact(a), Self::Exact(b))
            | (Self::SeparatedPrefix(a), Self::SeparatedPrefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.regex.as_str() == b.regex.as_str(),
            (Self::Connect, Self::Connect) => true,
            _ => false,
        }
    }
}

/// `envoy.config.route.v3.HeaderMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// Lower case; `:method`, `:path`, `:authority` and `:scheme` are the parts of the head.
    pub name: String,
    pub rule: HeaderRule,
    pub invert: bool,
    pub missing_as_empty: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HeaderRule {
    Present(bool),
    /// A decimal integer from the first number up to, but without, the second.
    Range(i64, i64),
    Text(StringMatch),
}

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    pub name: String,
    pub rule: QueryRule,
}

#[derive(Clone, Debug, PartialEq)]
pub enum QueryRule {
    Present,
    Text(StringMatch),
}

impl RouteMatch {
    /// `path` is the head's without its query; `random` decides on `fraction`.
    pub(super) fn matches(&self, head: &RequestHead, path: &str, random: u64) -> bool {
        self.path.matches(head, path, self.case_sensitive)
            && self.fraction.is_none_or(|fraction| fraction.hits(random.rotate_left(32)))
            && (!self.grpc || head.is_grpc())
            && self.headers.iter().all(|rule| rule.matches(head))
            && self.query.iter().all(|rule| rule.matches(head))
    }
}

impl RouteMatch {
    /// Whether the conditions hold for a request, for those who have no routes (the rules of a filter).
    pub fn takes(&self, head: &RequestHead, random: u64) -> bool {
        self.matches(head, path_only(&head.path), random)
    }
}

impl PathMatch {
    fn matches(&self, head: &RequestHead, path: &str, case_sensitive: bool) -> bool {
        if path.is_empty() {
            return matches!(self, Self::Connect) && head.method == "CONNECT";
        }
        match self {
            Self::Prefix(prefix) => starts_with(path, prefix, case_sensitive),
            Self::Exact(exact) => path.len() == exact.len() && starts_with(path, exact, case_sensitive),
            Self::SeparatedPrefix(prefix) => {
                starts_with(path, prefix, case_sensitive)
                    && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
            }
            Self::Regex(regex) => regex.matches(path.as_bytes()),
            Self::Connect => head.method == "CONNECT",
        }
    }
}

fn starts_with(path: &str, prefix: &str, case_sensitive: bool) -> bool {
    path.as_bytes().get(..prefix.len()).is_some_and(|head| {
        if case_sensitive { head == prefix.as_bytes() } else { head.eq_ignore_ascii_case(prefix.as_bytes()) }
    })
}

/// The path without query and fragment.
pub fn path_only(path: &str) -> &str {
    &path[..memchr::memchr2(b'?', b'#', path.as_bytes()).unwrap_or(path.len())]
}

impl HeaderMatch {
    pub fn matches(&self, head: &RequestHead) -> bool {
        match head_part(head, &self.name) {
            Some(part) => self.matches_value(part),
            None => self.matches_header(&head.headers),
        }
    }

    /// Of a header that stands there several times, one value has to hold (Envoy, `match_headers_individually`).
    pub fn matches_header(&self, headers: &Headers) -> bool {
        let mut values = headers.get_all(&self.name);
        let first = values.next();
        let Some(second) = values.next() else { return self.matches_value(first) };
        let plain = |value| self.matches_value(Some(value)) != self.invert;
        (first.is_some_and(plain) || plain(second) || values.any(plain)) != self.invert
    }

    /// Decides on a value of the header, `None` where it is absent. An absent header matches no rule on values, not even
    /// an inverted one, unless it counts as empty.
    pub fn matches_value(&self, value: Option<&[u8]>) -> bool {
        let value = value.or(self.missing_as_empty.then_some(&[][..]));
        match (&self.rule, value) {
            (HeaderRule::Present(wanted), value) => (value.is_some() == *wanted) != self.invert,
            (_, None) => false,
            (HeaderRule::Text(rule), Some(value)) => rule.matches(value) != self.invert,
            (HeaderRule::Range(start, end), Some(value)) => {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(|number| (*start..*end).contains(&number)) != self.invert
            }
        }
    }
}

/// A part of the head by the name of its pseudo-header; within, `None` if it is empty.
#[allow(clippy::option_option)]
fn head_part<'a>(head: &'a RequestHead, name: &str) -> Option<Option<&'a [u8]>> {
    let part = match name {
        ":method" => &head.method,
        ":path" => &head.path,
        ":authority" | "host" => &head.authority,
        ":scheme" => head.scheme,
        _ => return None,
    };
    Some((!part.is_empty()).then_some(part.as_bytes()))
}

/// A header or part of the head by its lower-case name; repeated headers are joined by a comma.
pub fn header_value<'a>(head: &'a RequestHead, name: &str) -> Option<Cow<'a, [u8]>> {
    match head_part(head, name) {
        Some(part) => part.map(Cow::Borrowed),
        None => head.headers.joined(name),
    }
}

impl QueryMatch {
    fn matches(&self, head: &RequestHead) -> bool {
        let Some(query) = head.query() else { return false };
        let value = query.split('#').next().unwrap_or_default().split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == self.name).then_some(value)
        });
        match (&self.rule, value) {
            (_, None) => false,
            (QueryRule::Present, Some(_)) => true,
            (QueryRule::Text(rule), Some(value)) => rule.matches(value.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_pattern_is_what_every_match_begins_with() {
        for (pattern, expected) in [
            ("^/svc1/[a-z]+/[0-9]+$", "/svc1/"),
            ("/a/b", "/a/b"),
            ("/ab*", "/a"),
            ("/ab?c", "/a"),
            ("/ab{0,2}", "/a"),
            ("/ä*", "/"),
            (r"/a\.b", "/a"),
            ("/a|/b", ""),
            ("(?i)/a", ""),
            ("(/a)?", ""),
            (".*", ""),
        ] {
            assert_eq!(literal_prefix(&format!(r"\A(?:{pattern})\z")), expected, "{pattern}");
        }
        assert_eq!(literal_prefix("/not/anchored"), "");
    }
}
