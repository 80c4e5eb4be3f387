//! The table of a route configuration: virtual hosts, their routes in order, and the lookup.

use std::sync::Arc;

use super::domains::Domains;
use super::{Action, PathRedirect, RateLimit, Redirect, RetryPolicy, RouteMatch, VirtualCluster};
use crate::config::{HeaderMutation, WeightedCluster};
use crate::filter::Overrides;
use crate::http::headers::Headers;
use crate::http::message::RequestHead;
use crate::trace::{Decorator, RouteTracing};

/// `envoy.config.route.v3.RouteConfiguration`, indexed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTable {
    parts: RouteTableParts,
    domains: Domains,
}

/// What a table is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTableParts {
    pub name: String,
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    pub mutation: HeaderMutation,
    pub overrides: Overrides,
    /// Whether mutations run from the table to the route, so that the route has the last word.
    pub most_specific_header_mutations_wins: bool,
    pub ignore_port_in_host_matching: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    pub name: String,
    pub domains: Vec<String>,
    pub routes: Vec<Arc<Route>>,
    pub mutation: HeaderMutation,
    pub require_tls: RequireTls,
    pub virtual_clusters: Vec<VirtualCluster>,
    /// For routes without one of their own.
    pub retry: Option<Arc<RetryPolicy>>,
    pub overrides: Overrides,
    /// Whether `x-envoy-attempt-count` is sent upstream, and downstream.
    pub include_request_attempt_count: bool,
    pub include_attempt_count_in_response: bool,
    pub rate_limits: Vec<RateLimit>,
}

/// Which requests must come by https; others are redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    #[default]
    None,
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// May be empty.
    pub name: String,
    pub matches: RouteMatch,
    pub action: Action,
    pub mutation: HeaderMutation,
    pub overrides: Overrides,
    /// `filter_metadata.istio.config`: the object that this route was compiled from.
    pub config: Option<String>,
    /// What a span of this route is called.
    pub decorator: Option<Decorator>,
    pub tracing: Option<RouteTracing>,
}

/// Where a request goes. Everything is borrowed from the table; clone the `Arc`s to keep it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub table: &'a RouteTable,
    pub virtual_host: &'a Arc<VirtualHost>,
    pub route: &'a Arc<Route>,
    /// The cluster that weights decided on, where they do.
    pub weighted: Option<&'a WeightedCluster>,
}

/// Two virtual hosts claim a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("domain `{domain}` of virtual host {host} is taken by another virtual host")]
pub struct DuplicateDomain {
    pub domain: String,
    /// Position of the virtual host.
    pub host: usize,
}

impl RouteTable {
    pub fn build(parts: RouteTableParts) -> Result<Self, DuplicateDomain> {
        let mut domains = Domains::default();
        for (host, virtual_host) in parts.virtual_hosts.iter().enumerate() {
            for domain in &virtual_host.domains {
                if !domains.insert(domain, host) {
                    return Err(DuplicateDomain { domain: domain.clone(), host });
                }
            }
        }
        Ok(Self { parts, domains })
    }

    pub fn name(&self) -> &str {
        &self.parts.name
    }

    pub fn virtual_hosts(&self) -> &[Arc<VirtualHost>] {
        &self.parts.virtual_hosts
    }

    pub(super) fn parts(&self) -> &RouteTableParts {
        &self.parts
    }

    /// The virtual host of an authority.
    pub fn virtual_host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let host = if self.parts.ignore_port_in_host_matching { without_port(authority) } else { authority };
        self.parts.virtual_hosts.get(self.domains.find(host)?)
    }

    /// The first route of the request's virtual host that matches. `random` decides on shares of requests.
    pub fn find(&self, head: &RequestHead, random: u64) -> Option<Found<'_>> {
        let virtual_host = self.virtual_host(&head.authority)?;
        let route = if virtual_host.require_tls == RequireTls::All && super::redirect::scheme_of(head) != "https" {
            &TO_HTTPS
        } else {
            let path = super::matching::path_only(&head.path);
            virtual_host.routes.iter().find(|route| route.matches.matches(head, path, random))?
        };
        let weighted = match &route.action {
            Action::Forward(action) => action.cluster.weighted(random),
            _ => None,
        };
        Some(Found { table: self, virtual_host, route, weighted })
    }
}

/// The answer to plain requests where TLS is required.
static TO_HTTPS: std::sync::LazyLock<Arc<Route>> = std::sync::LazyLock::new(|| {
    Arc::new(Route {
        name: String::new(),
        matches: RouteMatch {
            path: super::PathMatch::Prefix(String::new()),
            case_sensitive: true,
            headers: Vec::new(),
            query: Vec::new(),
            fraction: None,
            grpc: false,
        },
        action: Action::Redirect(Redirect {
            scheme: Some("https".to_owned()),
            host: None,
            port: None,
            path: PathRedirect::Keep,
            code: 301,
            strip_query: false,
        }),
        mutation: HeaderMutation::default(),
        overrides: Overrides::default(),
        config: None,
        decorator: None,
        tracing: None,
    })
});

/// A host without its port; an IPv6 address keeps its brackets.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && is_host(host) => host,
        _ => authority,
    }
}

/// Guards against taking the last group of a bare IPv6 address for a port.
fn is_host(host: &str) -> bool {
    host.ends_with(']') || !host.contains(':')
}

impl<'a> Found<'a> {
    /// What the routes set for filters, from the most specific level on.
    pub fn overrides(self) -> impl Iterator<Item = &'a Overrides> {
        let cluster = self.weighted.map(|cluster| &cluster.overrides);
        [cluster, Some(&self.route.overrides), Some(&self.virtual_host.overrides), Some(&self.table.parts.overrides)]
            .into_iter()
            .flatten()
            .filter(|level| !level.is_empty())
    }

    /// The name of the cluster; empty, which no cluster is called, where the route names none or a header that the
    /// request does not have.
    pub fn cluster<'h>(&self, headers: &'h Headers) -> &'h str
    where
        'a: 'h,
    {
        match (&self.route.action, self.weighted) {
            (_, Some(cluster)) => &cluster.name,
            (Action::Forward(action), None) => action.cluster.unweighted(headers),
            _ => "",
        }
    }

    /// The place of the virtual cluster that a request counts for.
    pub fn virtual_cluster(&self, head: &RequestHead) -> Option<usize> {
        self.virtual_host.virtual_clusters.iter().position(|cluster| cluster.takes(head))
    }

    /// The retry policy in force: the route's, else the virtual host's.
    pub fn retry(&self) -> Option<&'a Arc<RetryPolicy>> {
        let own = match &self.route.action {
            Action::Forward(action) => action.retry.as_ref(),
            _ => None,
        };
        own.or(self.virtual_host.retry.as_ref())
    }
}
