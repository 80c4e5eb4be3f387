//! What the explicit proxy answers by itself: why a request leads nowhere, and what would.

use api::envoy::config::route::v3 as route;
use registry::{Protocol, Service, ServicePort};

use super::elsewhere;
use crate::mesh::OutboundPolicy;
use crate::visibility::View;
use crate::{names, routes, wire};

/// Requests to hosts that are not in the mesh go there, if they may and the proxy can.
pub(super) fn elsewhere(view: &View<'_>) -> route::VirtualHost {
    let mesh = view.index.mesh();
    let (name, body) = match mesh.outbound_policy {
        OutboundPolicy::AllowAny => (
            "allow_any",
            "no service of this name is in the mesh, and this proxy leads nowhere else; see `weft services`, or name \
             the host in no_proxy\n",
        ),
        OutboundPolicy::RegistryOnly => (
            "block_all",
            "no service of this name is in the mesh, which lets nothing out to others (outboundTrafficPolicy \
             REGISTRY_ONLY); see `weft services`\n",
        ),
    };
    let every = [routes::connect(), routes::everything()];
    let routes = if elsewhere::is_open(view) {
        let body = "no service of this name is in the mesh, and names of the mesh are not looked for elsewhere; see \
                    `weft services`\n";
        let refused = every.map(|of| refuse("no_such_service", elsewhere::of_the_mesh(of, &mesh.domain), body));
        refused.into_iter().chain(elsewhere::routes(name)).collect()
    } else {
        every.map(|of| refuse(name, of, body)).into()
    };
    route::VirtualHost { name: name.into(), domains: vec!["*".into()], routes, ..Default::default() }
}

/// Captured requests to hosts that are not in the mesh go where they were meant to go, if they may.
pub(super) fn as_meant(policy: OutboundPolicy) -> route::VirtualHost {
    let (name, route) = match policy {
        OutboundPolicy::AllowAny => {
            let name = "allow_any";
            let action = route::route::Action::Route(routes::forward(names::PASSTHROUGH.to_owned()));
            let everything = Some(routes::everything());
            (name, route::Route { name: name.into(), r#match: everything, action: Some(action), ..Default::default() })
        }
        OutboundPolicy::RegistryOnly => {
            let name = "block_all";
            let body = "no service of this name is in the mesh, which lets nothing out to others\n";
            (name, refuse(name, routes::everything(), body))
        }
    };
    route::VirtualHost { name: name.into(), domains: vec!["*".into()], routes: vec![route], ..Default::default() }
}

/// Answers requests to a service on a port that it does not have.
pub(super) fn no_such_port(service: &Service) -> Vec<route::Route> {
    let served = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
    let ports: Vec<String> = served.map(|port| format!("{} ({})", port.number, word(port.protocol))).collect();
    let has = if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") };
    let body = format!("{} is not served on the port that was asked for; it has {has}\n", service.host());
    [routes::connect(), routes::everything()].map(|of| refuse("no_such_port", of, &body)).into()
}

/// Answers CONNECT to a port that speaks HTTP, and HTTP to one that does not.
pub(super) fn wrong_way(service: &Service, port: &ServicePort) -> Option<route::Route> {
    let (host, number) = (service.host(), port.number);
    if port.protocol.is_http() {
        let body = format!(
            "{host}:{number} speaks HTTP; send the proxy plain requests for http://{host}:{number}/, not CONNECT\n"
        );
        return Some(refuse("use_http", routes::connect(), &body));
    }
    let protocol = word(port.protocol);
    let body = format!("{host}:{number} speaks {protocol}, not HTTP; reach it with CONNECT through the proxy\n");
    (port.protocol != Protocol::Auto).then(|| refuse("use_connect", routes::everything(), &body))
}

fn word(protocol: Protocol) -> &'static str {
    if protocol == Protocol::Auto { "any protocol" } else { protocol.as_str() }
}

fn refuse(name: &str, of: route::RouteMatch, body: &str) -> route::Route {
    let answer = route::DirectResponseAction { status: 502, body: Some(wire::inline(body)), ..Default::default() };
    route::Route {
        name: name.into(),
        r#match: Some(of),
        action: Some(route::route::Action::DirectResponse(answer)),
        ..Default::default()
    }
}
