//! `/config_dump`: Envoy's `admin.v3.ConfigDump`: what stands in the bootstrap file, what came from elsewhere, what
//! waits, and what was refused and why. Secrets are not shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::envoy::config::bootstrap::v3::Bootstrap;
use api::envoy::config::listener::v3 as lds;
use api::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use api::prost::{Message as _, Name};
use hyper::StatusCode;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::{Admin, Answer, Query, json as answer_json, text, timestamp};
use crate::bootstrap::proto_json::packed;
use crate::config::ResourceKind as Kind;
use crate::xds::{Held, Origin, Resources};

impl Admin {
    pub(super) async fn config_dump(&self, query: &Query<'_>) -> Answer {
        if query.has("mask") {
            return text(
                StatusCode::BAD_REQUEST,
                "mask is not supported; resource and name_regex choose what is shown\n",
            );
        }
        let names = match query.regex("name_regex") {
            Ok(names) => names,
            Err(answer) => return answer,
        };
        let resources = self.resources.resources().await.unwrap_or_default();
        let dump = Dump { resources: &resources, names };
        let bootstrap = section("BootstrapConfigDump", [("bootstrap", vec![self.bootstrap()])]);
        let mut sections = vec![bootstrap, dump.clusters()];
        let wanted = query.get("resource");
        let of_endpoints = wanted.as_deref().is_some_and(|wanted| wanted.ends_with("endpoint_configs"));
        if query.has("include_eds") || of_endpoints {
            sections.push(dump.endpoints());
        }
        sections.extend([dump.listeners(), dump.routes(), dump.secrets()]);
        match wanted.as_deref() {
            None | Some("") => {
                answer_json(&json!({"configs": sections.iter().map(Section::whole).collect::<Vec<_>>()}))
            }
            Some("bootstrap") => {
                text(StatusCode::BAD_REQUEST, "bootstrap is not a repeated field; leave resource out to see it\n")
            }
            Some(wanted) => match sections.iter().find_map(|section| section.part(wanted)) {
                Some(parts) if parts.is_empty() => answer_json(&json!({})),
                Some(parts) => answer_json(&json!({"configs": parts})),
                None => text(StatusCode::NOT_FOUND, format!("{wanted} not found in config dump")),
            },
        }
    }

    fn bootstrap(&self) -> Value {
        let mut file = Bootstrap::decode(&*self.file).unwrap_or_default();
        file.node = Some(self.node.clone());
        let mut json = packed(&api::any(&file));
        if let Value::Object(fields) = &mut json {
            fields.remove("@type");
        }
        json
    }
}

/// One message of the dump: its lists by field.
struct Section {
    name: &'static str,
    fields: Vec<(&'static str, Vec<Value>)>,
}

fn section<const N: usize>(name: &'static str, fields: [(&'static str, Vec<Value>); N]) -> Section {
    Section { name, fields: fields.into() }
}

