//! CONNECT to ports that do not speak HTTP: the bytes go to the port's cluster, or where TCP and TLS rules say.

use api::envoy::config::route::v3 as route;
use galley::kinds::{L4Match, VirtualService, WeightedDestination, selects};
use registry::{Protocol, Service, ServicePort};
use route::route_action::upgrade_config::ConnectConfig;
use route::route_action::{ClusterSpecifier, UpgradeConfig};
use route::weighted_cluster::ClusterWeight;

use crate::diagnostic::Findings;
use crate::names;
use crate::routes::{self, Destinations};
use crate::virtual_service::Rules;
use crate::visibility::View;

/// The route of a port's CONNECT requests.
pub(super) fn route(
    view: &View<'_>,
    service: &Service,
    port: &ServicePort,
    rules: Option<&Rules>,
    findings: &mut Findings,
) -> route::Route {
    let own = names::outbound_cluster(port.number, "", service.host().as_str());
    let mut action = routes::forward(own);
    if let Some(rules) = rules
        && let Some(destinations) = destinations(view, service, port, rules)
    {
        let namespace = rules.meta.namespace.as_str();
        let mut resolve = Destinations { view, namespace, port: port.number, rules, findings };
        action.cluster_specifier = Some(specifier(destinations, &mut resolve));
    }
    action.upgrade_configs = vec![UpgradeConfig {
        upgrade_type: "CONNECT".into(),
        connect_config: Some(ConnectConfig::default()),
        ..Default::default()
    }];
    route::Route {
        name: "default".into(),
        r#match: Some(routes::connect()),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

/// The clusters, by weight, that the connections to a port go to.
pub(crate) fn clusters(
    view: &View<'_>,
    service: &Service,
    port: &ServicePort,
    rules: Option<&Rules>,
    findings: &mut Findings,
) -> Vec<(String, u32)> {
    let own = || vec![(names::outbound_cluster(port.number, "", service.host().as_str()), 1)];
    let Some(rules) = rules else { return own() };
    let Some(destinations) = destinations(view, service, port, rules) else { return own() };
    let namespace = rules.meta.namespace.as_str();
    let mut resolve = Destinations { view, namespace, port: port.number, rules, findings };
    let alone = destinations.len() == 1;
    let weight = |of: &WeightedDestination| if alone { 1 } else { of.weight };
    destinations.iter().map(|of| (resolve.cluster(&of.destination), weight(of))).collect()
}

/// The first rule that takes the port's connections.
fn destinations<'a>(
    view: &View<'_>,
    service: &Service,
    port: &ServicePort,
    rules: &'a Rules,
) -> Option<&'a [WeightedDestination]> {
    let here = |of: &L4Match| {
        rules.applies_to(&of.gateways, VirtualService::MESH)
            && of.port.is_none_or(|wanted| wanted == port.number)
            && selects(&of.source_labels, &view.audience.labels)
            && (of.source_namespace.is_empty() || of.source_namespace == view.audience.namespace)
    };
    let host = service.host().as_str();
    let sni = |of: &L4Match| {
        let hosts = of.sni_hosts.iter().filter_map(|sni| api::Hostname::new(sni).ok());
        hosts.into_iter().any(|sni| sni.covers(host))
    };
    if matches!(port.protocol, Protocol::Tls | Protocol::Https)
        && let Some(tls) = rules.tls.iter().find(|route| route.matches.iter().any(|of| here(of) && sni(of)))
    {
        return Some(&tls.route);
    }
    let everywhere = L4Match::default();
    let taken = |matches: &[L4Match]| if matches.is_empty() { here(&everywhere) } else { matches.iter().any(here) };
    rules.tcp.iter().find(|route| taken(&route.matches)).map(|route| route.route.as_slice())
}

fn specifier(destinations: &[WeightedDestination], resolve: &mut Destinations<'_>) -> ClusterSpecifier {
    if let [only] = destinations {
        return ClusterSpecifier::Cluster(resolve.cluster(&only.destination));
    }
    let weighted = destinations.iter().filter(|of| of.weight > 0).map(|of| ClusterWeight {
        name: resolve.cluster(&of.destination),
        weight: Some(of.weight),
        ..Default::default()
    });
    ClusterSpecifier::WeightedClusters(route::WeightedCluster { clusters: weighted.collect(), ..Default::default() })
}
