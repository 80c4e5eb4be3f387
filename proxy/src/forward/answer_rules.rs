//! What a connection manager changes of the head of every answer: who it says it is from, on which way it came, and
//! why it failed.

use crate::access_log::RequestInfo;
use crate::config::{AnswerRules, HttpManager, ServerHeader};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead};

use super::proxy_status;

/// Changes the head of an answer. `request` is none where there was none that could be read.
pub fn apply(
    rules: &AnswerRules,
    manager: &HttpManager,
    head: &mut ResponseHead,
    request: Option<&RequestHead>,
    info: &RequestInfo,
) {
    let named = match rules.server {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !head.headers.contains("server"),
        ServerHeader::PassThrough => false,
    };
    if named {
        head.headers.set("server", &manager.server_name);
    }
    if let Some(id) = request.filter(|_| rules.request_id).and_then(|head| head.headers.get("x-request-id")) {
        head.headers.set("x-request-id", id);
    }
    if !rules.via.is_empty() {
        append(&mut head.headers, "via", &rules.via);
    }
    if let Some(status) = rules.proxy_status.as_ref().filter(|_| request.is_some()) {
        proxy_status::tell(status, head, info);
    }
}

/// Appends to a list that may be there already.
pub fn append(headers: &mut Headers, name: &str, value: &str) {
    let all = match headers.joined(name) {
        Some(list) if !list.is_empty() => [&list, &b", "[..], value.as_bytes()].concat(),
        _ => value.as_bytes().to_vec(),
    };
    headers.set(name, all);
}
