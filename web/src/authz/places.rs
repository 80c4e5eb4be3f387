//! Who a question names: callers by workload or identity, and the workloads that a call may come to.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use api::Hostname;
use galley::kinds::Labels;
use pilot::judge::Known;
use registry::{Address, Entry, TlsMode};

use crate::problem::Problem;
use crate::state::State;

/// Where a caller stands that shows no certificate.
pub const PLAINTEXT: &str = "plaintext";

/// A port of a workload, as a service's callers reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The service's host; empty for a proxy that serves none.
    pub service: String,
    /// The service's port.
    pub service_port: u16,
    pub namespace: String,
    pub workload: String,
    pub labels: Labels,
    pub ip: Option<IpAddr>,
    /// The workload's own; a gateway has several.
    pub port: Option<u16>,
    pub http: bool,
}

/// The identity of a caller, as people and as policies write it.
pub fn caller(state: &State, name: &str) -> Result<(String, Known<String>), Problem> {
    if name == PLAINTEXT {
        return Ok((name.to_owned(), Known::Absent));
    }
    let bare = name.strip_prefix("spiffe://").unwrap_or(name);
    if bare.contains("/ns/") {
        return Ok((bare.to_owned(), Known::Is(bare.to_owned())));
    }
    let workloads = crate::workloads::all(state);
    let called = workloads.iter().find(|workload| workload.id == name || workload.name == name);
    let account = || {
        let is = |workload: &&crate::workloads::Workload| {
            format!("{}/{}", workload.namespace, workload.service_account) == name
        };
        workloads.iter().find(is)
    };
    let found = called.or_else(account).ok_or_else(|| {
        Problem::not_found(format!(
            "{name:?} is no workload and no service account of one; /api/v1/workloads lists them. An identity is \
             written {}/ns/NAMESPACE/sa/ACCOUNT, a caller without one {PLAINTEXT}",
            state.trust_domain
        ))
    })?;
    Ok(match &found.identity {
        Some(id) => {
            let id = id.strip_prefix("spiffe://").unwrap_or(id);
            (id.to_owned(), Known::Is(id.to_owned()))
        }
        None => (PLAINTEXT.to_owned(), Known::Absent),
    })
}

/// The workloads of a service, or the ports of a workload.
pub fn named(state: &State, to: &str) -> Result<Vec<Place>, Problem> {
    let (name, port) = match to.rsplit_once(':') {
        Some((name, port)) => {
            let number = port.parse::<u16>();
            (name, Some(number.map_err(|_| Problem::malformed(format!("to: {port:?} is no port")))?))
        }
        None => (to, None),
    };
    let host = Hostname::resolve(name, "default", &state.domain()).ok();
    let of_service = |place: &Place| {
        host.as_ref().is_some_and(|host| host.as_str() == place.service)
            || place.service.split('.').next() == Some(name)
    };
    let of_workload =
        |place: &Place| format!("{}/{}", place.namespace, place.workload) == name || place.workload == name;
    let all = all(state);
    let at_port = |place: &&Place| port.is_none_or(|port| place.service_port == port || place.port == Some(port));
    let mut found: Vec<Place> = all.iter().filter(|place| of_service(place)).filter(at_port).cloned().collect();
    if found.is_empty() {
        found = all.iter().filter(|place| of_workload(place)).filter(at_port).cloned().collect();
    }
    if found.is_empty() {
        return Err(Problem::not_found(format!(
            "{to:?} is no service with workloads and no workload; /api/v1/services and /api/v1/workloads list them"
        )));
    }
    Ok(found)
}

/// Of every service, and of every proxy that serves none.
pub fn all(state: &State) -> BTreeSet<Place> {
    let catalog = state.catalog();
    let mut all: BTreeSet<Place> = catalog.entries().flat_map(of_entry).collect();
    let idle = unserving(state, &all);
    all.extend(idle);
    all
}

/// By the node of the graph that calls to them are drawn to: that of the service, or of a workload of none.
pub fn by_node(state: &State) -> HashMap<String, BTreeSet<Place>> {
    let catalog = state.catalog();
    let mut by_node: HashMap<String, BTreeSet<Place>> = HashMap::new();
    let mut all = BTreeSet::new();
    for entry in catalog.entries() {
        let places = of_entry(entry);
        all.extend(places.iter().cloned());
        by_node.entry(mixer::id(&entry.service)).or_default().extend(places);
    }
    let idle = unserving(state, &all);
    for place in all.into_iter().chain(idle) {
        by_node.entry(mixer::workload_id(&place.namespace, &place.workload)).or_default().insert(place);
    }
    by_node
}

/// The connected proxies that are at none of these places.
fn unserving(state: &State, serving: &BTreeSet<Place>) -> Vec<Place> {
    let known: BTreeSet<(&str, &str)> =
        serving.iter().map(|place| (place.namespace.as_str(), place.workload.as_str())).collect();
    let nodes = state.discovery.nodes().into_iter().map(|(node, _)| node);
    let idle = nodes.filter(|node| !known.contains(&(node.namespace.as_str(), node.workload.as_str())));
    let places = idle.map(|node| Place {
        service: String::new(),
        service_port: 0,
        namespace: node.namespace.clone(),
        workload: node.workload.clone(),
        labels: node.labels.clone(),
        ip: Some(node.address()),
        port: None,
        http: true,
    });
    places.collect()
}

fn of_entry(entry: &Entry) -> Vec<Place> {
    // A policy is enforced by a proxy: without one there is nobody to ask.
    let endpoints = entry.endpoints.iter().filter(|endpoint| endpoint.tls == TlsMode::Istio);
    let places = endpoints.filter_map(|endpoint| {
        let port = entry.service.ports.iter().find(|port| port.name == endpoint.service_port)?;
        Some(Place {
            service: entry.service.host().to_string(),
            service_port: port.number,
            namespace: endpoint.workload.namespace.to_string(),
            workload: endpoint.workload.name.clone(),
            labels: endpoint.workload.labels.clone(),
            ip: match &endpoint.address {
                Address::Ip(ip) => Some(*ip),
                _ => None,
            },
            port: Some(endpoint.port),
            http: port.protocol.is_http(),
        })
    });
    places.collect()
}
