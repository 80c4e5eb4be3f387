//! How a value of a policy matches what a call has.

use galley::kinds::{PathForm, PathTemplate};
use serde_json::Value;

/// `*` alone is any text but none; at the beginning or at the end it stands for the rest.
pub(super) fn text(pattern: &str, value: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => !value.is_empty(),
        (Some(end), _) => value.ends_with(end),
        (None, Some(begin)) => value.starts_with(begin),
        (None, None) => pattern == value,
    }
}

/// `*` stands for any text, wherever it is.
fn anywhere(pattern: &str, value: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == value };
    let Some(value) = value.strip_prefix(first) else { return false };
    (0..=value.len()).filter(|at| value.is_char_boundary(*at)).any(|at| anywhere(rest, &value[at..]))
}

/// In any case; without a port, with every port, and with the dot by which it is the same name.
pub(super) fn host(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    if pattern == "*" || text(&pattern, &host) {
        return true;
    }
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let with_port = pattern.rsplit_once(':').is_some_and(|(_, port)| port == "*" || port.parse::<u16>().is_ok());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(&*host, |(name, _)| name);
    !with_port && [name, name.strip_suffix('.').unwrap_or(name)].iter().any(|name| text(&pattern, name))
}

/// The path is one of `spelled`.
pub(super) fn path(pattern: &str, path: &str) -> bool {
    let Some(steps) = PathTemplate::steps(pattern) else { return text(pattern, path) };
    let mut parts = path.split('/');
    let mut is_first = true;
    for step in steps {
        let part = match step {
            // The slash before it is there, whatever follows.
            PathTemplate::Rest => return parts.next().is_some(),
            _ => parts.next(),
        };
        let fits = match (step, part) {
            (PathTemplate::Literal(literal), Some(part)) => literal == part,
            (PathTemplate::One, Some(part)) => !part.is_empty() && !is_first,
            _ => false,
        };
        if !fits {
            return false;
        }
        is_first = false;
    }
    parts.next().is_none()
}

/// A path without its query, spelled as proxies spell it before rules see it.
pub(super) fn spelled(path: &str, form: PathForm) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let plain = match form {
        PathForm::Raw => return path.to_owned(),
        PathForm::Base | PathForm::Merged => unescaped(path, "-._~"),
        PathForm::Decoded => unescaped(path, r"-._~/\"),
    };
    let resolved = resolved(&plain.replace('\\', "/"));
    if form == PathForm::Base { resolved } else { merged(&resolved) }
}

/// Without `.` and `..` (RFC 3986 section 5.2.4).
fn resolved(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    let mut is_open = false;
    for step in path.split('/').skip(1) {
        is_open = matches!(step, "" | "." | "..");
        match step {
            "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    if is_open && steps.last().is_none_or(|last| !last.is_empty()) {
        steps.push("");
    }
    format!("/{}", steps.join("/"))
}

fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

/// What RFC 3986 section 2.3 calls unreserved: letters, digits and some; `others` are those.
fn unescaped(path: &str, others: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()).map(char::from);
        match code.filter(|c| c.is_ascii_alphanumeric() || others.contains(*c)) {
            Some(c) => {
                plain.push(c);
                rest = &rest[at + 3..];
            }
            None => {
                plain.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

/// Of a name `<trust domain>/ns/<namespace>/…`.
pub(super) fn namespace(pattern: &str, principal: &str) -> bool {
    let mut after = principal.split('/').skip(1);
    after.next() == Some("ns") && after.next().is_some_and(|name| anywhere(pattern, name))
}

/// `namespace/name`, or a name in the policy's own namespace.
pub(super) fn service_account(account: &str, own: &str, principal: &str) -> bool {
    let (namespace, name) = account.split_once('/').unwrap_or((own, account));
    let parts: Vec<&str> = principal.split('/').collect();
    matches!(parts[..], [_, "ns", ns, "sa", sa, ..] if ns == namespace && sa == name)
}

pub(super) fn trust_domain(pattern: &str, principal: &str) -> bool {
    principal.split_once('/').is_some_and(|(domain, _)| anywhere(pattern, domain))
}

/// `issuer/subject`, parted at the last slash.
pub(super) fn request_principal(pattern: &str, claims: &Value) -> bool {
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    let (Some(issuer), Some(subject)) = (claim("iss"), claim("sub")) else { return false };
    let (issuer_is, subject_is) = match pattern.rsplit_once('/') {
        _ if pattern == "*" => ("*", "*"),
        Some(both) => both,
        None if pattern.starts_with('*') => ("*", pattern),
        None if pattern.ends_with('*') => (pattern, "*"),
        None => (pattern, ""),
    };
    // The wildcard is of the end where it stands.
    let exactly_subject = pattern.starts_with('*') && pattern.contains('/');
    let exactly_issuer = !pattern.starts_with('*') && pattern.contains('/');
    let is = |exactly: bool, pattern: &str, value: &str| if exactly { pattern == value } else { text(pattern, value) };
    let no_wildcard = pattern != "*" && !pattern.starts_with('*') && !pattern.ends_with('*');
    is(exactly_issuer || no_wildcard, issuer_is, issuer) && is(exactly_subject || no_wildcard, subject_is, subject)
}

/// A text, or one text of a list; `scope` and `permission` are lists of words.
pub(super) fn claim(pattern: &str, path: &[String], claims: &Value) -> bool {
    let Some(value) = path.iter().try_fold(claims, |value, key| value.get(key)) else { return false };
    let is_words = matches!(path, [one] if one == "scope" || one == "permission");
    match value {
        Value::String(words) if is_words => words.split(' ').any(|word| text(pattern, word)),
        Value::String(value) => text(pattern, value),
        Value::Array(values) => values.iter().filter_map(Value::as_str).any(|value| text(pattern, value)),
        _ => false,
    }
}
