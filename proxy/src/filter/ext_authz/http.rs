//! A service that gets the request's head over HTTP and answers with a status: 200 lets the request go, a server error
//! is a failure, anything else goes to the client.

use api::prost_types::{Struct, Value, value::Kind};
use bytes::Bytes;

use super::attributes::{PARTIAL_BODY, clean, matches};
use super::verdict::{Action, Change, Outcome, Verdict};
use super::{ExtAuthz, Held, HttpService};
use crate::config::AppendAction;
use crate::filter::Stream;
use crate::filter::call::{Answer, call};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};

const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

pub async fn check(own: &ExtAuthz, service: &HttpService, held: Option<&Held>, stream: &Stream<'_>) -> Verdict {
    let head = check_head(own, service, held, stream.head);
    let body = held.map(|held| held.bytes.clone()).unwrap_or_default();
    match call(stream.worker(), &service.cluster, &head, body, service.timeout).await {
        Ok(answer) => read(service, answer),
        Err(error) => {
            tracing::debug!(cluster = %service.cluster, %error, "no answer from the authorization service");
            Verdict::default()
        }
    }
}

fn check_head(own: &ExtAuthz, service: &HttpService, held: Option<&Held>, head: &RequestHead) -> RequestHead {
    let mut headers = Headers::new();
    let length = held.map_or(0, |held| held.bytes.len());
    headers.append("content-length", length.to_string());
    let wanted = |name: &[u8]| {
        let listed = own.allowed_headers.as_ref().is_some_and(|allowed| matches(allowed, name));
        (name == b"authorization" || listed) && name != b"content-length" && !matches(&own.disallowed_headers, name)
    };
    for (name, value) in head.headers.iter().filter(|(name, _)| wanted(name)) {
        let known = std::str::from_utf8(name).ok().and_then(|name| Some((name, headers.joined(name)?.into_owned())));
        match known {
            _ if own.raw_headers => drop(headers.try_append(name, value)),
            Some((name, before)) => headers.set(name, [&before, &b","[..], clean(value).as_bytes()].concat()),
            None => drop(headers.try_append(name, clean(value).as_bytes())),
        }
    }
    if let Some(held) = held {
        headers.append(PARTIAL_BODY, held.partial.to_string());
    }
    for (name, value) in &service.headers_to_add {
        headers.set(name, value);
    }
    let path = match service.path_override.as_str() {
        "" => format!("{}{}", service.path_prefix, head.path),
        path => path.to_owned(),
    };
    RequestHead {
        method: head.method.clone(),
        scheme: head.scheme,
        authority: head.authority.clone(),
        path,
        version: Version::Http11,
        headers,
        upgrade: None,
    }
}

fn read(service: &HttpService, answer: Answer) -> Verdict {
    let headers = answer.head.headers;
    match answer.head.status {
        200 => allowed(service, &headers),
        500.. => Verdict::default(),
        status => denied(service, status, &headers, answer.body),
    }
}

fn allowed(service: &HttpService, headers: &Headers) -> Verdict {
    let mut verdict = Verdict::allowed();
    for (name, value) in headers.iter() {
        let text = String::from_utf8_lossy(name);
        if matches(&service.upstream_headers, name) {
            verdict.request.push(Change::set(&text, value));
        }
        if matches(&service.upstream_headers_to_append, name) {
            verdict.request.push(Change::new(&text, value, Action::As(AppendAction::AppendIfExistsOrAdd)));
        }
        if matches(&service.client_headers_on_success, name) {
            verdict.response.push(Change::new(&text, value, Action::As(AppendAction::AppendIfExistsOrAdd)));
        }
        if matches(&service.metadata_headers, name) {
            let kind = Some(Kind::StringValue(clean(value)));
            let fields = &mut verdict.metadata.get_or_insert_with(Struct::default).fields;
            fields.insert(text.into_owned(), Value { kind });
        }
    }
    if let Some(list) = headers.joined(TO_REMOVE) {
        let names = String::from_utf8_lossy(&list);
        verdict.remove = names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    }
    verdict
}

fn denied(service: &HttpService, status: u16, headers: &Headers, body: Bytes) -> Verdict {
    /// They come to the client with the reply, not from the service.
    const OWN: [&[u8]; 5] = [b"content-length", b"date", b"server", b"x-envoy-upstream-service-time", b"host"];
    let always = |name: &[u8]| [&b"www-authenticate"[..], b"location"].contains(&name);
    let told = |name: &[u8]| service.client_headers.as_ref().is_none_or(|list| always(name) || matches(list, name));
    let mut verdict = Verdict { outcome: Outcome::Denied, status: Some(status), body, ..Verdict::default() };
    let kept = headers.iter().filter(|(name, _)| !OWN.contains(name) && *name != TO_REMOVE.as_bytes() && told(name));
    verdict.reply = kept
        .map(|(name, value)| {
            Change::new(&String::from_utf8_lossy(name), value, Action::As(AppendAction::AppendIfExistsOrAdd))
        })
        .collect();
    verdict
}
