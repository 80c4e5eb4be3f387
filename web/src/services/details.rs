//! One service from all sides: how requests reach it, which objects shape that, and what proxies were told of it.

use std::collections::{BTreeMap, BTreeSet};

use api::Hostname;
use axum::extract::State as Shared;
use axum::{Extension, Json};
use citadel::Verb;
use galley::kinds::{HttpAction, VirtualService, selects};
use galley::{Kind, Meta, ObjectKey, Snapshot};
use pilot::Kind as Type;
use registry::Entry;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Count, find};
use crate::auth::Known;
use crate::extract::At;
use crate::problem::Problem;
use crate::proxies::dump;
use crate::proxies::inside::{Found, Policies, shown, split};
use crate::state::State;

pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(routing)).routes(routes!(policies)).routes(routes!(config))
}

/// How requests reach a service.
#[derive(Serialize, ToSchema)]
struct Routing {
    host: String,
    /// The VirtualServices that claim its host, the oldest first.
    claimed_by: Vec<Rules>,
    /// Rules for other hosts that lead here too.
    led_to_by: Vec<Rules>,
    subsets: Vec<SubsetView>,
}

#[derive(Serialize, ToSchema)]
struct Rules {
    namespace: String,
    name: String,
    hosts: Vec<String>,
    /// `mesh`, or gateways as `namespace/name`.
    gateways: Vec<String>,
    /// The namespace whose callers alone heed it in the mesh, as rules of neither the host's namespace nor the root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_for_callers_in: Option<String>,
    /// Whether the caller may not read it: then nothing but its name is told.
    hidden: bool,
    /// As written: `http`, `tls` and `tcp` of the object.
    #[schema(value_type = Object)]
    rules: Value,
    /// Where the object is in this API.
    link: String,
}

#[derive(Serialize, ToSchema)]
struct SubsetView {
    name: String,
    labels: BTreeMap<String, String>,
    /// The DestinationRule that declares it, as `namespace/name`.
    declared_by: String,
    endpoints: Count,
}

/// How requests reach a service: the rules that claim its host or lead to it, and its subsets.
#[utoipa::path(get, path = "/services/{namespace}/{name}/_routing",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The chain of routing", body = Routing)))]
async fn routing(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At((namespace, name)): At<(String, String)>,
) -> Result<Json<Routing>, Problem> {
    let catalog = state.catalog();
    let entry = find(&state, &catalog, &namespace, &name)?;
    let (snapshot, domain) = (state.galley.snapshots().borrow().clone(), state.domain());
    let host = entry.service.host();
    let root = state.inputs.borrow().mesh.root_namespace.clone();
    let (mut claimed_by, mut led_to_by) = (Vec::new(), Vec::new());
    for config in &snapshot.virtual_services {
        if claims(&config.spec, &config.meta, host, &domain) {
            let claim = rules(&state, &known, &config.meta, &config.spec);
            let namespace = config.meta.namespace.as_str();
            let narrow = config.spec.in_mesh() && ![entry.service.namespace(), &root].contains(&namespace);
            claimed_by.push(Rules { only_for_callers_in: narrow.then(|| namespace.to_owned()), ..claim });
        } else if leads_to(&config.spec, &config.meta, host, &domain) {
            led_to_by.push(rules(&state, &known, &config.meta, &config.spec));
        }
    }
    let mut subsets = subsets(&snapshot, entry, &domain);
    subsets.retain(|subset| {
        let (namespace, name) = subset.declared_by.split_once('/').unwrap_or_default();
        known.may(Verb::Read, &ObjectKey::new(Kind::DestinationRule, namespace, name))
    });
    Ok(Json(Routing { host: host.to_string(), claimed_by, led_to_by, subsets }))
}

/// Of a rule that the caller may not read, its name alone.
fn rules(state: &State, known: &Known, meta: &Meta, spec: &VirtualService) -> Rules {
    let readable = known.may(Verb::Read, &ObjectKey::new(Kind::VirtualService, &meta.namespace, &meta.name));
    let object = state.galley.get(Kind::VirtualService, &meta.namespace, &meta.name).filter(|_| readable);
    let written = object.map(|object| object.manifest["spec"].clone()).unwrap_or_default();
    let chains =
        ["http", "tls", "tcp"].into_iter().filter_map(|name| Some((name.to_owned(), written.get(name)?.clone())));
    Rules {
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        hosts: if readable { spec.hosts.clone() } else { Vec::new() },
        gateways: if readable { spec.gateways.clone() } else { Vec::new() },
        only_for_callers_in: None,
        hidden: !readable,
        rules: Value::Object(chains.collect()),
        link: format!("/api/v1/{}/{}/{}", Kind::VirtualService.plural(), meta.namespace, meta.name),
    }
}

