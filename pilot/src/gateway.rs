//! What a gateway proxy serves: the servers of all Gateways that select it, put together by port.

mod credentials;
mod http;
mod l4;
mod ports;

use std::sync::Arc;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use galley::kinds::{Gateway, GatewayHost, Server, ServerTlsMode};
use galley::{Config, Meta};

use crate::compile::Own;
use crate::diagnostic::{Code, Findings};
use crate::http_manager::{self, Routes, Side};
use crate::listener as chains;
use crate::node::Node;
use crate::policy::Guard;
use crate::resource::Resource;
use crate::visibility::View;
use crate::{names, telemetry, tls};

use ports::{Port, Transport};

/// A server and the Gateway it stands in.
#[derive(Clone, Copy)]
struct Bound<'a> {
    gateway: &'a Config<Gateway>,
    server: &'a Server,
}

/// Listeners and route tables of a gateway proxy.
pub(crate) fn compile(view: &View<'_>, node: &Node, findings: &mut Findings) -> Own {
    let gateways = &view.index.inputs.config.gateways;
    let selected = gateways.iter().filter(|gateway| node.has_labels(&gateway.spec.selector));
    let servers = selected.flat_map(|gateway| gateway.spec.servers.iter().map(|server| Bound { gateway, server }));
    let guard = Guard::new(view, node, findings);
    let clusters = guard.clusters.iter().map(|cluster| Resource::encode(&cluster.name, cluster));
    let mut own = Own { clusters: clusters.collect(), ..Own::default() };
    for port in ports::merge(node, servers, findings) {
        let mut compile = Compile { view, node, port: &port, guard: &guard, findings, own: &mut own };
        let listener = compile.listener();
        if let Some(listener) = listener {
            own.listeners.push(telemetry::resource(view, false, listener));
        }
    }
    own
}

struct Compile<'a> {
    view: &'a View<'a>,
    node: &'a Node,
    port: &'a Port<'a>,
    guard: &'a Guard,
    findings: &'a mut Findings,
    own: &'a mut Own,
}

