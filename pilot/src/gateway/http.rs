//! A gateway's route tables: the VirtualServices bound to its servers, by host.

use std::collections::BTreeMap;

use api::envoy::config::route::v3 as route;
use route::virtual_host::TlsRequirementType;

use super::{Bound, intersect, rules_of};
use crate::diagnostic::{Code, Findings};
use crate::names;
use crate::node::Node;
use crate::routes::{self, Place};
use crate::virtual_service::Rules;
use crate::visibility::View;

/// What one host of a port is given.
#[derive(Default)]
struct Host {
    /// The declared port that has the host, where several are served on one.
    port: Option<u16>,
    routes: Vec<route::Route>,
    /// Objects already taken in: several servers may lead to the same.
    taken: Vec<String>,
    https_only: bool,
}

/// Hosts in order of their names. Rules of several VirtualServices for one host follow each other, oldest first, with
/// those that take every request at the end.
pub(super) fn route_table(
    view: &View<'_>,
    node: &Node,
    name: &str,
    servers: &[Bound<'_>],
    findings: &mut Findings,
) -> route::RouteConfiguration {
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for bound in servers {
        let https_only = bound.server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        for rules in rules_of(view, bound) {
            let routes = compile(view, node, bound, rules, findings);
            if routes.is_empty() && !https_only {
                continue;
            }
            for domain in shared_hosts(bound, rules) {
                let host = hosts.entry(domain.clone()).or_default();
                if host.belongs_to(bound) {
                    host.take(rules, &routes, https_only);
                } else if !host.has(rules) {
                    let message = format!("port {} is bound to the same port and has {domain}", host.port.unwrap_or(0));
                    bound.complain(findings, Code::Conflict, message);
                }
            }
        }
        if https_only {
            for host in &bound.server.hosts {
                let host = hosts.entry(host.host.clone()).or_default();
                host.https_only |= host.belongs_to(bound);
            }
        }
    }
    let hosts = hosts.into_iter().filter(|(_, host)| host.https_only || !host.routes.is_empty());
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts.map(|(domain, host)| host.finish(domain)).collect(),
        validate_clusters: Some(false),
        ignore_port_in_host_matching: true,
        max_direct_response_body_size_bytes: Some(1 << 20),
        ..Default::default()
    }
}

fn compile(
    view: &View<'_>,
    node: &Node,
    bound: &Bound<'_>,
    rules: &Rules,
    findings: &mut Findings,
) -> Vec<route::Route> {
    let gateways = [bound.name()];
    let place = Place { view, gateways: &gateways, port: bound.server.port.number, labels: &node.labels };
    routes::compile(&place, rules, findings)
}

/// The hosts that both the server and the VirtualService are for.
fn shared_hosts(bound: &Bound<'_>, rules: &Rules) -> Vec<String> {
    let namespace = &rules.meta.namespace;
    let pairs = bound.server.hosts.iter().flat_map(|served| rules.hosts.iter().map(move |host| (served, host)));
    let mut hosts: Vec<String> = pairs.filter_map(|(served, host)| intersect(served, host, namespace)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

impl Host {
    /// Whether the host is served for this server's declared port: the first that asks has it.
    fn belongs_to(&mut self, bound: &Bound<'_>) -> bool {
        let number = bound.server.port.number;
        *self.port.get_or_insert(number) == number
    }

    fn has(&self, rules: &Rules) -> bool {
        self.taken.contains(&rules.object())
    }

    fn take(&mut self, rules: &Rules, routes: &[route::Route], https_only: bool) {
        if !self.has(rules) {
            self.taken.push(rules.object());
            self.routes.extend_from_slice(routes);
        }
        self.https_only |= https_only;
    }

    fn finish(mut self, domain: String) -> route::VirtualHost {
        // Stable: the others keep their order.
        self.routes.sort_by_key(routes::is_catch_all);
        let tls = if self.https_only { TlsRequirementType::All } else { TlsRequirementType::None };
        route::VirtualHost {
            name: names::virtual_host(&domain, self.port.unwrap_or(0)),
            domains: vec![domain],
            routes: self.routes,
            require_tls: tls as i32,
            ..Default::default()
        }
    }
}
