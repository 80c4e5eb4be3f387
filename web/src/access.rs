//! What a request needs its caller to be allowed. Pure; what no rule names is for administrators.

pub mod can;
pub mod tokens;

use citadel::Verb;
use galley::{Kind, ObjectKey};

/// What must be allowed before a request is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Any valid caller: it is about themselves, or the handler looks at each object.
    Caller(Verb),
    /// One thing.
    One(Verb, Option<Kind>, Option<String>),
    /// Things in namespaces: the handler leaves those that the caller may see.
    Seen(Verb),
    /// To write each object that the body names.
    Documents,
    /// To do something in the namespace that the body, a JSON object, names.
    InNamespaceOfBody(Verb),
}

/// Also needed where the query says `force=true`.
pub(crate) fn is_forced(query: &str) -> bool {
    parameter(query, "force").is_some_and(|value| value != "false")
}

pub(crate) fn is_dry(query: &str) -> bool {
    parameter(query, "dryRun").is_some()
}

/// The value of a parameter as it stands in the query; names and values that need decoding match nothing here.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// The namespaces that a list is asked of; none: all that the caller may see.
pub(crate) fn namespaces(query: &str) -> Option<Vec<String>> {
    let text = decoded(parameter(query, "namespace")?).replace('+', " ");
    let names: Vec<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

/// What a request needs, by its method and its path below `/api/v1`.
pub(crate) fn needed(method: &str, path: &str, query: &str) -> Need {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let looks = matches!(method, "GET" | "HEAD");
    let one = |verb| Need::One(verb, None, None);
    let owned = |word: &str| Some(decoded(word));
    match (parts.as_slice(), looks) {
        (["version" | "_session" | "_can"] | ["_wri", _], _) => Need::Caller(Verb::Read),
        (["_setup"] | ["access", ..], _) => one(Verb::ManageAccess),
        (["audit", ..], true) => one(Verb::ReadAudit),
        (["control-plane", "_log-level"], false) => one(Verb::ManageAccess),
        (["proxies", id, "_log-level"], false) => Need::One(Verb::ManageAccess, None, namespace_of_proxy(&decoded(id))),
        (["proxies", id, "_log-level" | "_stats"], true) => {
            Need::One(Verb::Read, None, namespace_of_proxy(&decoded(id)))
        }
        (["registries", _, "_pause" | "_resume" | "_resync"], false) => one(Verb::Write),
        (["history", ..], true) => Need::Caller(Verb::Read),
        (["_rollback"], false) => Need::Caller(Verb::Write),
        (["_apply"], false) => Need::Documents,
        (["_why" | "_authz"], false) => one(Verb::Read),
        (["tap"], true) => Need::Seen(Verb::Tap),
        (["tokens"], false) => Need::InNamespaceOfBody(Verb::IssueJoinToken),
        (["tokens", ..], false) => one(Verb::IssueJoinToken),
        (["members", ..], false) => one(Verb::Evict),
        (["ca", "denials", ..], false) => one(Verb::Evict),
        (["ca", ..], false) => one(Verb::RotateCa),
        (["problems", "_mutes", ..], false) => one(Verb::Write),
        ([kind, rest @ ..], _) if let Some(kind) = Kind::named(&decoded(kind)) => match (rest, method) {
            ([], _) if looks => Need::One(Verb::Read, Some(kind), parameter(query, "namespace").and_then(owned)),
            ([], "POST") => Need::Documents,
            ([namespace, ..], _) if looks => Need::One(Verb::Read, Some(kind), owned(namespace)),
            ([namespace, ..], "DELETE") => Need::One(Verb::Delete, Some(kind), owned(namespace)),
            ([namespace, ..], _) => Need::One(Verb::Write, Some(kind), owned(namespace)),
            _ => one(Verb::ManageAccess),
        },
        (["services" | "endpoints" | "workloads" | "proxies" | "problems" | "graph" | "series" | "overview"], true)
        | (["events" | "registries" | "traces"] | ["traces", _], true) => Need::Seen(Verb::Read),
        (["proxies", id], true) => Need::One(Verb::Read, None, namespace_of_proxy(&decoded(id))),
        // Proxies were told of rules of all namespaces.
        (["services", _, _, "_config"], true) => one(Verb::Read),
        (["services" | "workloads", namespace, _, ..], true) => Need::One(Verb::Read, None, owned(namespace)),
        (_, true) => one(Verb::Read),
        _ => one(Verb::ManageAccess),
    }
}

/// The namespace in a proxy's id (`reviews-v1.default`) or node id (`sidecar~10.0.0.1~reviews-v1.default~…`).
pub(crate) fn namespace_of_proxy(id: &str) -> Option<String> {
    let name = id.split('~').nth(2).unwrap_or(id);
    name.rsplit_once('.').map(|(_, namespace)| namespace.to_owned())
}

/// The object that a path names.
pub(crate) fn object(path: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let [kind, namespace, name, ..] = parts.as_slice() else { return None };
    Some(ObjectKey::new(Kind::named(&decoded(kind))?, &decoded(namespace), &decoded(name)))
}

/// Percent-decoded; what is no UTF-8 then is in no namespace that anybody may be given.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| "\u{fffd}".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(verb: Verb, kind: Option<Kind>, namespace: &str) -> Need {
        Need::One(verb, kind, (!namespace.is_empty()).then(|| namespace.to_owned()))
    }

    #[test]
    fn objects_need_their_kind_and_namespace() {
        let rule = Some(Kind::VirtualService);
        assert_eq!(needed("GET", "/virtualservices", ""), one(Verb::Read, rule, ""));
        assert_eq!(needed("GET", "/vs", "limit=1&namespace=shop"), one(Verb::Read, rule, "shop"));
        assert_eq!(needed("GET", "/virtualservices/shop/a", ""), one(Verb::Read, rule, "shop"));
        assert_eq!(needed("PUT", "/virtualservices/shop/a", ""), one(Verb::Write, rule, "shop"));
        assert_eq!(needed("PATCH", "/VirtualService/sh%6fp/a", ""), one(Verb::Write, rule, "shop"));
        assert_eq!(needed("DELETE", "/virtualservices/shop/a", ""), one(Verb::Delete, rule, "shop"));
        assert_eq!(needed("POST", "/virtualservices", ""), Need::Documents);
        assert_eq!(needed("POST", "/_apply", ""), Need::Documents);
        assert_eq!(object("/virtualservices/sh%6Fp/a").unwrap().to_string(), "VirtualService shop/a");
    }

    #[test]
    fn verbs_of_their_own_are_needed_for_what_is_more_than_reading() {
        assert_eq!(needed("POST", "/tokens", ""), Need::InNamespaceOfBody(Verb::IssueJoinToken));
        assert_eq!(needed("DELETE", "/tokens/x", ""), one(Verb::IssueJoinToken, None, ""));
        assert_eq!(needed("GET", "/tap", ""), Need::Seen(Verb::Tap));
        assert_eq!(needed("DELETE", "/members/x", ""), one(Verb::Evict, None, ""));
        assert_eq!(needed("POST", "/ca/denials", ""), one(Verb::Evict, None, ""));
        assert_eq!(needed("PUT", "/proxies/a.shop/_log-level", ""), one(Verb::ManageAccess, None, "shop"));
        assert_eq!(needed("GET", "/proxies/a.shop/_stats", ""), one(Verb::Read, None, "shop"));
        assert_eq!(needed("POST", "/registries/consul/_pause", ""), one(Verb::Write, None, ""));
        assert_eq!(needed("POST", "/ca/_rotate", ""), one(Verb::RotateCa, None, ""));
        assert_eq!(needed("GET", "/access/tokens", ""), one(Verb::ManageAccess, None, ""));
        assert_eq!(needed("GET", "/audit", ""), one(Verb::ReadAudit, None, ""));
        assert_eq!(needed("POST", "/_why", ""), one(Verb::Read, None, ""));
        assert_eq!(needed("POST", "/_authz", ""), one(Verb::Read, None, ""));
        assert_eq!(needed("DELETE", "/problems/_mutes/x", ""), one(Verb::Write, None, ""));
        assert!(
            is_forced("force=true") && is_forced("a=b&force") && !is_forced("force=false") && !is_forced("x=force")
        );
    }

    #[test]
    fn what_no_rule_names_is_for_administrators() {
        for (method, path) in [("POST", "/anything"), ("PUT", "/services/a/b"), ("DELETE", "/"), ("PUT", "/vs")] {
            assert_eq!(needed(method, path, ""), one(Verb::ManageAccess, None, ""), "{method} {path}");
        }
        assert_eq!(needed("GET", "/ca", ""), one(Verb::Read, None, ""));
        for seen in ["/services", "/registries", "/events", "/traces", "/traces/4bf9"] {
            assert_eq!(needed("GET", seen, ""), Need::Seen(Verb::Read), "{seen}");
        }
        assert_eq!(needed("GET", "/proxies/a-v1.shop", ""), one(Verb::Read, None, "shop"));
        assert_eq!(needed("GET", "/proxies/sidecar~10.0.0.1~a-v1.shop~x.y", ""), one(Verb::Read, None, "shop"));
        assert_eq!(needed("GET", "/proxies/a-v1.shop/_config", ""), one(Verb::Read, None, ""));
        assert_eq!(needed("GET", "/services/shop/a", ""), one(Verb::Read, None, "shop"));
    }
}
