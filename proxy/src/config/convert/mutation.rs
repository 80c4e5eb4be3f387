//! Lists of headers to add and to remove.

use api::envoy::config::core::v3 as wire;
use wire::header_value_option::HeaderAppendAction;

use crate::access_log::Format;
use crate::config::error::{At, ConfigError};
use crate::config::{AppendAction, HeaderAdd, HeaderMutation};
use crate::http::headers::is_token;

type Lists<'a> = (&'a [wire::HeaderValueOption], &'a [String]);

/// The four lists that a table, virtual host, route and weighted cluster have in common.
pub(super) fn lists(request: Lists<'_>, response: Lists<'_>, at: &At<'_>) -> Result<HeaderMutation, ConfigError> {
    for (index, wire) in request.0.iter().enumerate() {
        let key = wire.header.as_ref().map_or("", |header| &header.key);
        if key.starts_with(':') || key.eq_ignore_ascii_case("host") {
            let at = at.field("request_headers_to_add");
            let rule = "is not changed here; use the rewrites of the route, or the filter header_mutation";
            return Err(at.index(index).field("header").field("key").refuse(key, rule));
        }
    }
    Ok(HeaderMutation {
        request_add: adds(request.0, true, &at.field("request_headers_to_add"))?,
        request_remove: removes(request.1, &at.field("request_headers_to_remove"))?,
        response_add: adds(response.0, false, &at.field("response_headers_to_add"))?,
        response_remove: removes(response.1, &at.field("response_headers_to_remove"))?,
    })
}

/// A host that replaces the request's.
pub(super) fn authority(host: &str, at: &At<'_>) -> Result<HeaderAdd, ConfigError> {
    let value = Format::parse(&host.replace('%', "%%")).map_err(|error| at.refuse(host, error.to_string()))?;
    let action = AppendAction::OverwriteIfExistsOrAdd;
    Ok(HeaderAdd { name: ":authority".to_owned(), value, action, keep_empty: false })
}

pub(super) fn adds(
    wire: &[wire::HeaderValueOption],
    request: bool,
    at: &At<'_>,
) -> Result<Vec<HeaderAdd>, ConfigError> {
    wire.iter().enumerate().map(|(index, one)| add(one, request, &at.index(index))).collect()
}

fn add(wire: &wire::HeaderValueOption, request: bool, at: &At<'_>) -> Result<HeaderAdd, ConfigError> {
    let header = wire.header.as_ref().ok_or_else(|| at.field("header").missing())?;
    let name = header.key.to_ascii_lowercase();
    let place = at.field("header");
    let of_head = request && [":path", ":authority", ":method", "host"].contains(&name.as_str());
    if !of_head && !is_name(&name) {
        return Err(place.field("key").refuse(&header.key, "is not the name of a header"));
    }
    let text = std::str::from_utf8(&header.raw_value).ok().filter(|text| !text.is_empty());
    let text = text.unwrap_or(&header.value);
    if text.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(place.field("value").refuse(format_args!("{text:?}"), "a header value has no NUL, CR or LF"));
    }
    let value = Format::parse(text).map_err(|error| place.field("value").refuse(text, error.to_string()))?;
    let action = action(wire, at)?;
    Ok(HeaderAdd { name, value, action, keep_empty: wire.keep_empty_value })
}

#[expect(deprecated, reason = "control planes in use still send `append`")]
fn action(wire: &wire::HeaderValueOption, at: &At<'_>) -> Result<AppendAction, ConfigError> {
    if let Some(append) = wire.append {
        return Ok(if append { AppendAction::AppendIfExistsOrAdd } else { AppendAction::OverwriteIfExistsOrAdd });
    }
    match HeaderAppendAction::try_from(wire.append_action) {
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) => Ok(AppendAction::AppendIfExistsOrAdd),
        Ok(HeaderAppendAction::AddIfAbsent) => Ok(AppendAction::AddIfAbsent),
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => Ok(AppendAction::OverwriteIfExistsOrAdd),
        Ok(HeaderAppendAction::OverwriteIfExists) => Ok(AppendAction::OverwriteIfExists),
        Err(_) => Err(at.field("append_action").refuse(wire.append_action, "is not known")),
    }
}

fn removes(wire: &[String], at: &At<'_>) -> Result<Vec<String>, ConfigError> {
    let one = |(index, name): (usize, &String)| {
        let lower = name.to_ascii_lowercase();
        if is_name(&lower) && lower != "host" {
            Ok(lower)
        } else {
            Err(at.index(index).refuse(name, "is not the name of a header that can be removed"))
        }
    };
    wire.iter().enumerate().map(one).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token)
}