/// Fields of the dump, and the messages that they are lists of.
const PARTS: [(&str, &str); 14] = [
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    ("dynamic_active_clusters", "ClustersConfigDump.DynamicCluster"),
    ("dynamic_warming_clusters", "ClustersConfigDump.DynamicCluster"),
    ("static_endpoint_configs", "EndpointsConfigDump.StaticEndpointConfig"),
    ("dynamic_endpoint_configs", "EndpointsConfigDump.DynamicEndpointConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    ("dynamic_route_configs", "RoutesConfigDump.DynamicRouteConfig"),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
    ("inline_scoped_route_configs", "ScopedRoutesConfigDump.InlineScopedRouteConfigs"),
    ("dynamic_scoped_route_configs", "ScopedRoutesConfigDump.DynamicScopedRouteConfigs"),
];

impl Section {
    fn whole(&self) -> Value {
        let mut object = Map::from_iter([("@type".to_owned(), type_url(self.name))]);
        for (field, values) in &self.fields {
            match (*field, values.as_slice()) {
                (_, []) => {}
                ("bootstrap", [one]) => drop(object.insert("bootstrap".to_owned(), one.clone())),
                (field, values) => drop(object.insert(field.to_owned(), values.into())),
            }
        }
        object.into()
    }

    /// The values of a field, each with its type.
    fn part(&self, wanted: &str) -> Option<Vec<Value>> {
        let (_, values) = self.fields.iter().find(|(field, _)| *field == wanted)?;
        let (_, name) = PARTS.iter().find(|(field, _)| *field == wanted)?;
        let typed = |value: &Value| {
            let mut object = Map::from_iter([("@type".to_owned(), type_url(name))]);
            object.extend(value.as_object().cloned().unwrap_or_default());
            object.into()
        };
        Some(values.iter().map(typed).collect())
    }
}

fn type_url(name: &str) -> Value {
    format!("type.googleapis.com/envoy.admin.v3.{name}").into()
}

struct Dump<'a> {
    resources: &'a Resources,
    names: Option<Regex>,
}

impl Dump<'_> {
    fn shown(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.is_match(name))
    }

    /// What is held of a kind, static or not.
    fn of(&self, kind: Kind, is_static: bool) -> impl Iterator<Item = (&String, &Arc<Held>)> {
        let held = self.resources.of(kind).filter(move |(_, held)| (held.origin == Origin::Static) == is_static);
        held.filter(|(name, _)| self.shown(name))
    }

    fn statics(&self, kind: Kind, field: &str) -> Vec<Value> {
        self.of(kind, true).map(|(_, held)| state(held, field, false)).collect()
    }

    fn in_force(&self, kind: Kind) -> impl Iterator<Item = (&String, &Arc<Held>)> {
        let held = self.resources.in_force(kind).filter(|(_, held)| held.origin != Origin::Static);
        held.filter(|(name, _)| self.shown(name))
    }

    /// Whether a resource waits for what it refers to.
    fn is_warming(&self, kind: Kind, name: &str, held: &Arc<Held>) -> bool {
        let mut in_force = self.resources.in_force(kind);
        !in_force.any(|(known, serving)| known == name && Arc::ptr_eq(serving, held))
    }

    fn refused(&self, kind: Kind) -> impl Iterator<Item = (&String, Value)> {
        let refused = self.resources.refused().filter(move |((of, name), _)| *of == kind && self.shown(name));
        refused.map(|((_, name), refused)| {
            let mut error = json!({
                "last_update_attempt": timestamp(refused.at),
                "details": refused.reason,
                "version_info": refused.wire.version,
            });
            if let Some(any) = &refused.wire.resource {
                error["failed_configuration"] = packed(any);
            }
            (name, error)
        })
    }

    fn clusters(&self) -> Section {
        let warming = self.of(Kind::Cluster, false).filter(|(name, held)| self.is_warming(Kind::Cluster, name, held));
        let mut warming: Vec<_> = warming.map(|(_, held)| state(held, "cluster", true)).collect();
        warming.extend(self.refused(Kind::Cluster).map(
            |(name, error)| json!({"cluster": {"@type": Kind::Cluster.type_url(), "name": name}, "error_state": error}),
        ));
        section(
            "ClustersConfigDump",
            [
                ("static_clusters", self.statics(Kind::Cluster, "cluster")),
                (
                    "dynamic_active_clusters",
                    self.in_force(Kind::Cluster).map(|(_, held)| state(held, "cluster", true)).collect(),
                ),
                ("dynamic_warming_clusters", warming),
            ],
        )
    }

    fn listeners(&self) -> Section {
        let mut dynamic = BTreeMap::<&String, Map<String, Value>>::new();
        for (name, held) in self.in_force(Kind::Listener) {
            dynamic.entry(name).or_default().insert("active_state".to_owned(), state(held, "listener", true));
        }
        for (name, held) in self.of(Kind::Listener, false) {
            if self.is_warming(Kind::Listener, name, held) {
                dynamic.entry(name).or_default().insert("warming_state".to_owned(), state(held, "listener", true));
            }
        }
        for (name, error) in self.refused(Kind::Listener) {
            dynamic.entry(name).or_default().insert("error_state".to_owned(), error);
        }
        let dynamic = dynamic.into_iter().map(|(name, states)| {
            let mut one = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
            one.extend(states);
            one.into()
        });
        let fixed = self.statics(Kind::Listener, "listener");
        section("ListenersConfigDump", [("static_listeners", fixed), ("dynamic_listeners", dynamic.collect())])
    }

    fn routes(&self) -> Section {
        let all = self.resources.of(Kind::Listener);
        let inline = all.flat_map(|(_, held)| inline_routes(held)).filter(|(name, _)| self.shown(name));
        section(
            "RoutesConfigDump",
            [
                ("static_route_configs", inline.map(|(_, json)| json).collect()),
                (
                    "dynamic_route_configs",
                    self.of(Kind::Route, false).map(|(_, held)| state(held, "route_config", true)).collect(),
                ),
            ],
        )
    }

    fn endpoints(&self) -> Section {
        let clusters = self.of(Kind::Cluster, true).chain(self.of(Kind::Cluster, false));
        let fixed = clusters.filter_map(|(_, held)| {
            let cluster = api::envoy::config::cluster::v3::Cluster::decode(held.encoded()).ok()?;
            Some(json!({"endpoint_config": packed(&api::any(&cluster.load_assignment?))}))
        });
        section(
            "EndpointsConfigDump",
            [
                ("static_endpoint_configs", fixed.collect()),
                (
                    "dynamic_endpoint_configs",
                    self.of(Kind::Endpoint, false).map(|(_, held)| state(held, "endpoint_config", true)).collect(),
                ),
            ],
        )
    }

    fn secrets(&self) -> Section {
        let one = |(name, held): (&String, &Arc<Held>), versioned| {
            let mut json = state(held, "secret", versioned);
            json["name"] = name.as_str().into();
            json
        };
        section(
            "SecretsConfigDump",
            [
                ("static_secrets", self.of(Kind::Secret, true).map(|held| one(held, false)).collect()),
                ("dynamic_active_secrets", self.of(Kind::Secret, false).map(|held| one(held, true)).collect()),
            ],
        )
    }
}

