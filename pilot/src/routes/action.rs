//! What a matched request is done with: forwarded to one or several clusters, redirected, or answered.

use api::envoy::config::route::v3 as route;
use galley::kinds::{Destination, HttpAction, HttpDestination, HttpRoute, Mirror, Percent};
use registry::Service;
use route::route::Action;
use route::route_action::{ClusterSpecifier, HashPolicy, HostRewriteSpecifier, RequestMirrorPolicy};
use route::weighted_cluster::ClusterWeight;

use super::{Place, hash, headers, no_timeout, operation, redirect, retry};
use crate::destination_rule::PortTraffic;
use crate::diagnostic::{Code, Findings};
use crate::endpoints::fails_over;
use crate::names;
use crate::virtual_service::{HttpRule, Rules};
use crate::visibility::View;
use crate::wire;

pub(super) fn apply(place: &Place<'_>, rules: &Rules, rule: &HttpRule, to: &mut route::Route, findings: &mut Findings) {
    match &rule.route.action {
        HttpAction::Route(destinations) => route_to(place, rules, rule, destinations, to, findings),
        HttpAction::Redirect(of) => {
            let (action, unknown) = redirect::compile(of, place.port);
            if unknown {
                let message = format!("redirectCode {} cannot be sent; 301 is", of.code);
                findings.add(Code::Unsupported, rules.object(), message);
            }
            to.action = Some(Action::Redirect(action));
        }
        HttpAction::Direct(of) => to.action = Some(Action::DirectResponse(redirect::direct(of))),
        // Delegations were expanded before; what could not be is no rule.
        HttpAction::Delegate(_) => {}
    }
}

/// A plain forward to a cluster, without a limit of time.
pub(crate) fn forward(cluster: String) -> route::RouteAction {
    route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        timeout: no_timeout(),
        ..Default::default()
    }
}

fn route_to(
    place: &Place<'_>,
    rules: &Rules,
    rule: &HttpRule,
    destinations: &[HttpDestination],
    to: &mut route::Route,
    findings: &mut Findings,
) {
    let mut resolve = Destinations { view: place.view, namespace: &rule.namespace, port: place.port, rules, findings };
    let host = destinations.first().map(|of| resolve.host(&of.destination.host)).unwrap_or_default();
    let (specifier, hash_policy) = clusters(destinations, &mut resolve);
    let mirrors = rule.route.mirrors.iter().filter(|mirror| mirror.percentage.millionths() > 0);
    let request_mirror_policies = mirrors.map(|of| mirror(of, &mut resolve)).collect();
    let fails_over = destinations.iter().any(|of| resolve.fails_over(&of.destination));
    let mut action = route::RouteAction {
        cluster_specifier: Some(specifier),
        timeout: rule.route.timeout.map(wire::duration).or_else(no_timeout),
        retry_policy: retry::compile(rule.route.retries.as_ref(), !hash_policy.is_empty(), fails_over),
        hash_policy,
        request_mirror_policies,
        ..Default::default()
    };
    rewrite(&rule.route, destinations, &mut action);
    if let [only] = destinations {
        headers::apply(&only.headers, to);
    }
    to.decorator = operation(&host, place.port);
    to.action = Some(Action::Route(action));
}

/// One cluster, or several by weight; destinations of weight 0 among several get nothing.
fn clusters(destinations: &[HttpDestination], resolve: &mut Destinations<'_>) -> (ClusterSpecifier, Vec<HashPolicy>) {
    let mut hash_policy: Vec<HashPolicy> = Vec::new();
    let mut add = |policies: Vec<HashPolicy>| hash_policy.extend(policies);
    if let [only] = destinations {
        let cluster = resolve.cluster(&only.destination);
        add(resolve.hash_policy(&only.destination));
        return (ClusterSpecifier::Cluster(cluster), hash_policy);
    }
    let mut weighted = Vec::new();
    for of in destinations.iter().filter(|of| of.weight > 0) {
        let mut cluster =
            ClusterWeight { name: resolve.cluster(&of.destination), weight: Some(of.weight), ..Default::default() };
        headers::apply_weighted(&of.headers, &mut cluster);
        weighted.push(cluster);
        add(resolve.hash_policy(&of.destination));
    }
    hash_policy.dedup();
    (
        ClusterSpecifier::WeightedClusters(route::WeightedCluster { clusters: weighted, ..Default::default() }),
        hash_policy,
    )
}

