//! A request as a route sends it on: headers are changed first, then host and path, as `proxy::route` does it.

use std::collections::BTreeMap;

use api::envoy::config::core::v3 as core;
use api::envoy::config::route::v3 as route;
use core::header_value_option::HeaderAppendAction as Append;
use pilot::judge::{Known, Request};
use route::route_action::{ClusterSpecifier, HostRewriteSpecifier as Host};
use route::weighted_cluster::ClusterWeight;
use route::weighted_cluster::cluster_weight::HostRewriteSpecifier as WeightedHost;
use route::{Route, RouteAction, RouteConfiguration, VirtualHost};

use super::Asked;

/// What was found for a request.
pub struct Found<'a> {
    pub table: &'a RouteConfiguration,
    pub host: &'a VirtualHost,
    pub route: &'a Route,
    pub action: &'a RouteAction,
}

/// The parts of a request that policies look at. What a proxy works out only when the request is there is open.
#[derive(Clone, Debug)]
pub struct Rewritten {
    method: Known<String>,
    path: Known<String>,
    host: Known<String>,
    /// Those that nobody named and nobody changed are left out.
    headers: BTreeMap<String, Known<String>>,
}

/// The changes of headers of one of cluster, route, virtual host and table.
struct Changes<'a> {
    add: &'a [core::HeaderValueOption],
    remove: &'a [String],
}

impl Rewritten {
    /// As it was asked for.
    pub fn not(asked: &Asked) -> Self {
        let headers = asked.headers.iter().map(|(name, value)| (name.clone(), Known::Is(value.clone())));
        Self {
            method: Known::Is(asked.method.clone()),
            path: Known::Is(asked.path.clone()),
            host: Known::Is(asked.authority()),
            headers: headers.collect(),
        }
    }

    /// What goes to each of the clusters that a route leads to, in their order.
    pub fn of(asked: &Asked, found: &Found<'_>) -> Vec<Self> {
        match &found.action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                weighted.clusters.iter().map(|cluster| Self::at(asked, found, Some(cluster))).collect()
            }
            _ => vec![Self::at(asked, found, None)],
        }
    }

    fn at(asked: &Asked, found: &Found<'_>, cluster: Option<&ClusterWeight>) -> Self {
        let Found { table, host, route, action } = found;
        let of = |add, remove| Changes { add, remove };
        let mut order = vec![
            of(&route.request_headers_to_add, &route.request_headers_to_remove),
            of(&host.request_headers_to_add, &host.request_headers_to_remove),
            of(&table.request_headers_to_add, &table.request_headers_to_remove),
        ];
        if let Some(cluster) = cluster {
            order.insert(0, of(&cluster.request_headers_to_add, &cluster.request_headers_to_remove));
        }
        if table.most_specific_header_mutations_wins {
            order.reverse();
        }
        let mut rewritten = Self::not(asked);
        order.iter().for_each(|changes| rewritten.change(changes));
        let of_cluster = cluster.and_then(|cluster| cluster.host_rewrite_specifier.as_ref());
        match (of_cluster, &action.host_rewrite_specifier) {
            (Some(WeightedHost::HostRewriteLiteral(host)), _) | (None, Some(Host::HostRewriteLiteral(host))) => {
                rewritten.host = Known::Is(host.clone());
            }
            (None, Some(_)) => rewritten.host = Known::Open,
            (None, None) => {}
        }
        rewritten.rewrite_path(route, action);
        rewritten
    }

    fn change(&mut self, changes: &Changes<'_>) {
        for name in changes.remove {
            self.headers.insert(name.to_ascii_lowercase(), Known::Absent);
        }
        for option in changes.add {
            let Some(header) = &option.header else { continue };
            let value = if header.value.is_empty() {
                String::from_utf8(header.raw_value.clone()).map_or(Known::Open, Known::Is)
            } else if header.value.contains('%') {
                Known::Open
            } else {
                Known::Is(header.value.clone())
            };
            if value == Known::Is(String::new()) && !option.keep_empty_value {
                continue;
            }
            self.add(&header.key.to_ascii_lowercase(), value, option);
        }
    }

    fn add(&mut self, name: &str, value: Known<String>, option: &core::HeaderValueOption) {
        match name {
            ":authority" | "host" => return self.host = value,
            ":path" => return self.path = value,
            ":method" => return self.method = value,
            _ => {}
        }
        #[expect(deprecated, reason = "Envoy still takes it")]
        let action = match option.append {
            Some(false) => Append::OverwriteIfExistsOrAdd,
            Some(true) => Append::AppendIfExistsOrAdd,
            None => option.append_action(),
        };
        let before = self.headers.get(name);
        let after = match (action, before) {
            (Append::OverwriteIfExistsOrAdd, _) => value,
            // What the question does not name is not there, as for the routes.
            (Append::OverwriteIfExists, None | Some(Known::Absent)) => return,
            (Append::AddIfAbsent, Some(Known::Is(_))) => return,
            (Append::AppendIfExistsOrAdd | Append::AddIfAbsent, None | Some(Known::Absent)) => value,
            (Append::OverwriteIfExists, Some(Known::Is(_))) => value,
            // Two values, or it is not known whether there is one.
            (Append::AppendIfExistsOrAdd, Some(Known::Is(_) | Known::Open)) => Known::Open,
            (Append::OverwriteIfExists | Append::AddIfAbsent, Some(Known::Open)) => Known::Open,
        };
        self.headers.insert(name.to_owned(), after);
    }

    /// The rewrite is of the path as it is then: a header change may have set another.
    fn rewrite_path(&mut self, route: &Route, action: &RouteAction) {
        use route::route_match::PathSpecifier as Path;
        if action.regex_rewrite.is_some() {
            self.path = Known::Open;
        } else if !action.prefix_rewrite.is_empty() {
            let matched = route.r#match.as_ref().and_then(|conditions| conditions.path_specifier.as_ref());
            let rest = match (matched, &self.path) {
                (Some(Path::Prefix(text) | Path::Path(text) | Path::PathSeparatedPrefix(text)), Known::Is(path)) => {
                    path.get(text.len()..)
                }
                _ => None,
            };
            self.path = match rest {
                Some(rest) => Known::Is(format!("{}{rest}", action.prefix_rewrite)),
                None => Known::Open,
            };
        }
    }

    /// What a policy is asked about. Other headers may be there.
    pub fn request(&self) -> Request {
        let Self { method, path, host, headers } = self.clone();
        Request { method, path, host, headers, has_no_more_headers: false }
    }
}

