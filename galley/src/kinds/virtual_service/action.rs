//! Redirects, direct responses, delegates and rewrites.

use base64::Engine;

use super::headers::is_authority;
use super::{
    Delegate, DirectBody, DirectResponse, Headers, Redirect, RedirectPath, RedirectPort, RegexRewrite, Rewrite,
};
use crate::diagnostic::code;
use crate::kinds::check;
use crate::reader::{Object, Place};

pub(super) fn redirect(o: &Object<'_>, prefix_only: bool) -> Redirect {
    const PORTS: [(&str, RedirectPort); 2] = [
        ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocolDefault),
        ("FROM_REQUEST_PORT", RedirectPort::FromRequestPort),
    ];
    o.at_most_one(&["uri", "prefixRewrite"]);
    o.at_most_one(&["port", "derivePort"]);
    o.at_least_one(&["uri", "prefixRewrite", "authority", "port", "derivePort", "scheme"]);
    let full = o.read("uri", |place| place.text()).map(RedirectPath::Full);
    let prefix = o.read("prefixRewrite", |place| {
        if !prefix_only {
            place.error("needs matches of the uri by prefix");
        }
        place.text().map(RedirectPath::Prefix)
    });
    let number = o.port("port").map(RedirectPort::Number);
    let code = o.read("redirectCode", |place| place.within(300, 399));
    Redirect {
        path: full.or(prefix),
        authority: o.text("authority"),
        port: number.or(o.choice("derivePort", &PORTS)),
        scheme: o.choice("scheme", &[("", ""), ("http", "http"), ("https", "https")]).unwrap_or_default().to_owned(),
        code: code.and_then(|code| u16::try_from(code).ok()).unwrap_or(301),
    }
}

pub(super) fn direct_response(o: &Object<'_>) -> DirectResponse {
    let status = o.required("status").and_then(|place| place.within(200, 599));
    DirectResponse {
        status: status.and_then(|status| u16::try_from(status).ok()).unwrap_or_default(),
        body: o.read("body", body),
    }
}

fn body(place: &Place<'_>) -> Option<DirectBody> {
    const LARGE: usize = 100 << 10;
    const MOST: usize = 1 << 20;
    let body = place.object(|o| {
        o.at_most_one(&["string", "bytes"]);
        let text = o.read("string", |place| place.text()).map(DirectBody::Text);
        text.or(o.read("bytes", bytes).map(DirectBody::Bytes))
    })??;
    let size = match &body {
        DirectBody::Text(text) => text.len(),
        DirectBody::Bytes(bytes) => bytes.len(),
    };
    if size > MOST {
        place.error(format!("a body has at most {MOST} bytes, not {size}"));
    } else if size > LARGE {
        place.warn(code::SCHEMA_WARNING, format!("{size} bytes are sent to every proxy; serve large bodies elsewhere"));
    }
    Some(body)
}

fn bytes(place: &Place<'_>) -> Option<Vec<u8>> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(place.text()?);
    decoded.map_err(|_| place.error("not base64")).ok()
}

pub(super) fn delegate(o: &Object<'_>, namespace: &str) -> Delegate {
    let name = o.required("name").and_then(|place| check::dns_label(&place)).unwrap_or_default();
    let own = namespace.to_owned();
    Delegate { name, namespace: Some(o.text("namespace")).filter(|name| !name.is_empty()).unwrap_or(own) }
}

pub(super) fn rewrite(o: &Object<'_>, headers: &Headers) -> Rewrite {
    o.at_most_one(&["uri", "uriRegexRewrite"]);
    o.at_least_one(&["uri", "uriRegexRewrite", "authority"]);
    let request = &headers.request;
    if o.has("authority") && request.set.keys().chain(request.add.keys()).any(|name| is_authority(name)) {
        o.error_at("authority", "the authority is already set by headers");
    }
    Rewrite {
        uri: o.read("uri", |place| place.text()),
        uri_regex: o.read("uriRegexRewrite", |place| place.object(regex_rewrite)?),
        authority: o.read("authority", |place| place.text()).filter(|authority| !authority.is_empty()),
    }
}

fn regex_rewrite(o: &Object<'_>) -> Option<RegexRewrite> {
    let pattern = o.required("match").and_then(|place| place.pattern());
    let substitution = o.required_text("rewrite");
    Some(RegexRewrite { pattern: pattern?, substitution })
}