/// The new path and authority of a forwarded request.
fn rewrite(of: &HttpRoute, destinations: &[HttpDestination], action: &mut route::RouteAction) {
    if let Some(rewrite) = &of.rewrite {
        if let Some(regex) = &rewrite.uri_regex {
            action.regex_rewrite = Some(api::envoy::r#type::matcher::v3::RegexMatchAndSubstitute {
                pattern: Some(wire::regex(regex.pattern.as_str())),
                substitution: regex.substitution.clone(),
            });
        } else if let Some(uri) = &rewrite.uri {
            action.prefix_rewrite.clone_from(uri);
        }
    }
    let rewritten = of.rewrite.as_ref().and_then(|rewrite| rewrite.authority.clone());
    let of_only = || match destinations {
        [only] => headers::authority(&only.headers),
        _ => None,
    };
    let authority = rewritten.or_else(|| headers::authority(&of.headers)).or_else(of_only);
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
}

fn mirror(of: &Mirror, resolve: &mut Destinations<'_>) -> RequestMirrorPolicy {
    let part = of.percentage != Percent::ALL;
    RequestMirrorPolicy {
        cluster: resolve.cluster(&of.destination),
        runtime_fraction: part.then(|| wire::runtime_fraction(of.percentage)),
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    }
}

/// Turns destinations of one rule into clusters. A destination that leads nowhere still names its cluster, so that
/// requests to it are answered with 503, and is told of.
pub(crate) struct Destinations<'a> {
    pub view: &'a View<'a>,
    /// Where short names resolve.
    pub namespace: &'a str,
    pub port: u16,
    pub rules: &'a Rules,
    pub findings: &'a mut Findings,
}

impl Destinations<'_> {
    pub fn cluster(&mut self, of: &Destination) -> String {
        let host = self.host(&of.host);
        let Some(service) = self.view.service(&host) else {
            self.complain(Code::UnknownHost, format!("no service {host:?} is visible here"));
            return names::outbound_cluster(of.port.unwrap_or(self.port), of.subset.as_deref().unwrap_or(""), &host);
        };
        let port = self.port(of, service);
        if let Some(subset) = &of.subset
            && self.view.rule(service).is_none_or(|rule| rule.subset(subset).is_none())
        {
            self.complain(Code::UnknownSubset, format!("no DestinationRule for {host:?} has a subset {subset:?}"));
        }
        names::outbound_cluster(port, of.subset.as_deref().unwrap_or(""), service.host().as_str())
    }

    /// The port written, else the service's only one, else the one that the request came in on.
    fn port(&mut self, of: &Destination, service: &Service) -> u16 {
        let port = match (of.port, service.ports.as_slice()) {
            (Some(port), _) => port,
            (None, [only]) => only.number,
            (None, _) => self.port,
        };
        if service.port(port).is_none() {
            self.complain(
                Code::UnknownPort,
                format!("{} has no port {port}; name one in the destination", service.host()),
            );
        }
        port
    }

    fn hash_policy(&self, of: &Destination) -> Vec<HashPolicy> {
        self.traffic(of).map(|traffic| hash::of_traffic(self.view.audience, &traffic)).unwrap_or_default()
    }

    fn fails_over(&self, of: &Destination) -> bool {
        self.traffic(of).is_some_and(|traffic| fails_over(&traffic))
    }

    /// What the destination's DestinationRule says, if it has one.
    fn traffic(&self, of: &Destination) -> Option<PortTraffic> {
        let host = self.host(&of.host);
        let service = self.view.service(&host)?;
        let rule = self.view.rule(service)?;
        let port = of.port.or_else(|| service.ports.first().map(|port| port.number)).unwrap_or(self.port);
        let subset = of.subset.as_deref().and_then(|name| rule.subset(name));
        Some(rule.traffic(port, subset))
    }

    fn host(&self, written: &str) -> String {
        let domain = &self.view.index.mesh().domain;
        api::Hostname::resolve(written, self.namespace, domain).map_or_else(|_| written.to_owned(), |h| h.to_string())
    }

    fn complain(&mut self, code: Code, message: String) {
        self.findings.add(code, self.rules.object(), message);
    }
}
