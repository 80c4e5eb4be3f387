//! A sidecar's explicit HTTP proxy: its listener, and the routes to every visible service under all of its names.

mod answers;
mod domains;
pub(crate) mod tunnel;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use api::envoy::config::route::v3 as route;
use galley::kinds::VirtualService;
use registry::{Protocol, Service, ServicePort};

use crate::diagnostic::Findings;
use crate::http_manager::{self, Routes, Side};
use crate::names;
use crate::node::Node;
use crate::policy::Guard;
use crate::routes::{self, Place};
use crate::virtual_service::Rules;
use crate::visibility::View;

/// The port that a host without a service is taken to be asked for on.
pub(crate) const PLAIN_HTTP: u16 = 80;

pub(crate) fn listener(view: &View<'_>, node: &Node) -> listener::Listener {
    let routes = Routes::Named(names::HTTP_PROXY.to_owned());
    let filter = http_manager::filter(view, Side::ExplicitOutbound, names::HTTP_PROXY, routes, &Guard::default());
    let chain = crate::listener::chain(String::new(), filter);
    let address = node.http_proxy_address.unwrap_or_else(|| node.address());
    let port = node.http_proxy_port;
    let direction = core::TrafficDirection::Outbound;
    let listener = crate::listener::listener(names::HTTP_PROXY.to_owned(), address, port, direction, vec![chain]);
    crate::listener::of_node(node, listener)
}

/// One virtual host per service port, one for each host that only a VirtualService knows, and one for the rest.
pub(crate) fn route_table(view: &View<'_>, findings: &mut Findings) -> route::RouteConfiguration {
    let mut table = Table::new(view, findings);
    for entry in view.services() {
        for port in entry.service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            table.service_port(&entry.service, port);
        }
    }
    table.hosts_without_service();
    for entry in view.services() {
        table.other_ports(&entry.service);
    }
    table.hosts.push(answers::nowhere(view.index.mesh().outbound_policy));
    route::RouteConfiguration {
        name: names::HTTP_PROXY.into(),
        virtual_hosts: table.hosts,
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: Some(1 << 20),
        ..Default::default()
    }
}

/// The routes of captured requests to one port: a virtual host for each service that has it.
pub(crate) fn captured_table(
    view: &View<'_>,
    number: u16,
    services: &[(&Service, &ServicePort)],
    findings: &mut Findings,
) -> route::RouteConfiguration {
    let mut table = Table::new(view, findings);
    for (service, port) in services {
        table.captured_port(service, port);
    }
    if number == PLAIN_HTTP {
        table.hosts_without_service();
    }
    table.hosts.push(answers::as_meant(view.index.mesh().outbound_policy));
    route::RouteConfiguration {
        name: names::captured_http(number),
        virtual_hosts: table.hosts,
        validate_clusters: Some(false),
        ..Default::default()
    }
}

/// Whether there are hosts that only VirtualServices know, which are asked for on port 80.
pub(crate) fn has_hosts_without_service(view: &View<'_>) -> bool {
    let mut rules = MeshRules::new(view).0.into_iter();
    rules.any(|rules| rules.hosts.iter().any(|host| view.service(host.as_str()).is_none()))
}

/// The VirtualServices that sidecars see, oldest first.
pub(crate) struct MeshRules<'a>(Vec<&'a Arc<Rules>>);

impl<'a> MeshRules<'a> {
    pub fn new(view: &View<'a>) -> Self {
        let visible = view.index.config.virtual_services.visible_in(&view.audience.namespace);
        Self(visible.filter(|rules| rules.is_bound_to(VirtualService::MESH)).collect())
    }

    /// The rules that own a host: those that name it most specifically, of these the oldest.
    pub fn of_host(&self, host: &str) -> Option<Arc<Rules>> {
        let covering = self.0.iter().rev().filter_map(|rules| Some((rules.covers(host)?, *rules)));
        covering.max_by_key(|(specific, _)| *specific).map(|(_, rules)| Arc::clone(rules))
    }
}

struct Table<'a> {
    view: &'a View<'a>,
    rules: MeshRules<'a>,
    /// Domains already given away; Envoy takes each only once.
    taken: BTreeSet<String>,
    hosts: Vec<route::VirtualHost>,
    findings: &'a mut Findings,
}

impl<'a> Table<'a> {
    fn new(view: &'a View<'a>, findings: &'a mut Findings) -> Self {
        Self { view, rules: MeshRules::new(view), taken: BTreeSet::new(), hosts: Vec::new(), findings }
    }

    /// A port of a service where requests come as they were sent: under every name, with the port and without.
    fn captured_port(&mut self, service: &Service, port: &ServicePort) {
        let rules = self.rules.of_host(service.host().as_str());
        let routes = self.http_routes(service, port, rules.as_deref());
        let domains = domains::of_captured(service, port.number, self.view);
        self.host(names::virtual_host(service.host().as_str(), port.number), domains, routes);
    }

    fn service_port(&mut self, service: &Service, port: &ServicePort) {
        let domains = domains::of(service, port.number, self.view);
        let rules = self.rules.of_host(service.host().as_str());
        let mut routes = Vec::new();
        if !port.protocol.is_http() {
            routes.push(tunnel::route(self.view, service, port, rules.as_deref(), self.findings));
        }
        if port.protocol.is_http() || port.protocol == Protocol::Auto {
            routes.extend(self.http_routes(service, port, rules.as_deref()));
        }
        routes.extend(answers::wrong_way(service, port));
        self.host(names::virtual_host(service.host().as_str(), port.number), domains, routes);
    }

    /// What else a service is asked for: a port that it does not have, or none where it has several.
    fn other_ports(&mut self, service: &Service) {
        let domains = domains::of_any_port(service, self.view);
        self.host(format!("{}:*", service.host()), domains, answers::no_such_port(service));
    }

    fn http_routes(&mut self, service: &Service, port: &ServicePort, rules: Option<&Rules>) -> Vec<route::Route> {
        let routes = rules.map(|rules| self.compile(rules, port.number)).unwrap_or_default();
        if routes.is_empty() { vec![routes::default(self.view, service, port)] } else { routes }
    }

    fn compile(&mut self, rules: &Rules, port: u16) -> Vec<route::Route> {
        let gateways = [VirtualService::MESH.to_owned()];
        let place = Place { view: self.view, gateways: &gateways, port, labels: &self.view.audience.labels };
        routes::compile(&place, rules, self.findings)
    }

    fn hosts_without_service(&mut self) {
        for rules in self.rules.0.clone() {
            for host in rules.hosts.iter().filter(|host| self.view.service(host.as_str()).is_none()) {
                let covers_services =
                    host.is_wildcard() && self.view.services().any(|e| host.covers(e.service.host().as_str()));
                if covers_services {
                    continue;
                }
                let routes = self.compile(rules, PLAIN_HTTP);
                let domains = vec![host.to_string(), format!("{host}:{PLAIN_HTTP}")];
                if !routes.is_empty() {
                    self.host(names::virtual_host(host.as_str(), PLAIN_HTTP), domains, routes);
                }
            }
        }
    }

    fn host(&mut self, name: String, mut domains: Vec<String>, routes: Vec<route::Route>) {
        domains.retain(|domain| self.taken.insert(domain.clone()));
        if !domains.is_empty() {
            self.hosts.push(route::VirtualHost { name, domains, routes, ..Default::default() });
        }
    }
}
