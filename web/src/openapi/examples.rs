//! An example of each operation: what a shell says to the mesh of the Bookinfo sample. They stand in the document as
//! `x-codeSamples`, with their bodies as `example`; a test of the repository runs every one of them.

use serde_json::{Value, json};

/// One request. `$API` is where the API is and `$TOKEN` what lets one in; other words with a `$` are what an answer
/// before it told.
pub struct Example {
    /// Below `/api/v1`, with the query.
    pub path: String,
    pub headers: &'static [&'static str],
    pub body: Option<Value>,
    /// Where the body is text and no JSON.
    pub text: Option<&'static str>,
    /// Other words of curl: a stream is read for a moment only.
    pub words: &'static str,
    /// Whether it goes without a token.
    pub tokenless: bool,
}

const RULE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details}
spec:
  hosts: [details]
  http: [{timeout: 2s, route: [{destination: {host: details}}]}]
";
const MERGE: &[&str] = &["content-type: application/merge-patch+json", "if-match: \"$REVISION\""];
/// A stream does not end by itself.
const MOMENT: &str = " --max-time 3";
/// What the answer to the session's beginning set.
const COOKIE: &str = " -b \"weft_session=$SESSION\"";

/// The example of an operation; one that only reads needs no more than a path whose parts are filled in.
pub fn of(method: &str, path: &str) -> Example {
    let path = path.trim_start_matches("/api/v1");
    let mut example = Example { path: filled(path), headers: &[], body: None, text: None, words: "", tokenless: false };
    match (method, path) {
        ("get", "/graph") => example.path += "?window=5m",
        ("get", "/series") => example.path += "?service=default/reviews&window=15m",
        ("get", "/services") => example.path += "?labels=app=reviews&sort=name",
        ("get", "/endpoints") => example.path += "?service=reviews",
        ("get", "/ca/certificates") => example.path += "?q=sa/bookinfo-reviews&limit=10",
        ("get", "/traces") => example.path += "?limit=10",
        ("get", "/history") => example.path += "?kind=virtualservice&limit=10",
        ("get", "/history/_diff") => example.path += "?from=$REVISION",
        ("get", "/proxies/{id}/_config") => example.path += "?types=clusters,routes",
        ("get", "/events") => (example.path, example.words) = ("/events?topics=problems,services".into(), MOMENT),
        ("get", "/tap") => (example.path, example.words) = ("/tap?destination=default/reviews&rate=5".into(), MOMENT),
        ("post", "/_apply") => {
            example.path += "?dryRun=server";
            (example.headers, example.text) = (&["content-type: application/yaml"], Some(RULE));
        }
        ("post", "/{kind}") => {
            (example.path, example.body) = ("/destinationrules".into(), Some(destination("example")))
        }
        ("put", "/{kind}/{namespace}/{name}") => {
            example.path = "/destinationrules/default/example?message=name+the+host".into();
            (example.headers, example.body) = (&["if-match: \"$REVISION\""], Some(destination("example")));
        }
        ("put", "/control-plane/_log-level") => example.body = Some(json!({ "filter": "info,pilot=debug" })),
        ("put", "/proxies/{id}/_log-level") => example.body = Some(json!({ "filter": "info,proxy=debug" })),
        ("get", "/proxies/{id}/_stats") => example.path += "?prefix=listener.&limit=50",
        ("patch", "/{kind}/{namespace}/{name}") => {
            example.path = "/destinationrules/default/example".into();
            let policy = json!({ "spec": { "trafficPolicy": { "loadBalancer": { "simple": "RANDOM" } } } });
            (example.headers, example.body) = (MERGE, Some(policy));
        }
        ("delete", "/{kind}/{namespace}/{name}") => {
            example.path = "/destinationrules/default/example?cas=$REVISION".into();
        }
        ("post", "/_rollback") => {
            example.path += "?dryRun=server";
            example.body = Some(json!({ "revision": "$REVISION", "message": "it was slower" }));
        }
        ("post", "/_why") => {
            let question = json!({ "source": "productpage-v1", "destination": "reviews:9080", "path": "/reviews/0" });
            example.body = Some(question);
        }
        ("post", "/_authz") => {
            example.body = Some(json!({ "from": "productpage-v1", "to": "reviews:9080", "path": "/reviews/0" }));
        }
        ("post", "/problems/_mutes") => {
            let (code, object) = ("WFT1301", "reviews-v1.default");
            let order = json!({ "code": code, "object": object, "reason": "is being replaced", "ttl_seconds": 3600 });
            example.body = Some(order);
        }
        ("post", "/ca/_rotate") => example.body = Some(json!({ "step": "advance" })),
        ("post", "/ca/denials") => {
            let id = "spiffe://cluster.local/ns/default/sa/nobody";
            example.body =
                Some(json!({ "kind": "identity", "value": id, "reason": "key leaked", "lasts_seconds": 3600 }));
        }
        ("post", "/_can") => {
            example.body = Some(json!({ "verb": "write", "kind": "virtualservice", "namespace": "default" }))
        }
        ("post", "/_session") => (example.body, example.tokenless) = (Some(json!({ "token": "$TOKEN" })), true),
        ("delete", "/_session") => {
            (example.words, example.headers, example.tokenless) = (COOKIE, &["x-weft-csrf: $CSRF"], true);
        }
        ("post", "/tokens") => {
            let order = json!({ "namespace": "default", "service_account": "hello", "ttl_seconds": 3600, "uses": 1 });
            example.body = Some(order);
        }
        ("post", "/access/tokens") => {
            let scopes = json!({ "verbs": [], "kinds": [], "namespaces": ["default"] });
            let order = json!({ "name": "deploys", "role": "operator", "ttl_seconds": 86400, "scopes": scopes });
            example.body = Some(order);
        }
        _ => {}
    }
    example
}

