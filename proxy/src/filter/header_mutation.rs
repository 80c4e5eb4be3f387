//! Changes to headers as a filter of its own (Envoy, `envoy.filters.http.header_mutation`): its own, then those that
//! routes add.

use std::sync::Arc;

use super::{HttpFilter, Settings, Stream};
use crate::access_log::LogContext;
use crate::config::{AppendAction, HeaderMutation, StringMatch};
use crate::http::headers::Headers;
use crate::http::message::ResponseHead;
use crate::query;

/// `envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutator {
    pub own: Arc<Mutations>,
    /// Whether the changes of the most specific level come last.
    pub most_specific_wins: bool,
}

/// `envoy.extensions.filters.http.header_mutation.v3.Mutations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutations {
    pub request: Vec<Change>,
    pub query: Vec<QueryChange>,
    pub response: Vec<Change>,
}

/// One change after another, each of which sees those before it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Adds or removes one header.
    One(HeaderMutation),
    RemoveMatching(StringMatch),
}

#[derive(Clone, Debug, PartialEq)]
pub enum QueryChange {
    Remove(String),
    Set { name: String, value: crate::access_log::Format, action: AppendAction },
}

pub fn request(mutator: &Mutator, filter: &HttpFilter, stream: &mut Stream<'_>) {
    mutator.own.change_request(stream);
    for mutations in ordered(mutator, filter, stream) {
        mutations.change_request(stream);
    }
}

pub fn response(mutator: &Mutator, filter: &HttpFilter, stream: &mut Stream<'_>, head: &mut ResponseHead) {
    mutator.own.change_response(stream, head);
    for mutations in ordered(mutator, filter, stream) {
        mutations.change_response(stream, head);
    }
}

/// Those of the routes. None is the usual case, and costs nothing.
fn ordered<'a>(mutator: &Mutator, filter: &HttpFilter, stream: &Stream<'a>) -> Vec<&'a Arc<Mutations>> {
    let mut all: Vec<_> = stream
        .all_settings(filter)
        .filter_map(|settings| match settings {
            Settings::HeaderMutation(mutations) => Some(mutations),
            _ => None,
        })
        .collect();
    if mutator.most_specific_wins {
        all.reverse();
    }
    all
}

impl Mutations {
    fn change_request(&self, stream: &mut Stream<'_>) {
        for change in &self.request {
            match change {
                Change::One(mutation) => mutation.apply_request(stream.head, &stream.exchange.info),
                Change::RemoveMatching(rule) => remove_matching(&mut stream.head.headers, rule),
            }
        }
        for change in &self.query {
            change.apply(stream);
        }
    }

    fn change_response(&self, stream: &Stream<'_>, head: &mut ResponseHead) {
        for change in &self.response {
            match change {
                Change::One(mutation) => mutation.apply_response(head, stream.head, &stream.exchange.info),
                Change::RemoveMatching(rule) => remove_matching(&mut head.headers, rule),
            }
        }
    }
}

fn remove_matching(headers: &mut Headers, rule: &StringMatch) {
    headers.retain(|name, _| !rule.matches(name));
}

impl QueryChange {
    fn apply(&self, stream: &mut Stream<'_>) {
        let (name, value, action) = match self {
            Self::Remove(name) => return query::remove(&mut stream.head.path, name),
            Self::Set { name, value, action } => (name, value, action),
        };
        let mut text = Vec::new();
        value.write_value(&LogContext::of_request(&stream.exchange.info, stream.head), &mut text);
        let text = query::encode(&text);
        let path = &mut stream.head.path;
        let present = query::get(path, name).is_some();
        match action {
            AppendAction::AddIfAbsent if present => {}
            AppendAction::OverwriteIfExists if !present => {}
            AppendAction::OverwriteIfExists | AppendAction::OverwriteIfExistsOrAdd => query::set(path, name, &text),
            AppendAction::AppendIfExistsOrAdd | AppendAction::AddIfAbsent => query::add(path, name, &text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_kit::{Proxy, filter, one_route};

    const PER_ROUTE: &str =
        "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";

    fn append(name: &str, value: &str, action: &str) -> Value {
        json!({"append": {"header": {"key": name, "value": value}, "append_action": action}})
    }

    fn level(name: &str) -> Value {
        json!({"response_mutations": [append("x-all", name, "APPEND_IF_EXISTS_OR_ADD"),
            append("x-last", name, "OVERWRITE_IF_EXISTS_OR_ADD")]})
    }

    fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
        answer.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    #[tokio::test]
    async fn all_levels_change_headers_in_the_order_that_is_asked_for() {
        for (wins, all, last) in
            [(false, ["filter", "route", "host"], "host"), (true, ["filter", "host", "route"], "route")]
        {
            let config = json!({"mutations": level("filter"), "most_specific_header_mutations_wins": wins});
            let of = |name: &str| json!({"m": {"@type": PER_ROUTE, "mutations": level(name)}});
            let mut host = one_route(json!({"typed_per_filter_config": of("route")}));
            host["typed_per_filter_config"] = of("host");
            let mutation = filter("m", "http.header_mutation.v3.HeaderMutation", config);
            let answer = Proxy::start(vec![mutation], host).await.get("/", "").await;
            assert_eq!((values(&answer, "x-all"), values(&answer, "x-last")), (all.to_vec(), vec![last]), "{answer}");
        }
    }

    #[tokio::test]
    async fn requests_change_and_so_does_the_answer_of_another_filter() {
        let config = json!({"mutations": {
            "request_mutations": [{"remove": "x-gone"}, append("x-new", "%REQ(x-old)%", "APPEND_IF_EXISTS_OR_ADD"),
                {"remove_on_match": {"key_matcher": {"prefix": "x-private-"}}}],
            "query_parameter_mutations": [{"remove": "secret"},
                {"append": {"record": {"key": "added", "value": "a b"}, "action": "OVERWRITE_IF_EXISTS_OR_ADD"}}],
            "response_mutations": [append("x-echo", "%REQ(x-new)%", "ADD_IF_ABSENT")]}});
        let mutation = || filter("m", "http.header_mutation.v3.HeaderMutation", config.clone());
        let headers = "x-gone: 1\r\nx-old: 2\r\nx-private-a: 3\r\n";
        let proxy = Proxy::start(vec![mutation()], one_route(json!({}))).await;
        let answer = proxy.get("/p?secret=1&kept=2", headers).await;
        assert_eq!(values(&answer, "x-echo"), ["2"]);
        let head = &proxy.seen()[0];
        assert!(head.starts_with("GET /p?kept=2&added=a%20b HTTP/1.1\r\n") && head.contains("x-new: 2\r\n"), "{head}");
        assert!(!head.contains("x-gone") && !head.contains("x-private"), "{head}");
        let abort = filter(
            "f",
            "http.fault.v3.HTTPFault",
            json!({"abort": {
            "http_status": 418, "percentage": {"numerator": 100}}}),
        );
        let answer = Proxy::start(vec![mutation(), abort], one_route(json!({}))).await.get("/", headers).await;
        assert!(answer.starts_with("HTTP/1.1 418 ") && values(&answer, "x-echo") == ["2"], "{answer}");
    }
}
