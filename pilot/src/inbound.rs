//! What a sidecar does for its own workload: one listener per served port, or one for all where connections are
//! captured, and the clusters that are its application.

use std::collections::BTreeSet;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::config::endpoint::v3 as endpoint;
use api::envoy::config::listener::v3 as listener;
use api::envoy::config::route::v3 as route;
use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use galley::kinds::MtlsMode;
use registry::{Protocol, Service};

use crate::diagnostic::Findings;
use crate::http_manager::{self, Routes, Side};
use crate::listener::{RAW, TLS, chain_for, tcp_proxy};
use crate::node::{Node, Served};
use crate::policy::Guard;
use crate::resource::Resource;
use crate::visibility::View;
use crate::{capture, clusters, names, routes, telemetry, tls, wire};

/// Clusters and listeners for what the workload serves; the first of several on one port has it.
pub(crate) fn compile(view: &View<'_>, node: &Node, findings: &mut Findings) -> (Vec<Resource>, Vec<Resource>) {
    let guard = Guard::new(view, node, findings);
    let mut ports = BTreeSet::new();
    let served = node.services.iter().filter(|served| ports.insert(served.port));
    let served: Vec<Inbound<'_>> = served.map(|served| Inbound::new(view, node, served, &guard)).collect();
    let mut clusters: Vec<_> = served.iter().map(Inbound::cluster).collect();
    clusters.extend(guard.clusters.iter().cloned());
    let listeners = match node.capture {
        None => served.iter().map(Inbound::listener).collect(),
        Some(capture) => {
            let chains = served.iter().flat_map(Inbound::captured_chains).collect();
            clusters.extend(capture::passthrough_clusters(capture));
            vec![capture::virtual_inbound(view, node, capture, chains, &ports, &guard)]
        }
    };
    let clusters = clusters.iter().map(|cluster| Resource::encode(&cluster.name, cluster));
    (clusters.collect(), listeners.into_iter().map(|listener| telemetry::resource(view, true, listener)).collect())
}

struct Inbound<'a> {
    view: &'a View<'a>,
    node: &'a Node,
    served: &'a Served,
    guard: &'a Guard,
    /// Of the route table and of the cluster.
    name: String,
    /// The host that callers know the port by.
    host: String,
    service: Option<&'a Service>,
}

impl<'a> Inbound<'a> {
    fn new(view: &'a View<'a>, node: &'a Node, served: &'a Served, guard: &'a Guard) -> Self {
        let domain = &view.index.mesh().domain;
        let host = api::Hostname::resolve(&served.service, &node.namespace, domain);
        let host = host.map_or_else(|_| served.service.clone(), |host| host.to_string());
        let service = view.named(&host).map(|entry| &*entry.service);
        Self { view, node, served, guard, name: names::inbound(served.port), host, service }
    }

    fn cluster(&self) -> cluster::Cluster {
        let (target, served) = (self.served.target, self.served);
        let address = wire::socket_address(&target.ip().to_string(), target.port());
        let locality =
            endpoint::LocalityLbEndpoints { lb_endpoints: vec![crate::endpoints::at(address)], ..Default::default() };
        let mut cluster = cluster::Cluster {
            name: self.name.clone(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
            load_assignment: Some(endpoint::ClusterLoadAssignment {
                cluster_name: self.name.clone(),
                endpoints: vec![locality],
                ..Default::default()
            }),
            ..Default::default()
        };
        let pool = self.service.and_then(|service| {
            let rule = self.view.rule(service)?;
            rule.traffic(served.port, None).connection_pool
        });
        clusters::limits(pool.as_ref(), &mut cluster);
        if served.protocol.is_http2() {
            cluster.typed_extension_protocol_options.extend([clusters::http2()]);
        }
        cluster.upstream_bind_config = self.node.capture.and_then(|capture| capture::source(target.ip(), capture));
        let metadata = self.service.map(clusters::service_metadata);
        cluster.metadata = metadata.and_then(|istio| wire::metadata([("istio", istio)]));
        cluster
    }

    fn listener(&self) -> listener::Listener {
        let (address, port) = (self.node.address(), self.served.port);
        let name = names::listener(&address.to_string(), port);
        let chains = self.chains(&name);
        let listener = crate::listener::listener(name, address, port, core::TrafficDirection::Inbound, chains);
        crate::listener::of_node(self.node, listener)
    }

    /// The same chains, for connections that were meant for this port.
    fn captured_chains(&self) -> Vec<listener::FilterChain> {
        capture::to_port(self.served.port, self.chains(&names::listener("0.0.0.0", self.served.port)))
    }

    /// Chains by what PeerAuthentication asks for: mutual TLS, plaintext, or both.
    fn chains(&self, name: &str) -> Vec<listener::FilterChain> {
        let mesh = self.view.index.mesh();
        let peers = &self.view.index.config.peers;
        let mutual = |alpn: &[&str]| {
            let socket = Some(tls::mutual_downstream(mesh));
            chain_for(format!("{name}_mtls"), TLS, alpn, self.filter(), socket)
        };
        let plain = || chain_for(format!("{name}_plain"), RAW, &[], self.filter(), None);
        // TLS that is not the mesh's is the application's own.
        let opaque = || chain_for(format!("{name}_tls"), TLS, &[], self.filter(), None);
        let chains = match peers.of_port(&self.node.namespace, &self.node.labels, self.served.port) {
            MtlsMode::Strict => vec![mutual(&[])],
            // Callers that were not yet told to leave mutual TLS go on until they are.
            _ if self.is_http() => vec![mutual(&tls::ISTIO_ALPN), plain()],
            MtlsMode::Disable | MtlsMode::Permissive | MtlsMode::Unset => {
                vec![mutual(&tls::ISTIO_ALPN), opaque(), plain()]
            }
        };
        if self.is_http() { chains } else { self.guard.before(chains) }
    }

    fn is_http(&self) -> bool {
        self.served.protocol.is_http()
    }

    fn filter(&self) -> listener::Filter {
        if self.is_http() {
            let stat_prefix =
                format!("inbound_{}", names::listener(&self.node.address().to_string(), self.served.port));
            http_manager::filter(self.view, Side::Inbound, &stat_prefix, Routes::Inline(self.routes()), self.guard)
        } else {
            tcp_proxy(self.view, true, &self.name, vec![(self.name.clone(), 1)])
        }
    }

    fn routes(&self) -> route::RouteConfiguration {
        let mut action = routes::forward(self.name.clone());
        action.retry_policy = self.retries();
        let route = route::Route {
            name: "default".into(),
            r#match: Some(routes::everything()),
            decorator: routes::operation(&self.host, self.served.port),
            action: Some(route::route::Action::Route(action)),
            ..Default::default()
        };
        let host = route::VirtualHost {
            name: format!("inbound|http|{}", self.served.port),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        };
        route::RouteConfiguration {
            name: self.name.clone(),
            virtual_hosts: vec![host],
            validate_clusters: Some(false),
            ..Default::default()
        }
    }

    /// A request that the application's connection never took is tried again; gRPC clients do so themselves.
    fn retries(&self) -> Option<route::RetryPolicy> {
        let grpc = matches!(self.served.protocol, Protocol::Grpc | Protocol::GrpcWeb);
        (!grpc).then(|| route::RetryPolicy {
            retry_on: "reset-before-request".into(),
            num_retries: Some(2),
            ..Default::default()
        })
    }
}
