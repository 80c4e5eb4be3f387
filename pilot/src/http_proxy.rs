//! A sidecar's explicit HTTP proxy: its listener, and the routes to every visible service under all of its names.

mod answers;
mod domains;
pub(crate) mod elsewhere;
mod hosts;
mod rules;
pub(crate) mod tunnel;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use api::envoy::config::route::v3 as route;
use galley::kinds::VirtualService;
use registry::{Protocol, Service, ServicePort};

use self::hosts::{Domain, Hosts, Right};
pub(crate) use self::rules::MeshRules;
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
    let rest = answers::elsewhere(view);
    route::RouteConfiguration {
        name: names::HTTP_PROXY.into(),
        virtual_hosts: table.finish(rest),
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
    let rest = answers::as_meant(view.index.mesh().outbound_policy);
    route::RouteConfiguration {
        name: names::captured_http(number),
        virtual_hosts: table.finish(rest),
        validate_clusters: Some(false),
        ..Default::default()
    }
}

/// Whether there are hosts that only VirtualServices know, which are asked for on port 80.
pub(crate) fn has_hosts_without_service(view: &View<'_>) -> bool {
    MeshRules::new(view).hosts_without_service(view).next().is_some()
}

struct Table<'a> {
    view: &'a View<'a>,
    rules: MeshRules<'a>,
    hosts: Hosts,
    findings: &'a mut Findings,
}

impl<'a> Table<'a> {
    fn new(view: &'a View<'a>, findings: &'a mut Findings) -> Self {
        Self { view, rules: MeshRules::new(view), hosts: Hosts::default(), findings }
    }

    /// A port of a service where requests come as they were sent: under every name, with the port and without.
    fn captured_port(&mut self, service: &Service, port: &ServicePort) {
        let rules = self.rules.of_host(service.host().as_str(), service.namespace());
        let routes = self.http_routes(service, port, rules.as_deref());
        let domains = domains::of_captured(service, port.number, self.view);
        self.host(service, names::virtual_host(service.host().as_str(), port.number), domains, routes);
    }

    fn service_port(&mut self, service: &Service, port: &ServicePort) {
        let domains = domains::of(service, port.number, self.view);
        let rules = self.rules.of_host(service.host().as_str(), service.namespace());
        let mut routes = Vec::new();
        if !port.protocol.is_http() {
            routes.push(tunnel::route(self.view, service, port, rules.as_deref(), self.findings));
        }
        if port.protocol.is_http() || port.protocol == Protocol::Auto {
            routes.extend(self.http_routes(service, port, rules.as_deref()));
        }
        routes.extend(answers::wrong_way(service, port));
        self.host(service, names::virtual_host(service.host().as_str(), port.number), domains, routes);
    }

    /// What else a service is asked for: a port that it does not have, or none where it has several.
    fn other_ports(&mut self, service: &Service) {
        let domains = domains::of_any_port(service, self.view);
        self.host(service, format!("{}:*", service.host()), domains, answers::no_such_port(service));
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
        let (mesh, view) = (self.rules.clone(), self.view);
        for (rules, host) in mesh.hosts_without_service(view) {
            let covers_services = host.is_wildcard() && view.services().any(|e| host.covers(e.service.host().as_str()));
            if covers_services {
                continue;
            }
            let routes = self.compile(rules, PLAIN_HTTP);
            let domains = [host.to_string(), format!("{host}:{PLAIN_HTTP}")].map(|domain| (Right::Rule, domain));
            if !routes.is_empty() {
                let name = names::virtual_host(host.as_str(), PLAIN_HTTP);
                self.hosts.add(rules.object(), name, domains.into(), routes);
            }
        }
    }

    fn host(&mut self, service: &Service, name: String, domains: Vec<Domain>, routes: Vec<route::Route>) {
        self.hosts.add(format!("service {}", service.key), name, domains, routes);
    }

    fn finish(self, rest: route::VirtualHost) -> Vec<route::VirtualHost> {
        self.hosts.finish(rest, self.findings)
    }
}
