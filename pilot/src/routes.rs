//! HTTP routes: what a VirtualService's rules become, and the route of a service that has none.

mod action;
mod cors;
mod fault;
mod hash;
mod headers;
mod matches;
mod redirect;
mod retry;

use api::envoy::config::route::v3 as route;
use api::prost_types;
use galley::kinds::{HttpMatch, Labels, selects};
use registry::{Service, ServicePort};

use crate::diagnostic::{Code, Findings};
use crate::endpoints::fails_over;
use crate::names;
use crate::virtual_service::{HttpRule, Rules};
use crate::visibility::View;
use crate::wire;

pub(crate) use action::{Destinations, forward};

/// Where rules are compiled for.
pub(crate) struct Place<'a> {
    pub view: &'a View<'a>,
    /// `mesh`, or gateways as `namespace/name`.
    pub gateways: &'a [String],
    /// The port that requests come in on.
    pub port: u16,
    /// All labels of the proxy that any rule may select by.
    pub labels: &'a Labels,
}

impl Place<'_> {
    /// Whether a match's conditions that are known beforehand hold here.
    fn admits(&self, rules: &Rules, of: &HttpMatch) -> bool {
        self.gateways.iter().any(|gateway| rules.applies_to(&of.gateways, gateway))
            && of.port.is_none_or(|port| port == self.port)
            && selects(&of.source_labels, self.labels)
            && (of.source_namespace.is_empty() || of.source_namespace == self.view.audience.namespace)
    }
}

/// The routes of a VirtualService here, in its order, up to the first that takes every request. Empty if none of its
/// rules is for this place.
pub(crate) fn compile(place: &Place<'_>, rules: &Rules, findings: &mut Findings) -> Vec<route::Route> {
    let mut routes = Vec::new();
    for rule in &rules.http {
        let everything = HttpMatch::default();
        let unmatched = rule.route.matches.is_empty().then_some(&everything);
        for of in rule.route.matches.iter().chain(unmatched) {
            if !place.admits(rules, of) {
                continue;
            }
            if let Some(claim) = of.headers.keys().chain(of.without_headers.keys()).find(|name| name.starts_with('@')) {
                let message =
                    format!("routes do not depend on claims of tokens; a match that has {claim} takes nothing");
                findings.add(Code::Unsupported, rules.object(), message);
                continue;
            }
            let made = one(place, rules, rule, of, findings);
            let last = is_catch_all(&made);
            routes.push(made);
            if last {
                return routes;
            }
        }
    }
    routes
}

fn one(place: &Place<'_>, rules: &Rules, rule: &HttpRule, of: &HttpMatch, findings: &mut Findings) -> route::Route {
    let route_stats = place.view.audience.features.route_stats;
    if !route_stats && !of.stat_prefix.is_empty() {
        findings.add(Code::Unsupported, rules.object(), "statPrefix is not applied by weft's own proxies");
    }
    let name = [rule.route.name.as_str(), of.name.as_str()].into_iter().filter(|name| !name.is_empty());
    let mut made = route::Route {
        name: name.collect::<Vec<_>>().join("."),
        r#match: Some(matches::compile(of)),
        metadata: wire::config_metadata("virtual-service", &rules.meta),
        stat_prefix: if route_stats { of.stat_prefix.clone() } else { String::new() },
        ..Default::default()
    };
    headers::apply(&rule.route.headers, &mut made);
    if let Some(fault) = rule.route.fault.as_ref().and_then(fault::compile) {
        made.typed_per_filter_config.insert(fault::FILTER.into(), api::any(&fault));
    }
    if let Some(cors) = &rule.route.cors {
        made.typed_per_filter_config.insert(cors::FILTER.into(), api::any(&cors::compile(cors)));
    }
    action::apply(place, rules, rule, &mut made, findings);
    made
}

/// Whether a route takes every request, so that none after it is ever reached.
pub(crate) fn is_catch_all(of: &route::Route) -> bool {
    use route::route_match::PathSpecifier;
    of.r#match.as_ref().is_some_and(|m| {
        let everywhere = matches!(&m.path_specifier, Some(PathSpecifier::Prefix(prefix)) if prefix == "/");
        everywhere && m.headers.is_empty() && m.query_parameters.is_empty()
    })
}

/// The route of a service port without rules: `default`.
pub(crate) fn default(view: &View<'_>, service: &Service, port: &ServicePort) -> route::Route {
    let host = service.host().as_str();
    let traffic = view.rule(service).map(|rule| rule.traffic(port.number, None)).unwrap_or_default();
    let hash_policy = hash::of_traffic(view.audience, &traffic);
    let mut action = forward(names::outbound_cluster(port.number, "", host));
    action.retry_policy = retry::compile(None, !hash_policy.is_empty(), fails_over(&traffic));
    action.hash_policy = hash_policy;
    route::Route {
        name: "default".into(),
        r#match: Some(matches::everything()),
        decorator: operation(host, port.number),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    }
}

/// The name of the span that a request makes: `host:port/*`.
pub(crate) fn operation(host: &str, port: u16) -> Option<route::Decorator> {
    Some(route::Decorator { operation: format!("{host}:{port}/*"), propagate: None })
}

/// No limit, which Envoy spells as zero.
pub(crate) fn no_timeout() -> Option<prost_types::Duration> {
    Some(prost_types::Duration::default())
}

pub(crate) use matches::{connect, everything};
