//! Who is asked about requests that AuthorizationPolicies with action CUSTOM cover (Istio
//! `EnvoyExternalAuthorizationHttpProvider` and `…GrpcProvider`).

use std::time::Duration;

use super::provider::{ServicePort, service};
use crate::kinds::check;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, PartialEq)]
pub struct Authorizer {
    pub service: ServicePort,
    pub timeout: Option<Duration>,
    /// Whether requests go on where nobody answers.
    pub fail_open: bool,
    pub clear_route_cache: bool,
    /// Of the answer to a request about which nobody answered; `None`: 403.
    pub status_on_error: Option<u16>,
    pub body: Option<AskedBody>,
    pub by: AskedBy,
}

/// How much of a request's body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedBody {
    pub most_bytes: u32,
    pub partial: bool,
    pub as_bytes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedBy {
    Grpc,
    /// Names of headers may have `*` at one end.
    Http {
        path_prefix: String,
        headers: Vec<String>,
        more_headers: Vec<(String, String)>,
        upstream_on_allow: Vec<String>,
        downstream_on_allow: Vec<String>,
        downstream_on_deny: Vec<String>,
    },
}

pub(super) fn http(o: &Object<'_>) -> Authorizer {
    let path_prefix = o.text("pathPrefix");
    let is_path = path_prefix.starts_with('/') && path_prefix.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !path_prefix.is_empty() && !is_path {
        o.error_at("pathPrefix", "a path begins with /, and has no blanks");
    }
    o.at_most_one(&["includeRequestHeadersInCheck", "includeHeadersInCheck"]);
    let mut headers = names(o, "includeRequestHeadersInCheck");
    headers.extend(names(o, "includeHeadersInCheck"));
    authorizer(o, |o| AskedBy::Http {
        path_prefix,
        headers,
        more_headers: o.field("includeAdditionalHeadersInCheck").map(|place| added(&place)).unwrap_or_default(),
        upstream_on_allow: names(o, "headersToUpstreamOnAllow"),
        downstream_on_allow: names(o, "headersToDownstreamOnAllow"),
        downstream_on_deny: names(o, "headersToDownstreamOnDeny"),
    })
}

pub(super) fn grpc(o: &Object<'_>) -> Authorizer {
    authorizer(o, |_| AskedBy::Grpc)
}

fn authorizer(o: &Object<'_>, by: impl FnOnce(&Object<'_>) -> AskedBy) -> Authorizer {
    Authorizer {
        service: service(o),
        timeout: o.duration("timeout"),
        fail_open: o.flag("failOpen"),
        clear_route_cache: o.flag("clearRouteCache"),
        status_on_error: o.read("statusOnError", status),
        body: o.read("includeRequestBodyInCheck", |place| {
            place.object(|o| AskedBody {
                most_bytes: o.required("maxRequestBytes").and_then(|place| place.count()).unwrap_or_default(),
                partial: o.flag("allowPartialMessage"),
                as_bytes: o.flag("packAsBytes"),
            })
        }),
        by: by(o),
    }
}

/// A text, as Istio has it: "503".
fn status(place: &Place<'_>) -> Option<u16> {
    let text = place.text()?;
    let status = text.parse().ok().filter(|status| (200..600).contains(status));
    if status.is_none() {
        place.error(format!("{text:?} is no status from 200 to 599"));
    }
    status
}

fn names(o: &Object<'_>, name: &'static str) -> Vec<String> {
    o.each(name, |place| {
        let text = place.text()?;
        let bare = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(&text);
        if !check::is_token(bare) {
            place.error(format!("{text:?} is no name of a header; it may have one * at its beginning or end"));
        }
        Some(text.to_ascii_lowercase())
    })
}

fn added(place: &Place<'_>) -> Vec<(String, String)> {
    let header = |(name, place): (&str, Place<'_>)| {
        let value = place.text()?;
        if !check::is_token(name) || !check::is_header_value(&value) {
            place.error(format!("{name:?}: {value:?} is no header; a name is a token, a value is printable ASCII"));
        }
        Some((name.to_ascii_lowercase(), value))
    };
    place.entries().into_iter().filter_map(header).collect()
}
