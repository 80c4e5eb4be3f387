//! A gateway's route tables: the VirtualServices bound to its servers, by host.

use std::collections::BTreeMap;

use api::envoy::config::route::v3 as route;
use route::virtual_host::TlsRequirementType;

use super::{Bound, intersect, rules_of};
use crate::diagnostic::Findings;
use crate::names;
use crate::node::Node;
use crate::routes::{self, Place};
use crate::virtual_service::Rules;
use crate::visibility::View;

/// What one host of a port is given.
#[derive(Default)]
struct Host {
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
    let port = servers.first().map_or(0, |bound| bound.server.port.number);
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for bound in servers {
        let https_only = bound.server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        for rules in rules_of(view, bound) {
            let routes = compile(view, node, bound, rules, findings);
            for host in shared_hosts(bound, rules) {
                hosts.entry(host).or_default().take(rules, &routes, https_only);
            }
        }
        if https_only {
            for host in &bound.server.hosts {
                hosts.entry(host.host.clone()).or_default().https_only = true;
            }
        }
    }
    let hosts = hosts.into_iter().filter(|(_, host)| host.https_only || !host.routes.is_empty());
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts.map(|(domain, host)| host.finish(domain, port)).collect(),
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
    fn take(&mut self, rules: &Rules, routes: &[route::Route], https_only: bool) {
        let object = rules.object();
        if !self.taken.contains(&object) {
            self.taken.push(object);
            self.routes.extend_from_slice(routes);
        }
        self.https_only |= https_only;
    }

    fn finish(mut self, domain: String, port: u16) -> route::VirtualHost {
        // Stable: the others keep their order.
        self.routes.sort_by_key(routes::is_catch_all);
        let tls = if self.https_only { TlsRequirementType::All } else { TlsRequirementType::None };
        route::VirtualHost {
            name: names::virtual_host(&domain, port),
            domains: vec![domain],
            routes: self.routes,
            require_tls: tls as i32,
            ..Default::default()
        }
    }
}