fn is_host(text: &str, meta: &Meta, host: &Hostname, domain: &str) -> bool {
    let named = Hostname::resolve(text, &meta.namespace, domain);
    named.is_ok_and(|named| named == *host || named.is_wildcard() && named.covers(host.as_str()))
}

fn claims(spec: &VirtualService, meta: &Meta, host: &Hostname, domain: &str) -> bool {
    spec.hosts.iter().any(|text| is_host(text, meta, host, domain))
}

fn leads_to(spec: &VirtualService, meta: &Meta, host: &Hostname, domain: &str) -> bool {
    let http = spec.http.iter().flat_map(|rule| {
        let routed = match &rule.action {
            HttpAction::Route(route) => route.as_slice(),
            _ => &[],
        };
        let mirrors = rule.mirrors.iter().map(|mirror| &mirror.destination);
        routed.iter().map(|entry| &entry.destination).chain(mirrors)
    });
    let tls = spec.tls.iter().flat_map(|rule| rule.route.iter().map(|entry| &entry.destination));
    let tcp = spec.tcp.iter().flat_map(|rule| rule.route.iter().map(|entry| &entry.destination));
    let mut destinations = http.chain(tls).chain(tcp);
    destinations.any(|destination| is_host(&destination.host, meta, host, domain))
}

fn subsets(snapshot: &Snapshot, entry: &Entry, domain: &str) -> Vec<SubsetView> {
    let rules = snapshot.destination_rules.iter();
    let rules = rules.filter(|rule| is_host(&rule.spec.host, &rule.meta, entry.service.host(), domain));
    let of_rule = |rule: &std::sync::Arc<galley::Config<galley::kinds::DestinationRule>>| {
        let declared_by = format!("{}/{}", rule.meta.namespace, rule.meta.name);
        let view = |subset: &galley::kinds::Subset| SubsetView {
            name: subset.name.clone(),
            labels: subset.labels.clone(),
            declared_by: declared_by.clone(),
            endpoints: matching(entry, &subset.labels),
        };
        rule.spec.subsets.iter().map(view).collect::<Vec<_>>()
    };
    rules.flat_map(of_rule).collect()
}

fn matching(entry: &Entry, labels: &BTreeMap<String, String>) -> Count {
    let mut count = Count::default();
    for endpoint in entry.endpoints.iter().filter(|endpoint| selects(labels, &endpoint.workload.labels)) {
        count.total += 1;
        count.healthy += usize::from(endpoint.health == registry::Health::Healthy);
    }
    count
}

