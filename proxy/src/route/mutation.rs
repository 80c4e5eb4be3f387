//! Header changes of cluster, route, virtual host and table, in Envoy's order.

use super::{Action, Found};
use crate::access_log::{LogContext, RequestInfo};
use crate::config::{AppendAction, HeaderAdd, HeaderMutation};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, ResponseHead};

/// Applies request header changes to a head, most specific first unless the table says otherwise.
pub fn apply_request_mutations(found: &Found<'_>, head: &mut RequestHead, info: &RequestInfo) {
    for mutation in ordered(found) {
        mutation.apply_request(head, info);
    }
}

/// Applies response header changes. `request` is the request as it was sent upstream, for formats.
pub fn apply_response_mutations(
    found: &Found<'_>,
    response: &mut ResponseHead,
    request: &RequestHead,
    info: &RequestInfo,
) {
    for mutation in ordered(found) {
        mutation.apply_response(response, request, info);
    }
}

fn ordered<'a>(found: &Found<'a>) -> impl Iterator<Item = &'a HeaderMutation> {
    let parts = found.table.parts();
    let cluster = found.weighted.map(|cluster| &cluster.mutation);
    let mut order = [cluster, Some(&found.route.mutation), Some(&found.virtual_host.mutation), Some(&parts.mutation)];
    if parts.most_specific_header_mutations_wins {
        order.reverse();
    }
    order.into_iter().flatten().filter(|mutation| !mutation.is_empty())
}

impl Found<'_> {
    /// All that a route changes of a request on its way upstream: headers first, then host and path. `tells`:
    /// whether the upstream learns what the client asked for.
    pub fn finalize_request(&self, head: &mut RequestHead, info: &RequestInfo, tells: bool) {
        apply_request_mutations(self, head, info);
        if let Action::Forward(action) = &self.route.action {
            action.rewrite(head, tells);
        }
    }
}

impl HeaderMutation {
    pub fn is_empty(&self) -> bool {
        self.request_add.is_empty()
            && self.request_remove.is_empty()
            && self.response_add.is_empty()
            && self.response_remove.is_empty()
    }

    pub fn apply_request(&self, head: &mut RequestHead, info: &RequestInfo) {
        for name in &self.request_remove {
            head.headers.remove(name);
        }
        let values = evaluated(&self.request_add, &LogContext::of_request(info, head));
        for (add, value) in values {
            match add.name.as_str() {
                ":authority" | "host" => set_text(&mut head.authority, &value),
                ":path" => set_text(&mut head.path, &value),
                ":method" => set_text(&mut head.method, &value),
                _ => add.apply(&mut head.headers, &value),
            }
        }
    }

    pub fn apply_response(&self, response: &mut ResponseHead, request: &RequestHead, info: &RequestInfo) {
        for name in &self.response_remove {
            response.headers.remove(name);
        }
        let context = LogContext::of_request(info, request).with_response(&response.headers, None);
        for (add, value) in evaluated(&self.response_add, &context) {
            add.apply(&mut response.headers, &value);
        }
    }
}

/// All values are taken before the first change, so that no change is seen by another.
fn evaluated<'a>(adds: &'a [HeaderAdd], context: &LogContext<'_>) -> Vec<(&'a HeaderAdd, Vec<u8>)> {
    adds.iter()
        .map(|add| {
            let mut value = Vec::new();
            add.value.write_value(context, &mut value);
            (add, value)
        })
        .filter(|(add, value)| add.keep_empty || !value.is_empty())
        .collect()
}

/// A part of the head is replaced by text that may stand there, and otherwise left alone.
fn set_text(part: &mut String, value: &[u8]) {
    if let Ok(text) = std::str::from_utf8(value)
        && !text.is_empty()
        && text.bytes().all(|byte| byte > b' ' && byte != 0x7f)
    {
        text.clone_into(part);
    }
}

impl HeaderAdd {
    /// Changes a list of headers by a value that was made before.
    pub fn apply(&self, headers: &mut Headers, value: &[u8]) {
        let present = headers.contains(&self.name);
        match self.action {
            AppendAction::AddIfAbsent if present => {}
            AppendAction::OverwriteIfExists if !present => {}
            AppendAction::AppendIfExistsOrAdd | AppendAction::AddIfAbsent => {
                let _ = headers.try_append(self.name.as_bytes(), value);
            }
            AppendAction::OverwriteIfExists | AppendAction::OverwriteIfExistsOrAdd => headers.set(&self.name, value),
        }
    }
}