fn state(held: &Held, field: &str, versioned: bool) -> Value {
    let mut state = Map::new();
    if versioned && !held.version.is_empty() {
        state.insert("version_info".to_owned(), (*held.version).into());
    }
    state.insert(field.to_owned(), packed(&held.any()));
    state.insert("last_updated".to_owned(), timestamp(held.updated).into());
    state.into()
}

/// The route tables that stand in a listener itself.
fn inline_routes(held: &Held) -> Vec<(String, Value)> {
    let Ok(listener) = lds::Listener::decode(held.encoded()) else { return Vec::new() };
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let filters = chains.flat_map(|chain| &chain.filters);
    let routes = filters.filter_map(|filter| {
        let Some(lds::filter::ConfigType::TypedConfig(any)) = &filter.config_type else { return None };
        if any.type_url.rsplit('/').next() != Some(&http::HttpConnectionManager::full_name()) {
            return None;
        }
        let manager = http::HttpConnectionManager::decode(any.value.as_slice()).ok()?;
        match manager.route_specifier {
            Some(http::http_connection_manager::RouteSpecifier::RouteConfig(routes)) => Some(routes),
            _ => None,
        }
    });
    let shown = |routes: api::envoy::config::route::v3::RouteConfiguration| {
        let json = json!({"route_config": packed(&api::any(&routes)), "last_updated": timestamp(held.updated)});
        (routes.name, json)
    };
    routes.map(shown).collect()
}
