//! Changes of path and host on the way upstream.

use std::borrow::Cow;

use regex::bytes::{Captures, Regex};

use super::RouteAction;
use super::matching::path_only;
use crate::http::message::RequestHead;

#[derive(Clone, Debug, PartialEq)]
pub enum PathRewrite {
    /// Replaces the first `matched` bytes of the path (the route's prefix).
    Prefix {
        matched: usize,
        with: String,
    },
    /// Replaces the path up to the query.
    Whole(String),
    Regex(RegexRewrite),
}

/// `RegexMatchAndSubstitute`: every match is replaced.
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    regex: Regex,
    substitution: Vec<Part>,
    text: String,
}

/// A literal, or the group of that number.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub enum HostRewrite {
    Literal(String),
    /// The name of the upstream host; see [`RouteAction::rewrite_auto_host`].
    Auto,
    /// The value of a request header, where it has one.
    Header(String),
    /// The path, changed by a pattern.
    PathRegex(RegexRewrite),
}

impl PartialEq for RegexRewrite {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.text == other.text
    }
}

impl RegexRewrite {
    /// `substitution` uses `\1` for a group and `\\` for a backslash, as RE2 does.
    pub fn new(regex: Regex, substitution: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = substitution.chars();
        while let Some(char) = chars.next() {
            match (char, chars.clone().next()) {
                ('\\', Some(next)) if next.is_ascii_digit() => {
                    chars.next();
                    let group = next as usize - '0' as usize;
                    if group >= regex.captures_len() {
                        return Err(format!("the pattern has no group {group}"));
                    }
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                    parts.push(Part::Group(group));
                }
                ('\\', Some('\\')) => {
                    chars.next();
                    literal.push('\\');
                }
                ('\\', _) => return Err("after `\\` comes a digit or another `\\`".to_owned()),
                (char, _) => literal.push(char),
            }
        }
        parts.push(Part::Literal(literal));
        Ok(Self { regex, substitution: parts, text: substitution.to_owned() })
    }

    fn apply(&self, text: &str) -> String {
        let expand = |captures: &Captures<'_>| {
            let mut out = Vec::new();
            for part in &self.substitution {
                match part {
                    Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                    Part::Group(group) => out.extend_from_slice(captures.get(*group).map_or(&[][..], |m| m.as_bytes())),
                }
            }
            out
        };
        match self.regex.replace_all(text.as_bytes(), expand) {
            Cow::Borrowed(_) => text.to_owned(),
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

impl PathRewrite {
    /// The new path for a path without its query.
    pub(super) fn new_path(&self, path: &str) -> String {
        match self {
            Self::Prefix { matched, with } => format!("{with}{}", path.get(*matched..).unwrap_or_default()),
            Self::Whole(with) => with.clone(),
            Self::Regex(rewrite) => rewrite.apply(path),
        }
    }
}

impl RouteAction {
    /// Rewrites host and path, keeping the old ones in `x-envoy-original-host` and `x-envoy-original-path`
    /// if the upstream is to know.
    pub fn rewrite(&self, head: &mut RequestHead, tells: bool) {
        if let Some(host) = self.new_host(head) {
            self.replace_host(head, host, tells);
        }
        if let Some(rewrite) = &self.path_rewrite
            && !head.path.is_empty()
        {
            let path = path_only(&head.path);
            let new = format!("{}{}", rewrite.new_path(path), &head.path[path.len()..]);
            let old = std::mem::replace(&mut head.path, new);
            if tells {
                head.headers.set("x-envoy-original-path", old);
            }
        }
    }

    /// For `auto_host_rewrite`, once the upstream host is known by name.
    pub fn rewrite_auto_host(&self, head: &mut RequestHead, hostname: &str) {
        if self.host_rewrite == Some(HostRewrite::Auto) && !hostname.is_empty() {
            self.replace_host(head, hostname.to_owned(), true);
        }
    }

    fn new_host(&self, head: &RequestHead) -> Option<String> {
        match self.host_rewrite.as_ref()? {
            HostRewrite::Literal(host) => Some(host.clone()),
            HostRewrite::Auto => None,
            HostRewrite::Header(name) => {
                head.headers.get_str(name).filter(|value| !value.is_empty()).map(str::to_owned)
            }
            HostRewrite::PathRegex(rewrite) => Some(rewrite.apply(path_only(&head.path))),
        }
    }

    fn replace_host(&self, head: &mut RequestHead, host: String, tells: bool) {
        let old = std::mem::replace(&mut head.authority, host);
        if self.append_x_forwarded_host && old != head.authority {
            let all = match head.headers.joined("x-forwarded-host") {
                Some(list) => [&list, &b","[..], old.as_bytes()].concat(),
                None => old.as_bytes().to_vec(),
            };
            head.headers.set("x-forwarded-host", all);
        }
        if tells {
            head.headers.set("x-envoy-original-host", old);
        }
    }
}
