//! Changes to request and response headers.

use std::collections::BTreeMap;

use super::matches::is_header_name;
use super::{HeaderOps, Headers};
use crate::reader::{Object, Place};

/// Reads the field `headers` of a rule or a destination.
pub(super) fn read(o: &Object<'_>) -> Headers {
    let headers = o.read("headers", |place| {
        place.object(|o| Headers {
            request: o.read("request", |place| place.object(|o| ops(o, true))).unwrap_or_default(),
            response: o.read("response", |place| place.object(|o| ops(o, false))).unwrap_or_default(),
        })
    });
    headers.unwrap_or_default()
}

fn ops(o: &Object<'_>, request: bool) -> HeaderOps {
    HeaderOps {
        set: values(o, "set", request),
        add: values(o, "add", request),
        remove: o.each("remove", |place| {
            let name = place.text()?;
            check_name(place, &name, false);
            Some(name)
        }),
    }
}

fn values(o: &Object<'_>, field: &'static str, request: bool) -> BTreeMap<String, String> {
    let entries = o.field(field).map(|place| place.entries()).unwrap_or_default();
    let one = |(name, place): (&str, Place<'_>)| {
        check_name(&place, name, request);
        let value = place.text()?;
        if let Err(why) = check_value(&value) {
            place.error(why);
        }
        Some((name.to_owned(), value))
    };
    entries.into_iter().filter_map(one).collect()
}

/// The authority may be changed in a request, under each of its names.
fn check_name(place: &Place<'_>, name: &str, authority_allowed: bool) {
    let authority = is_authority(name);
    if authority && authority_allowed {
        return;
    }
    if authority || name.starts_with(':') {
        place.error(format!("the header {name:?} cannot be changed here"));
    } else if !is_header_name(name) {
        place.error(format!("{name:?} is no header name"));
    }
}

pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// A value may hold Envoy's `%COMMAND(…)%`; a single percent sign is written `%%`.
fn check_value(value: &str) -> Result<(), String> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("a header's value must not hold control characters".into());
    }
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        let tail = &rest[start + 1..];
        let Some(end) = command_end(tail) else {
            return Err(format!("{value:?} has a % that nothing closes; write %% for a percent sign"));
        };
        let command = &tail[..end];
        if !command.is_empty() && !command.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Err(format!("%{command}% is no command; write %% for a percent sign"));
        }
        rest = &tail[end + 1..];
    }
    Ok(())
}

/// Where the closing `%` stands, outside parentheses.
fn command_end(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return Some(index),
            _ => {}
        }
    }
    None
}