fn destination(name: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": name },
        "spec": { "host": "details" },
    })
}

/// A path with the things of the sample in place of its parameters.
fn filled(path: &str) -> String {
    let id = match path.split('/').nth(1) {
        Some("proxies") => "reviews-v1.default",
        Some("tokens") => "$JOIN_TOKEN",
        Some("access") => "$ACCESS_TOKEN",
        Some("members") => "$MEMBER",
        Some("ca") => "$DENIAL",
        Some("problems") => "$MUTE",
        Some("_wri") => "wri:service:default:reviews",
        _ => "$ID",
    };
    let kind = if path == "/{kind}" { "virtualservices" } else { "destinationrules" };
    path.replace("{id}", id)
        .replace("{kind}", kind)
        .replace("{namespace}", "default")
        .replace("{name}", if path.starts_with("/registries") { "agents" } else { "reviews" })
        .replace("{revision}", "$REVISION")
        .replace("{trace_id}", "$TRACE")
}

impl Example {
    /// What a shell is told.
    pub fn curl(&self, method: &str) -> String {
        let mut words = String::from("curl");
        if !matches!((method, self.body.is_some() || self.text.is_some()), ("get", _) | ("post", true)) {
            words += &format!(" -X {}", method.to_uppercase());
        }
        words += self.words;
        if !self.tokenless {
            words += " -H \"authorization: Bearer $TOKEN\"";
        }
        let json = self.body.as_ref().filter(|_| !self.headers.iter().any(|header| header.starts_with("content-type")));
        for header in self.headers.iter().copied().chain(json.map(|_| "content-type: application/json")) {
            words += &format!(" -H {}", quoted(header));
        }
        if let Some(body) = &self.body {
            words += &format!(" -d {}", quoted(&unquoted_numbers(&body.to_string())));
        }
        if let Some(text) = self.text {
            words += &format!(" --data-binary {}", quoted(text));
        }
        format!("{words} \"$API/api/v1{}\"", self.path)
    }
}

/// A revision is a number, and so is what stands for one.
fn unquoted_numbers(body: &str) -> String {
    body.replace("\"$REVISION\"", "$REVISION")
}

/// In double quotes, so that the shell fills in what begins with a `$`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_a_line_of_a_shell() {
        assert_eq!(
            of("get", "/api/v1/proxies/{id}/_events").curl("get"),
            "curl -H \"authorization: Bearer $TOKEN\" \"$API/api/v1/proxies/reviews-v1.default/_events\""
        );
        let patched = of("patch", "/api/v1/{kind}/{namespace}/{name}").curl("patch");
        assert!(
            patched.starts_with("curl -X PATCH ") && patched.contains("-H \"if-match: \\\"$REVISION\\\"\""),
            "{patched}"
        );
        let rollback = of("post", "/api/v1/_rollback").curl("post");
        assert!(rollback.contains("\\\"revision\\\":$REVISION"), "{rollback}");
    }
}