#[cfg(test)]
mod tests {
    use api::envoy::config::core::v3::HeaderValue;

    use super::*;

    fn option(name: &str, value: &str, action: Append) -> core::HeaderValueOption {
        let header = HeaderValue { key: name.into(), value: value.into(), ..HeaderValue::default() };
        core::HeaderValueOption { header: Some(header), append_action: action.into(), ..Default::default() }
    }

    fn asked(headers: &[(&str, &str)]) -> Asked {
        Asked {
            host: "reviews".into(),
            port: None,
            scheme: "http".into(),
            method: "GET".into(),
            path: "/a/b".into(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    fn sent(asked: &Asked, table: &RouteConfiguration, host: &VirtualHost, route: &Route) -> Vec<Request> {
        let Some(route::route::Action::Route(action)) = &route.action else { panic!("{route:?}") };
        let all = Rewritten::of(asked, &Found { table, host, route, action });
        all.iter().map(Rewritten::request).collect()
    }

    fn forward(action: RouteAction) -> Route {
        Route { action: Some(route::route::Action::Route(action)), ..Route::default() }
    }

    fn is(value: &str) -> Option<Known<String>> {
        Some(Known::Is(value.into()))
    }

    #[test]
    fn headers_are_removed_and_added_in_the_order_of_the_proxy() {
        let route = Route {
            request_headers_to_remove: vec!["X-Gone".into()],
            request_headers_to_add: vec![
                option("X-Set", "route", Append::OverwriteIfExistsOrAdd),
                option("x-made", "%REQ(:path)%", Append::OverwriteIfExistsOrAdd),
                option("x-more", "2", Append::AppendIfExistsOrAdd),
                option("x-new", "2", Append::AppendIfExistsOrAdd),
                option("x-kept", "2", Append::AddIfAbsent),
                option("x-none", "2", Append::OverwriteIfExists),
                option("x-empty", "", Append::OverwriteIfExistsOrAdd),
            ],
            ..forward(RouteAction::default())
        };
        let host = VirtualHost {
            request_headers_to_add: vec![option("x-set", "host", Append::OverwriteIfExistsOrAdd)],
            ..VirtualHost::default()
        };
        let asked = asked(&[("x-gone", "1"), ("x-set", "1"), ("x-more", "1"), ("x-kept", "1")]);
        for (wins, set) in [(false, "host"), (true, "route")] {
            let table = RouteConfiguration { most_specific_header_mutations_wins: wins, ..Default::default() };
            let [request] = &sent(&asked, &table, &host, &route)[..] else { panic!() };
            let header = |name: &str| request.headers.get(name).cloned();
            assert_eq!((header("x-gone"), header("x-set")), (Some(Known::Absent), is(set)));
            assert_eq!((header("x-made"), header("x-more")), (Some(Known::Open), Some(Known::Open)));
            assert_eq!((header("x-new"), header("x-kept")), (is("2"), is("1")));
            assert_eq!((header("x-none"), header("x-empty")), (None, None));
        }
    }

    #[test]
    fn each_of_several_clusters_gets_its_own() {
        let cluster = |name: &str| ClusterWeight {
            name: name.into(),
            request_headers_to_add: vec![option("x-to", name, Append::OverwriteIfExistsOrAdd)],
            host_rewrite_specifier: (name == "b").then(|| WeightedHost::HostRewriteLiteral("b.example".into())),
            ..ClusterWeight::default()
        };
        let weighted = route::WeightedCluster { clusters: vec![cluster("a"), cluster("b")], ..Default::default() };
        let mut route = forward(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
            prefix_rewrite: "/".into(),
            ..RouteAction::default()
        });
        let prefix = route::route_match::PathSpecifier::Prefix("/a/".into());
        route.r#match = Some(route::RouteMatch { path_specifier: Some(prefix), ..Default::default() });
        let requests = sent(&asked(&[]), &RouteConfiguration::default(), &VirtualHost::default(), &route);
        let seen: Vec<_> =
            requests.iter().map(|request| (request.headers.get("x-to").cloned(), &request.host)).collect();
        let [reviews, b] = ["reviews", "b.example"].map(|host| Known::Is(host.to_owned()));
        assert_eq!(seen, [(is("a"), &reviews), (is("b"), &b)]);
        assert!(requests.iter().all(|request| request.path == Known::Is("/b".into())));
    }
}
