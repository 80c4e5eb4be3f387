//! A gateway's ports that do not end in HTTP: TCP, and TLS that is passed on by its server name.

use api::envoy::config::listener::v3 as listener;
use galley::kinds::{GatewayHost, L4Match, WeightedDestination, selects};

use super::{Bound, intersect, rules_of};
use crate::diagnostic::Findings;
use crate::listener as chains;
use crate::node::Node;
use crate::routes::Destinations;
use crate::virtual_service::Rules;
use crate::visibility::View;

/// Forwards a server's connections as the first TCP rule for it says. `None` without such a rule.
pub(super) fn tcp(
    view: &View<'_>,
    node: &Node,
    bound: &Bound<'_>,
    findings: &mut Findings,
) -> Option<listener::Filter> {
    for rules in rules_of(view, bound).filter(|rules| shares_host(bound, rules)) {
        let everywhere = L4Match::default();
        let taken = |matches: &[L4Match]| {
            let unmatched = matches.is_empty().then_some(&everywhere);
            matches.iter().chain(unmatched).any(|of| admits(node, bound, rules, of))
        };
        if let Some(route) = rules.tcp.iter().find(|route| taken(&route.matches)) {
            return Some(forward(view, bound, rules, &route.route, findings));
        }
    }
    None
}

/// One chain for each match of a TLS rule for the server.
pub(super) fn passthrough(
    view: &View<'_>,
    node: &Node,
    bound: &Bound<'_>,
    findings: &mut Findings,
) -> Vec<listener::FilterChain> {
    let mut made = Vec::new();
    for rules in rules_of(view, bound) {
        for route in &rules.tls {
            for of in route.matches.iter().filter(|of| admits(node, bound, rules, of)) {
                let names = served_names(bound, rules, of);
                if names.is_empty() {
                    continue;
                }
                let filter = forward(view, bound, rules, &route.route, findings);
                let mut chain = chains::chain_for(names.join(","), chains::TLS, &[], filter, None);
                if let Some(matches) = &mut chain.filter_chain_match {
                    matches.server_names = if names.iter().any(|name| name == "*") { Vec::new() } else { names };
                }
                made.push(chain);
            }
        }
    }
    made
}

/// Hosts as server names; `*` is all, which Envoy spells as none.
pub(super) fn server_names(hosts: &[GatewayHost]) -> Vec<String> {
    if hosts.iter().any(|host| host.host == "*") {
        return Vec::new();
    }
    let mut names: Vec<String> = hosts.iter().map(|host| host.host.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    names
}

fn admits(node: &Node, bound: &Bound<'_>, rules: &Rules, of: &L4Match) -> bool {
    rules.applies_to(&of.gateways, &bound.name())
        && of.port.is_none_or(|port| port == bound.server.port.number)
        && selects(&of.source_labels, &node.labels)
        && (of.source_namespace.is_empty() || of.source_namespace == node.namespace)
}

fn shares_host(bound: &Bound<'_>, rules: &Rules) -> bool {
    let namespace = &rules.meta.namespace;
    bound.server.hosts.iter().any(|served| rules.hosts.iter().any(|host| intersect(served, host, namespace).is_some()))
}

fn served_names(bound: &Bound<'_>, rules: &Rules, of: &L4Match) -> Vec<String> {
    let hosts = of.sni_hosts.iter().filter_map(|sni| api::Hostname::new(sni).ok());
    let served = |sni: &api::Hostname| {
        bound.server.hosts.iter().find_map(|served| intersect(served, sni, &rules.meta.namespace))
    };
    let mut names: Vec<String> = hosts.filter_map(|sni| served(&sni)).collect();
    names.sort();
    names.dedup();
    names
}

fn forward(
    view: &View<'_>,
    bound: &Bound<'_>,
    rules: &Rules,
    route: &[WeightedDestination],
    findings: &mut Findings,
) -> listener::Filter {
    let namespace = rules.meta.namespace.as_str();
    let mut resolve = Destinations { view, namespace, port: bound.server.port.number, rules, findings };
    let alone = route.len() == 1;
    let weight = |of: &WeightedDestination| if alone { 1 } else { of.weight };
    let clusters: Vec<_> = route.iter().map(|of| (resolve.cluster(&of.destination), weight(of))).collect();
    let stat_prefix = clusters.first().map(|(name, _)| name.clone()).unwrap_or_default();
    chains::tcp_proxy(view, false, &stat_prefix, clusters)
}
