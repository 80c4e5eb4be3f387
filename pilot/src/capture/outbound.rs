//! Connections that go out. HTTP goes by the host that it asks for; other protocols go by the address that the program
//! dialled, or by the server name of their TLS. What is nobody's of the mesh goes where it was meant to go, if it may.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as listener;
use registry::{Entry, Protocol, Service, ServicePort};

use super::held::Held;
use super::{OUTBOUND_PORT, SILENCE, black_hole, end_of_loops, everywhere, passthrough};
use crate::diagnostic::{Code, Findings};
use crate::http_manager::{self, Routes, Side};
use crate::http_proxy::{self, MeshRules, tunnel};
use crate::listener::{RAW, TLS, chain, chain_for, http_inspector, original_dst, tcp_proxy, tls_inspector};
use crate::mesh::OutboundPolicy;
use crate::node::Capture;
use crate::policy::Guard;
use crate::resource::Resource;
use crate::visibility::View;
use crate::{names, telemetry, wire};

/// As the HTTP inspector names them; TLS may offer the same.
const HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// What all captured sidecars of an audience share.
pub(crate) struct Captured {
    pub clusters: Vec<Resource>,
    pub listeners: Vec<Resource>,
    pub routes: Vec<Resource>,
}

pub(crate) fn compile(view: &View<'_>, capture: Capture, findings: &mut Findings) -> Captured {
    let clusters = [passthrough(names::PASSTHROUGH), black_hole()];
    let clusters = clusters.iter().map(|cluster| Resource::encode(&cluster.name, cluster)).collect();
    let services = Services::of(view, capture, findings);
    let mut made = Outbound { view, capture, rules: MeshRules::new(view), findings };
    let mut listeners = vec![made.virtual_outbound()];
    let mut routes = Vec::new();
    for (number, port) in &services.ports {
        if !port.http.is_empty() || *number == http_proxy::PLAIN_HTTP {
            let table = http_proxy::captured_table(view, *number, &port.http, made.findings);
            routes.push(Resource::encode(&table.name, &table));
        }
        listeners.push(made.port(*number, port));
    }
    for ((address, number), (service, port)) in &services.addressed {
        listeners.push(made.address(*address, *number, service, port));
    }
    let listeners = listeners.into_iter().map(|listener| telemetry::resource(view, false, listener)).collect();
    Captured { clusters, listeners, routes }
}

type Of<'a> = (&'a Service, &'a ServicePort);

/// Visible service ports, by what tells their connections from others.
#[derive(Default)]
struct Services<'a> {
    ports: BTreeMap<u16, Port<'a>>,
    /// By the address that the program dialled.
    addressed: BTreeMap<(IpAddr, u16), Of<'a>>,
}

/// Services that share a listener for all addresses.
#[derive(Default)]
struct Port<'a> {
    /// By host.
    http: Vec<Of<'a>>,
    /// By server name.
    tls: Vec<Of<'a>>,
    /// By network.
    networks: BTreeMap<ipnet::IpNet, Of<'a>>,
}

impl<'a> Services<'a> {
    fn of(view: &View<'a>, capture: Capture, findings: &mut Findings) -> Self {
        let mut services = Self::default();
        let ports = view.services().flat_map(|entry| entry.service.ports.iter().map(move |port| (entry, port)));
        let ports: Vec<_> = ports.filter(|(_, port)| port.protocol != Protocol::Udp).collect();
        let held = Held::of(view, &ports);
        for (entry, port) in ports {
            services.add(entry, port, &held, capture, findings);
        }
        if http_proxy::has_hosts_without_service(view) {
            services.ports.entry(http_proxy::PLAIN_HTTP).or_default();
        }
        services
    }

    fn add(
        &mut self,
        entry: &'a Entry,
        port: &'a ServicePort,
        held: &Held<'a>,
        capture: Capture,
        findings: &mut Findings,
    ) {
        let service = &*entry.service;
        let of = (service, port);
        if port.protocol.is_http() || port.protocol == Protocol::Auto {
            self.ports.entry(port.number).or_default().http.push(of);
        }
        if port.protocol.is_http() {
            return;
        }
        let families = entry.virtual_addresses().into_iter().filter(|net| capture.ipv6 || net.addr().is_ipv4());
        let (single, networks): (Vec<ipnet::IpNet>, Vec<ipnet::IpNet>) =
            families.partition(|net| net.prefix_len() == net.max_prefix_len());
        for net in single.iter().filter(|net| held.has(service, **net, port.number, findings)) {
            self.addressed.insert((net.addr(), port.number), of);
        }
        // Who did not ask the agent for the address has another than the one that was given.
        let unknown = single.is_empty() || entry.automatic.is_some();
        let named = matches!(port.protocol, Protocol::Tls | Protocol::Https) && unknown;
        if named {
            self.ports.entry(port.number).or_default().tls.push(of);
        }
        for net in networks.iter().filter(|net| held.has(service, **net, port.number, findings)) {
            self.ports.entry(port.number).or_default().networks.insert(*net, of);
        }
        if single.is_empty() && networks.is_empty() && !named && port.protocol != Protocol::Auto {
            let object = format!("service {}", service.key);
            let reason = format!(
                "port {} has no address by which captured connections could be told from others; they go where they \
                 were meant to go. Give the service addresses, or reach it by CONNECT through the HTTP proxy",
                port.number
            );
            findings.add(Code::Unsupported, object, reason);
        }
    }
}

struct Outbound<'a, 'f> {
    view: &'a View<'a>,
    capture: Capture,
    rules: MeshRules<'a>,
    findings: &'f mut Findings,
}