impl Compile<'_> {
    /// `None` where nothing of the port can be served.
    fn listener(&mut self) -> Option<listener::Listener> {
        let chains = match self.port.transport {
            Transport::Http => self.plain_http(),
            Transport::Tcp => self.plain_tcp(),
            Transport::Tls => self.tls(),
        };
        if chains.is_empty() {
            return None;
        }
        let (address, bound) = (self.port.address, self.port.bound);
        let name = names::listener(&address.to_string(), bound);
        let mut made = chains::listener(name, address, bound, core::TrafficDirection::Outbound, chains);
        if self.view.index.mesh().topology.proxy_protocol {
            made.listener_filters.insert(0, chains::proxy_protocol());
        }
        Some(made)
    }

    fn plain_http(&mut self) -> Vec<listener::FilterChain> {
        let name = names::gateway_http(self.port.number);
        let chain = chains::chain(String::new(), self.http_filter(&name));
        self.routes(&name, &self.port.servers);
        vec![chain]
    }

    fn plain_tcp(&mut self) -> Vec<listener::FilterChain> {
        let servers = self.port.servers.iter();
        let filter = servers.filter_map(|bound| l4::tcp(self.view, self.node, bound, self.findings)).next();
        self.guard.before(filter.into_iter().map(|filter| chains::chain(String::new(), filter)).collect())
    }

    /// One chain per server that ends TLS, one per SNI match of those that pass it on.
    fn tls(&mut self) -> Vec<listener::FilterChain> {
        let mut made: Vec<listener::FilterChain> = Vec::new();
        for bound in &self.port.servers {
            if bound.server.tls.as_ref().is_some_and(|tls| tls.mode == ServerTlsMode::AutoPassthrough) {
                let message =
                    "AUTO_PASSTHROUGH is not implemented; use PASSTHROUGH and a VirtualService with a tls route";
                bound.complain(self.findings, Code::Unsupported, message);
                continue;
            }
            let chains = if bound.server.terminates_tls() {
                self.terminating(bound).into_iter().collect()
            } else {
                self.guard.before(l4::passthrough(self.view, self.node, bound, self.findings))
            };
            for chain in chains {
                let same = |other: &listener::FilterChain| other.filter_chain_match == chain.filter_chain_match;
                if made.iter().any(same) {
                    bound.complain(self.findings, Code::Conflict, "an older server of this port has the same hosts");
                } else {
                    made.push(chain);
                }
            }
        }
        made
    }

    fn terminating(&mut self, bound: &Bound<'_>) -> Option<listener::FilterChain> {
        let settings = bound.server.tls.as_ref()?;
        let shown = match credentials::of(settings, self.node, &self.view.index.inputs.credentials) {
            Ok(shown) => shown,
            Err((code, message)) => {
                bound.complain(self.findings, code, message);
                return None;
            }
        };
        if let Some((code, message)) = &shown.waits_for {
            bound.complain(self.findings, *code, message);
        }
        let http = bound.is_http();
        let Some(socket) = tls::server(settings, &shown.names(), self.view.index.mesh(), http) else {
            bound.complain(self.findings, Code::Unsupported, "the server names no certificate");
            return None;
        };
        let filter = if http {
            let server = &bound.server.port;
            let meta = bound.meta();
            let name = names::gateway_https(server.number, &server.name, &meta.name, &meta.namespace);
            let filter = self.http_filter(&name);
            self.routes(&name, std::slice::from_ref(bound));
            filter
        } else {
            l4::tcp(self.view, self.node, bound, self.findings)?
        };
        self.own.secrets.extend(shown.resources);
        let mut chain = chains::chain_for(bound.server.port.name.clone(), chains::TLS, &[], filter, Some(socket));
        if let Some(matches) = &mut chain.filter_chain_match {
            matches.server_names = l4::server_names(&bound.server.hosts);
        }
        if http { Some(chain) } else { self.guard.before(vec![chain]).pop() }
    }

    fn http_filter(&self, routes: &str) -> listener::Filter {
        let stat_prefix = format!("outbound_{}", self.port.number);
        http_manager::filter(self.view, Side::Gateway, &stat_prefix, Routes::Named(routes.to_owned()), self.guard)
    }

    fn routes(&mut self, name: &str, servers: &[Bound<'_>]) {
        let table = http::route_table(self.view, self.node, name, servers, self.findings);
        self.own.routes.push(Resource::encode(name, &table));
    }
}

impl<'a> Bound<'a> {
    fn meta(&self) -> &'a Meta {
        &self.gateway.meta
    }

    /// As VirtualServices refer to it: `namespace/name`.
    fn name(&self) -> String {
        format!("{}/{}", self.meta().namespace, self.meta().name)
    }

    fn is_http(&self) -> bool {
        let protocol = self.server.port.protocol;
        protocol.is_http() || protocol == registry::Protocol::Https
    }

    fn complain(&self, findings: &mut Findings, code: Code, message: impl Into<String>) {
        let message = format!("port {}: {}", self.server.port.number, message.into());
        findings.add(code, format!("Gateway {}", self.name()), message);
    }
}

/// The narrower of a server's host and a VirtualService's, if one covers the other.
fn intersect(server: &GatewayHost, rule: &api::Hostname, namespace: &str) -> Option<String> {
    if server.namespace.as_ref().is_some_and(|wanted| wanted != namespace) {
        return None;
    }
    let served = api::Hostname::new(&server.host).ok()?;
    if served.covers(rule.as_str()) {
        Some(rule.to_string())
    } else {
        rule.covers(served.as_str()).then(|| served.to_string())
    }
}

/// The VirtualServices that a gateway's server may use, oldest first.
fn rules_of<'a>(view: &'a View<'_>, bound: &Bound<'_>) -> impl Iterator<Item = &'a Arc<crate::virtual_service::Rules>> {
    let name = bound.name();
    let visible = view.index.config.virtual_services.visible_in(&view.audience.namespace);
    visible.filter(move |rules| rules.is_bound_to(&name))
}
