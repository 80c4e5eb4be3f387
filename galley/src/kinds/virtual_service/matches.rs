//! Conditions on requests.

use std::collections::BTreeMap;

use super::refs::{self, Context};
use super::{HeaderMatch, HttpMatch};
use crate::kinds::StringMatch;
use crate::kinds::check;
use crate::reader::{Object, Place};
use crate::yaml::Value;

const CLAIM: &str = "@request.auth.claims";

pub(super) fn read(place: &Place<'_>, context: &Context<'_>) -> Option<HttpMatch> {
    place.object(|o| HttpMatch {
        name: o.text("name"),
        uri: o.read("uri", |place| place.string_match(true)),
        ignore_uri_case: o.flag("ignoreUriCase"),
        scheme: o.read("scheme", |place| place.string_match(false)),
        method: o.read("method", |place| place.string_match(false)),
        authority: o.read("authority", |place| place.string_match(false)),
        headers: header_map(o, "headers", context),
        without_headers: header_map(o, "withoutHeaders", context),
        query_params: query_params(o),
        port: o.port("port"),
        source_labels: o.field("sourceLabels").map(|place| check::labels(&place)).unwrap_or_default(),
        source_namespace: o.text("sourceNamespace"),
        gateways: refs::gateways(o, context.scope),
        stat_prefix: o.text("statPrefix"),
    })
}

/// Whether the path is matched by a prefix, so that the prefix can be replaced.
pub(super) fn by_prefix(condition: &HttpMatch) -> bool {
    matches!(condition.uri, Some(StringMatch::Prefix(_)))
}

fn header_map(o: &Object<'_>, field: &'static str, context: &Context<'_>) -> BTreeMap<String, HeaderMatch> {
    let entries = o.field(field).map(|place| place.entries()).unwrap_or_default();
    let one = |(name, place): (&str, Place<'_>)| {
        if name.starts_with(CLAIM) {
            if context.in_mesh {
                place.error("claims of a token can be matched only at gateways, not in the mesh");
            }
        } else if !is_header_name(name) {
            place.error(format!("{name:?} is no header name"));
        }
        let key = if name.starts_with('@') { name.to_owned() } else { name.to_ascii_lowercase() };
        Some((key, value(&place)?))
    };
    entries.into_iter().filter_map(one).collect()
}

fn query_params(o: &Object<'_>) -> BTreeMap<String, HeaderMatch> {
    let entries = o.field("queryParams").map(|place| place.entries()).unwrap_or_default();
    let one = |(name, place): (&str, Place<'_>)| {
        if name.is_empty() {
            place.error("a query parameter's name must not be empty");
        }
        Some((name.to_owned(), value(&place)?))
    };
    entries.into_iter().filter_map(one).collect()
}

/// Null and `{}` ask only for presence.
fn value(place: &Place<'_>) -> Option<HeaderMatch> {
    match &place.node.value {
        Value::Null => Some(HeaderMatch::Present),
        Value::Map(pairs) if pairs.is_empty() => Some(HeaderMatch::Present),
        _ => place.string_match(false).map(HeaderMatch::Value),
    }
}

/// A token, or a pseudo header such as `:path`.
pub(super) fn is_header_name(name: &str) -> bool {
    let token = name.strip_prefix(':').unwrap_or(name);
    !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}