impl Outbound<'_, '_> {
    /// Hands connections to the listener of what they were meant for; those without one are nobody's of the mesh.
    fn virtual_outbound(&self) -> listener::Listener {
        let name = names::VIRTUAL_OUTBOUND;
        // The system redirects what the machine itself sends to its loopback addresses (iptables-extensions(8)).
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let chains = vec![end_of_loops(self.view, false, name, OUTBOUND_PORT), self.nobodys()];
        listener::Listener {
            filter_chains: chains,
            listener_filters: vec![original_dst()],
            use_original_dst: Some(true),
            ..super::at(loopback, name, OUTBOUND_PORT, self.capture, core::TrafficDirection::Outbound)
        }
    }

    /// Services that are told apart by host, server name or network.
    fn port(&mut self, number: u16, port: &Port<'_>) -> listener::Listener {
        let mut chains = Vec::new();
        if !port.http.is_empty() || number == http_proxy::PLAIN_HTTP {
            chains.push(self.http_chain("0.0.0.0", number));
        }
        // A name that is somebody's host is nobody's alias; Envoy takes each only once.
        let mut taken = port.tls.iter().map(|(service, _)| service.host().to_string()).collect();
        chains.extend(port.tls.iter().map(|of| self.tls_chain(*of, &mut taken)));
        chains.extend(port.networks.iter().map(|(net, of)| self.network_chain(*net, *of)));
        let made = everywhere(&names::listener("0.0.0.0", number), number, self.capture, OUTBOUND);
        self.waiting(made, chains, self.nobodys(), !port.tls.is_empty())
    }

    /// A service of this very address.
    fn address(&mut self, address: IpAddr, number: u16, service: &Service, port: &ServicePort) -> listener::Listener {
        let name = names::listener(&address.to_string(), number);
        let own = chain(String::new(), self.forward(service, port));
        let http = (port.protocol == Protocol::Auto).then(|| self.http_chain(&address.to_string(), number));
        let made = crate::listener::listener(name, address, number, OUTBOUND, Vec::new());
        self.waiting(made, http.into_iter().collect(), own, false)
    }

    /// A listener that binds nothing, with what it has to look at to choose a chain.
    fn waiting(
        &self,
        made: listener::Listener,
        chains: Vec<listener::FilterChain>,
        otherwise: listener::FilterChain,
        by_server_name: bool,
    ) -> listener::Listener {
        let by_http = chains.iter().filter_map(|chain| chain.filter_chain_match.as_ref());
        let by_http = by_http.flat_map(|matches| &matches.application_protocols).next().is_some();
        let inspectors = [(by_server_name || by_http).then(tls_inspector), by_http.then(http_inspector)];
        let inspectors: Vec<_> = inspectors.into_iter().flatten().collect();
        listener::Listener {
            bind_to_port: Some(false),
            filter_chains: chains,
            default_filter_chain: Some(otherwise),
            // A server that speaks first leaves its client silent.
            continue_on_listener_filters_timeout: !inspectors.is_empty(),
            listener_filters_timeout: (!inspectors.is_empty()).then(|| wire::duration(SILENCE)),
            listener_filters: inspectors,
            ..made
        }
    }

    fn http_chain(&self, address: &str, number: u16) -> listener::FilterChain {
        let stat_prefix = format!("outbound_{}", names::listener(address, number));
        let routes = Routes::Named(names::captured_http(number));
        let filter = http_manager::filter(self.view, Side::CapturedOutbound, &stat_prefix, routes, &Guard::default());
        let matches = listener::FilterChainMatch {
            transport_protocol: RAW.to_owned(),
            application_protocols: HTTP.map(str::to_owned).to_vec(),
            ..Default::default()
        };
        listener::FilterChain { filter_chain_match: Some(matches), ..chain(String::new(), filter) }
    }

    fn tls_chain(&mut self, (service, port): Of<'_>, taken: &mut BTreeSet<String>) -> listener::FilterChain {
        let filter = self.forward(service, port);
        let mut made = chain_for(service.host().to_string(), TLS, &[], filter, None);
        let aliases = service.aliases.iter().map(ToString::to_string).filter(|alias| taken.insert(alias.clone()));
        let names = std::iter::once(service.host().to_string()).chain(aliases).collect();
        made.filter_chain_match.get_or_insert_default().server_names = names;
        made
    }

    fn network_chain(&mut self, net: ipnet::IpNet, (service, port): Of<'_>) -> listener::FilterChain {
        let range = core::CidrRange {
            address_prefix: net.network().to_string(),
            prefix_len: Some(u32::from(net.prefix_len())),
        };
        let matches = listener::FilterChainMatch { prefix_ranges: vec![range], ..Default::default() };
        let filter = self.forward(service, port);
        listener::FilterChain { filter_chain_match: Some(matches), ..chain(net.to_string(), filter) }
    }

    fn forward(&mut self, service: &Service, port: &ServicePort) -> listener::Filter {
        let rules = self.rules.of_host(service.host().as_str(), service.namespace());
        let clusters = tunnel::clusters(self.view, service, port, rules.as_deref(), self.findings);
        let stat_prefix = clusters.first().map(|(name, _)| name.clone()).unwrap_or_default();
        tcp_proxy(self.view, false, &stat_prefix, clusters)
    }

    fn nobodys(&self) -> listener::FilterChain {
        let cluster = match self.view.index.mesh().outbound_policy {
            OutboundPolicy::AllowAny => names::PASSTHROUGH,
            OutboundPolicy::RegistryOnly => names::BLACK_HOLE,
        };
        let filter = tcp_proxy(self.view, false, cluster, vec![(cluster.to_owned(), 1)]);
        chain(format!("{}-catchall-tcp", names::VIRTUAL_OUTBOUND), filter)
    }
}

const OUTBOUND: core::TrafficDirection = core::TrafficDirection::Outbound;
