//! How answers look that are made here (Envoy, `local_reply_config`): the first mapper that takes one changes it, and
//! a format writes its body anew.

use bytes::Bytes;

use super::local::Reply;
use crate::access_log::{LogContext, RequestInfo};
use crate::config::{LocalReplies, ReplyMapper};
use crate::http::headers::Headers;
use crate::http::message::RequestHead;

/// `request` is none where there was none that could be read.
pub fn rewrite(rules: &LocalReplies, mut reply: Reply, request: Option<&RequestHead>, info: &mut RequestInfo) -> Reply {
    info.response_code = Some(reply.status);
    let before = (reply.body.clone(), reply.headers.get("content-type").map(<[u8]>::to_vec));
    let mapper = rules.mappers.iter().find(|mapper| mapper.filter.passes(&context(info, request, &reply.headers)));
    if let Some(mapper) = mapper {
        map(mapper, &mut reply, request, info);
    }
    let format = mapper.and_then(|mapper| mapper.format.as_ref()).or(rules.body.as_ref());
    if let Some(format) = format {
        let mut body = Vec::new();
        let context = LogContext { local_reply_body: &reply.body, ..context(info, request, &reply.headers) };
        format.format.write_body(&context, &mut body);
        reply.body = Bytes::from(body);
    }
    let told = reply.headers.get("content-type").map(<[u8]>::to_vec);
    // A type that a mapper gave stays; one that described another body does not.
    if !reply.body.is_empty() && (told.is_none() || (reply.body != before.0 && told == before.1)) {
        reply.headers.set("content-type", format.map_or("text/plain", |format| &format.content_type));
    }
    reply
}

fn map(mapper: &ReplyMapper, reply: &mut Reply, request: Option<&RequestHead>, info: &mut RequestInfo) {
    if let Some(body) = &mapper.body {
        reply.body = body.clone();
    }
    let mut values = Vec::new();
    for add in &mapper.headers {
        let mut value = Vec::new();
        add.value.write_value(&context(info, request, &reply.headers), &mut value);
        values.push((add, value));
    }
    for (add, value) in values.into_iter().filter(|(add, value)| add.keep_empty || !value.is_empty()) {
        add.apply(&mut reply.headers, &value);
    }
    if let Some(status) = mapper.status {
        reply.status = status;
        info.response_code = Some(status);
    }
}

fn context<'a>(info: &'a RequestInfo, request: Option<&'a RequestHead>, headers: &'a Headers) -> LogContext<'a> {
    LogContext { request, ..LogContext::of_connection(info) }.with_response(headers, None)
}
