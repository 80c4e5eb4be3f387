//! Delegation: the rules of another VirtualService under the match of a root's rule (Istio, one level).

use std::collections::BTreeMap;
use std::sync::Arc;

use galley::Config;
use galley::kinds::{
    Delegate, HeaderMatch, HeaderOps, Headers, HttpAction, HttpMatch, HttpRoute, StringMatch, VirtualService,
};

use super::HttpRule;
use crate::diagnostic::{Code, Findings};

/// The delegate's rules, each with the root's match and whatever the root sets and the delegate does not.
pub(super) fn expand(
    root: &Config<VirtualService>,
    rule: &HttpRoute,
    to: &Delegate,
    all: &[Arc<Config<VirtualService>>],
    findings: &mut Findings,
) -> Vec<HttpRule> {
    let object = format!("VirtualService {}/{}", root.meta.namespace, root.meta.name);
    let name = format!("{}/{}", to.namespace, to.name);
    let mut complain = |message: String| findings.add(Code::BadDelegate, object.clone(), message);
    let delegate = all.iter().find(|config| {
        config.meta.name == to.name && config.meta.namespace == to.namespace && config.spec.is_delegate()
    });
    let Some(delegate) = delegate.filter(|config| config.spec.export_to.visible_in(&root.meta.namespace)) else {
        complain(format!("delegate {name} does not exist, has hosts, or is not exported here"));
        return Vec::new();
    };
    let mut rules = Vec::new();
    for leaf in &delegate.spec.http {
        if matches!(leaf.action, HttpAction::Delegate(_)) {
            complain(format!("delegate {name} delegates again; only one level is followed"));
        } else if let Some(route) = merge(rule, leaf) {
            rules.push(HttpRule { route, namespace: to.namespace.clone() });
        } else {
            complain(format!("a rule of delegate {name} matches nothing of what its root matches"));
        }
    }
    rules
}

/// `None` when no match of the leaf lies within the root's.
fn merge(root: &HttpRoute, leaf: &HttpRoute) -> Option<HttpRoute> {
    let matches = match (root.matches.is_empty(), leaf.matches.is_empty()) {
        (true, _) => leaf.matches.clone(),
        (false, true) => root.matches.clone(),
        (false, false) => {
            let pairs = root.matches.iter().flat_map(|r| leaf.matches.iter().map(move |l| (r, l)));
            let merged: Vec<_> = pairs.filter(|(r, l)| !conflicts(r, l)).map(|(r, l)| merge_match(r, l)).collect();
            if merged.is_empty() {
                return None;
            }
            merged
        }
    };
    let name = [root.name.as_str(), leaf.name.as_str()].into_iter().filter(|name| !name.is_empty());
    Some(HttpRoute {
        name: name.collect::<Vec<_>>().join("-"),
        matches,
        action: leaf.action.clone(),
        rewrite: leaf.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: leaf.timeout.or(root.timeout),
        retries: leaf.retries.clone().or_else(|| root.retries.clone()),
        fault: leaf.fault.clone().or_else(|| root.fault.clone()),
        mirrors: if leaf.mirrors.is_empty() { root.mirrors.clone() } else { leaf.mirrors.clone() },
        cors: leaf.cors.clone().or_else(|| root.cors.clone()),
        headers: merge_headers(&root.headers, &leaf.headers),
    })
}

fn merge_headers(root: &Headers, leaf: &Headers) -> Headers {
    let ops = |root: &HeaderOps, leaf: &HeaderOps| HeaderOps {
        set: overlaid(&root.set, &leaf.set),
        add: overlaid(&root.add, &leaf.add),
        remove: root.remove.iter().chain(&leaf.remove).cloned().collect(),
    };
    Headers { request: ops(&root.request, &leaf.request), response: ops(&root.response, &leaf.response) }
}

fn merge_match(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let text = |root: &Option<StringMatch>, leaf: &Option<StringMatch>| leaf.clone().or_else(|| root.clone());
    let word = |root: &str, leaf: &str| if leaf.is_empty() { root.to_owned() } else { leaf.to_owned() };
    let names = [root.name.as_str(), leaf.name.as_str()].into_iter().filter(|name| !name.is_empty());
    HttpMatch {
        name: names.collect::<Vec<_>>().join("-"),
        uri: text(&root.uri, &leaf.uri),
        ignore_uri_case: root.ignore_uri_case || leaf.ignore_uri_case,
        scheme: text(&root.scheme, &leaf.scheme),
        method: text(&root.method, &leaf.method),
        authority: text(&root.authority, &leaf.authority),
        headers: overlaid(&root.headers, &leaf.headers),
        without_headers: overlaid(&root.without_headers, &leaf.without_headers),
        query_params: overlaid(&root.query_params, &leaf.query_params),
        port: leaf.port.or(root.port),
        source_labels: overlaid(&root.source_labels, &leaf.source_labels),
        source_namespace: word(&root.source_namespace, &leaf.source_namespace),
        gateways: root.gateways.clone(),
        stat_prefix: word(&root.stat_prefix, &leaf.stat_prefix),
    }
}

fn overlaid<V: Clone>(root: &BTreeMap<String, V>, leaf: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    let mut merged = root.clone();
    merged.extend(leaf.iter().map(|(key, value)| (key.clone(), value.clone())));
    merged
}

fn conflicts(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let headers = [
        (&root.headers, &leaf.headers),
        (&root.without_headers, &leaf.without_headers),
        (&root.query_params, &leaf.query_params),
    ];
    let labels = leaf.source_labels.iter().any(|(k, v)| root.source_labels.get(k).is_some_and(|other| other != v));
    let namespaces = [&root.source_namespace, &leaf.source_namespace];
    texts.into_iter().any(|(root, leaf)| outside(root.as_ref(), leaf.as_ref()))
        || headers.into_iter().any(|(root, leaf)| headers_conflict(root, leaf))
        || root.port.zip(leaf.port).is_some_and(|(root, leaf)| root != leaf)
        || namespaces[0] != namespaces[1] && namespaces.iter().all(|namespace| !namespace.is_empty())
        || labels
}

fn headers_conflict(root: &BTreeMap<String, HeaderMatch>, leaf: &BTreeMap<String, HeaderMatch>) -> bool {
    leaf.iter().any(|(name, leaf)| match (root.get(name), leaf) {
        (Some(HeaderMatch::Value(root)), HeaderMatch::Value(leaf)) => outside(Some(root), Some(leaf)),
        (Some(HeaderMatch::Value(_)), HeaderMatch::Present) => true,
        (Some(HeaderMatch::Present) | None, _) => false,
    })
}

/// Whether the leaf matches what the root does not. A regular expression fits only itself.
fn outside(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> bool {
    match (root, leaf) {
        (None, _) | (_, None) => false,
        (Some(StringMatch::Prefix(root)), Some(StringMatch::Prefix(leaf) | StringMatch::Exact(leaf))) => {
            !leaf.starts_with(root.as_str())
        }
        (Some(root), Some(leaf)) => root != leaf,
    }
}