/// The objects that shape how a service is reached and what it demands.
#[utoipa::path(get, path = "/services/{namespace}/{name}/_policies",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "Its objects", body = Policies)))]
async fn policies(
    Shared(state): Shared<State>,
    Extension(known): Extension<Known>,
    At((namespace, name)): At<(String, String)>,
) -> Result<Json<Policies>, Problem> {
    let catalog = state.catalog();
    let entry = find(&state, &catalog, &namespace, &name)?;
    let (snapshot, domain) = (state.galley.snapshots().borrow().clone(), state.domain());
    let host = entry.service.host();
    let mut found = Found::new();
    let mut add = |kind: Kind, meta: &Meta, place: &str| {
        if !known.may(Verb::Read, &ObjectKey::new(kind, &meta.namespace, &meta.name)) {
            return;
        }
        let key = (kind.hyphenated().to_owned(), meta.namespace.clone(), meta.name.clone());
        found.entry(key).or_default().insert(place.to_owned());
    };
    let mut gateways = BTreeSet::new();
    for config in &snapshot.virtual_services {
        if claims(&config.spec, &config.meta, host, &domain) {
            add(Kind::VirtualService, &config.meta, "its routes");
        } else if leads_to(&config.spec, &config.meta, host, &domain) {
            add(Kind::VirtualService, &config.meta, "routes of other hosts that lead to it");
        } else {
            continue;
        }
        gateways.extend(config.spec.gateways.iter().cloned());
    }
    for config in &snapshot.gateways {
        if gateways.contains(&format!("{}/{}", config.meta.namespace, config.meta.name)) {
            add(Kind::Gateway, &config.meta, "its way in from outside");
        }
    }
    for config in &snapshot.destination_rules {
        if is_host(&config.spec.host, &config.meta, host, &domain) {
            add(Kind::DestinationRule, &config.meta, "how callers connect");
        }
    }
    for config in &snapshot.service_entries {
        if config.spec.hosts.iter().any(|text| is_host(text, &config.meta, host, &domain)) {
            add(Kind::ServiceEntry, &config.meta, "its declaration");
        }
    }
    let root = state.inputs.borrow().mesh.root_namespace.clone();
    let holds = |meta: &Meta, selector: Option<&BTreeMap<String, String>>| {
        let of_scope = meta.namespace == entry.service.namespace() || meta.namespace == root;
        let mut workloads = entry.endpoints.iter().map(|endpoint| &endpoint.workload.labels);
        of_scope && selector.is_none_or(|wanted| workloads.any(|own| selects(wanted, own)))
    };
    for config in &snapshot.peer_authentications {
        if holds(&config.meta, config.spec.selector.as_ref()) {
            add(Kind::PeerAuthentication, &config.meta, "what its workloads demand");
        }
    }
    for config in &snapshot.request_authentications {
        if holds(&config.meta, config.spec.selector.as_ref()) {
            add(Kind::RequestAuthentication, &config.meta, "which tokens its workloads take");
        }
    }
    for config in &snapshot.authorization_policies {
        if holds(&config.meta, config.spec.selector.as_ref()) {
            add(Kind::AuthorizationPolicy, &config.meta, "who may call its workloads");
        }
    }
    Ok(Json(Policies { items: shown(found) }))
}

/// What proxies were told of a service.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceConfig)]
struct Config {
    host: String,
    /// The proxy whose configuration is shown; none if no connected proxy knows the service.
    seen_by: Option<String>,
    #[schema(value_type = Vec<Object>)]
    clusters: Vec<Value>,
    #[schema(value_type = Vec<Object>)]
    endpoints: Vec<Value>,
    /// Of all route tables, those of its names.
    #[schema(value_type = Vec<Object>)]
    virtual_hosts: Vec<Value>,
}

/// What proxies were told of a service, as one of them has it.
#[utoipa::path(get, path = "/services/{namespace}/{name}/_config",
    params(("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "Clusters, endpoints and virtual hosts", body = Config)))]
async fn config(
    Shared(state): Shared<State>,
    At((namespace, name)): At<(String, String)>,
) -> Result<Json<Config>, Problem> {
    let catalog = state.catalog();
    let entry = find(&state, &catalog, &namespace, &name)?;
    let host = entry.service.host().to_string();
    let knows = |snapshot: &pilot::Snapshot| snapshot.clusters.iter().any(|resource| is_of(&resource.name, &host));
    let viewer = state.discovery.nodes().into_iter().find(|(_, snapshot)| knows(snapshot));
    let Some((node, snapshot)) = viewer else {
        let none = Vec::new;
        return Ok(Json(Config { host, seen_by: None, clusters: none(), endpoints: none(), virtual_hosts: none() }));
    };
    let of_host = |kind: Type| -> Vec<Value> {
        let all = dump::resources(&snapshot, kind).into_iter();
        all.filter(|resource| resource["name"].as_str().is_some_and(|name| is_of(name, &host))).collect()
    };
    let mut virtual_hosts = Vec::new();
    for table in dump::resources(&snapshot, Type::Route) {
        for found in table["resource"]["virtual_hosts"].as_array().into_iter().flatten() {
            if found["name"].as_str().is_some_and(|name| name.rsplit_once(':').map_or(name, |(name, _)| name) == host) {
                let mut found = found.clone();
                found["route_table"] = table["name"].clone();
                virtual_hosts.push(found);
            }
        }
    }
    let (clusters, endpoints) = (of_host(Type::Cluster), of_host(Type::Endpoint));
    Ok(Json(Config { host, seen_by: Some(node.name.clone()), clusters, endpoints, virtual_hosts }))
}

/// Whether a cluster is of a host: `outbound|9080|v1|reviews.default.svc.cluster.local`.
fn is_of(cluster: &str, host: &str) -> bool {
    split(cluster).is_some_and(|[direction, _, _, of]| direction == "outbound" && of == host)
}
