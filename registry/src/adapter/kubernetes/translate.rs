//! From Kubernetes' objects to the mesh's. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::Hostname;
use ipnet::IpNet;

use super::Options;
use super::objects::{EndpointSlice, Key, Pod, Service, ServicePort, SliceEndpoint};
use crate::model::{
    self, Address, Endpoint, Health, Locality, Location, Platform, Protocol, Provenance, Resolution, ServiceKey,
    TlsMode, Visibility, Workload,
};

/// The annotation that says which namespaces may see a service.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// The label by which a pod says that it speaks the mesh's mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";
/// The label that a pod overrides its node's locality with, with dots between the parts.
const LOCALITY: &str = "istio-locality";
pub(super) const REGION: &str = "topology.kubernetes.io/region";
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
pub(super) const SUB_ZONE: &str = "topology.istio.io/subzone";
pub(super) const NETWORK: &str = "topology.istio.io/network";
const CLUSTER: &str = "topology.istio.io/cluster";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What is known around an endpoint.
pub(super) trait Surroundings {
    fn pod(&self, key: &Key) -> Option<&Pod>;
    fn locality(&self, node: &str) -> Option<&Locality>;
    /// The cluster's network, where a pod does not say its own.
    fn network(&self) -> &str;
}

/// The mesh's name of a service; `None` for one that is no hostname.
pub(super) fn key(name: &Key, domain: &str) -> Option<ServiceKey> {
    let (namespace, name) = name;
    Some(ServiceKey::new(Hostname::new(&format!("{name}.{namespace}.svc.{domain}")).ok()?, namespace))
}

/// What a service is to its callers (Istio `pkg/kube/conversion.go`). An external name is looked up in the DNS.
pub(super) fn service(service: &Service, aliases: &BTreeSet<Key>, options: &Options) -> Option<model::Service> {
    let spec = &service.spec;
    let is_external = spec.is_external();
    let addresses: &[String] =
        if spec.cluster_ips.is_empty() { std::slice::from_ref(&spec.cluster_ip) } else { &spec.cluster_ips };
    let aliases = aliases.iter().filter_map(|alias| Some(key(alias, &options.domain)?.host));
    Some(model::Service {
        guesses_port: false,
        key: key(&service.metadata.key(), &options.domain)?,
        aliases: aliases.collect(),
        ports: spec.ports.iter().filter_map(port).collect(),
        addresses: addresses.iter().filter_map(|ip| Some(IpNet::from(ip.parse::<IpAddr>().ok()?))).collect(),
        location: if is_external { Location::MeshExternal } else { Location::MeshInternal },
        resolution: match is_external {
            true => Resolution::Dns,
            false if spec.cluster_ip == "None" => Resolution::Passthrough,
            false => Resolution::Static,
        },
        visibility: visibility(service),
        subject_alt_names: Vec::new(),
        labels: service.metadata.labels.clone(),
        created: service.metadata.created(),
        provenance: provenance(options, "Service", &service.metadata.key()),
    })
}

fn port(port: &ServicePort) -> Option<model::ServicePort> {
    let protocol = match port.protocol.as_str() {
        "UDP" => Protocol::Udp,
        "" | "TCP" => declared(port),
        // SCTP, which no proxy of the mesh carries.
        _ => return None,
    };
    Some(model::ServicePort { name: port.name.clone(), number: port.port, protocol })
}

/// `appProtocol` decides over the port's name (Istio, protocol selection).
fn declared(port: &ServicePort) -> Protocol {
    match port.app_protocol.as_str() {
        "" => Protocol::of_port(&port.name, port.port),
        "kubernetes.io/h2c" => Protocol::Http2,
        "kubernetes.io/ws" => Protocol::Http,
        "kubernetes.io/wss" => Protocol::Https,
        word => Protocol::of_port(word, port.port),
    }
}

fn visibility(service: &Service) -> Visibility {
    let Some(words) = service.metadata.annotations.get(EXPORT_TO) else { return Visibility::Public };
    let words: Vec<&str> = words.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.contains(&"*") {
        return Visibility::Public;
    }
    if words.contains(&"~") {
        return Visibility::Nobody;
    }
    let own = &service.metadata.namespace;
    Visibility::Namespaces(
        words.iter().map(|word| if *word == "." { own.clone() } else { (*word).to_owned() }).collect(),
    )
}

/// The endpoints of a service, from all its slices. An address that two slices hold for a moment, while the controller
/// moves it, is one endpoint, and so is a pod that has an address of each family: the service's first family decides.
pub(super) fn endpoints<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    around: &impl Surroundings,
    options: &Options,
) -> Vec<Endpoint> {
    if service.spec.is_external() {
        return external(service, options);
    }
    let first = service.spec.ip_families.first().map_or("", String::as_str);
    let mut slices: Vec<&EndpointSlice> =
        slices.filter(|slice| matches!(slice.address_type.as_str(), "IPv4" | "IPv6")).collect();
    slices.sort_by_key(|slice| (slice.address_type != first, slice.metadata.name.as_str()));
    let mut found: BTreeMap<(Address, u16, String), Endpoint> = BTreeMap::new();
    let mut family_of: BTreeMap<Key, &str> = BTreeMap::new();
    for slice in slices {
        for endpoint in &slice.endpoints {
            let Some(workload) = workload(endpoint, service, around, options) else { continue };
            if let Some(pod) = pod_of(endpoint, &service.metadata.namespace)
                && *family_of.entry(pod).or_insert(&slice.address_type) != slice.address_type
            {
                continue;
            }
            for made in of_slice(endpoint, slice, service, &workload, options) {
                let key = (made.address.clone(), made.port, made.service_port.clone());
                let known = found.entry(key).or_insert_with(|| made.clone());
                if made.health == Health::Healthy {
                    *known = made;
                }
            }
        }
    }
    found.into_values().collect()
}

/// The name that an ExternalName service stands for, at each port.
fn external(service: &Service, options: &Options) -> Vec<Endpoint> {
    let name = service.metadata.key();
    let workload = Arc::new(Workload {
        hostname: String::new(),
        name: name.1.clone(),
        namespace: name.0.as_str().into(),
        service_account: String::new(),
        labels: service.metadata.labels.clone(),
        locality: Locality::default(),
        network: String::new(),
        platform: Platform::Kubernetes,
        cluster: options.cluster.to_string(),
    });
    let ports = service.spec.ports.iter().filter_map(port);
    let endpoint = |port: model::ServicePort| Endpoint {
        silent_since: None,
        address: Address::Name(service.spec.external_name.clone()),
        port: port.number,
        service_port: port.name,
        health: Health::Healthy,
        weight: 1,
        tls: TlsMode::Disabled,
        workload: workload.clone(),
        provenance: provenance(options, "Service", &name),
    };
    ports.map(endpoint).collect()
}

fn of_slice(
    endpoint: &SliceEndpoint,
    slice: &EndpointSlice,
    service: &Service,
    workload: &Arc<Workload>,
    options: &Options,
) -> Vec<Endpoint> {
    // Consumers take the first address only: all of them are one endpoint (EndpointSlice, `addresses`).
    let Some(Ok(ip)) = endpoint.addresses.first().map(|ip| ip.parse::<IpAddr>()) else { return Vec::new() };
    let tls = match workload.labels.get(TLS_MODE).map(String::as_str) {
        Some("istio") => TlsMode::Istio,
        _ => TlsMode::Disabled,
    };
    let served = |name: &str| service.spec.ports.iter().any(|port| port.name == name);
    let ports = slice.ports.iter().filter(|port| served(&port.name));
    let made = ports.filter_map(|port| {
        Some(Endpoint {
            silent_since: None,
            address: Address::Ip(ip),
            port: port.port?,
            service_port: port.name.clone(),
            health: health(endpoint),
            weight: 1,
            tls,
            workload: workload.clone(),
            provenance: provenance(options, "EndpointSlice", &slice.metadata.key()),
        })
    });
    made.collect()
}

/// Ready takes traffic; what still serves while it terminates is drained (EndpointConditions).
fn health(endpoint: &SliceEndpoint) -> Health {
    let conditions = &endpoint.conditions;
    let ready = conditions.ready.unwrap_or(true);
    let (serving, terminating) = (conditions.serving.unwrap_or(ready), conditions.terminating.unwrap_or(false));
    match (ready, serving && terminating) {
        (true, _) => Health::Healthy,
        (false, true) => Health::Draining,
        (false, false) => Health::Unhealthy,
    }
}

/// The pod that an endpoint stands for.
pub(super) fn pod_of(endpoint: &SliceEndpoint, namespace: &str) -> Option<Key> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod")?;
    let namespace = if target.namespace.is_empty() { namespace } else { &target.namespace };
    Some((namespace.to_owned(), target.name.clone()))
}

/// What runs behind an endpoint. `None` while its pod is not known, or is another one of the same name: without its
/// labels nobody can say whether it speaks mutual TLS.
fn workload(
    endpoint: &SliceEndpoint,
    service: &Service,
    around: &impl Surroundings,
    options: &Options,
) -> Option<Arc<Workload>> {
    let namespace = &service.metadata.namespace;
    let pod = match pod_of(endpoint, namespace) {
        Some(key) => Some(around.pod(&key).filter(|pod| is_target(pod, endpoint))?),
        None => None,
    };
    let node = match pod {
        Some(pod) if !pod.spec.node_name.is_empty() => &pod.spec.node_name,
        _ => &endpoint.node_name,
    };
    let network = match pod.map_or("", |pod| pod.metadata.label(NETWORK)) {
        "" => around.network(),
        own => own,
    };
    let locality = locality(pod, endpoint, node, around);
    let mut labels = pod.map(|pod| pod.metadata.labels.clone()).unwrap_or_default();
    let known: [(&str, &str); 6] = [
        (REGION, locality.region.as_str()),
        (ZONE, &locality.zone),
        (SUB_ZONE, &locality.sub_zone),
        (NETWORK, network),
        (CLUSTER, &options.cluster),
        (HOSTNAME, node),
    ];
    for (name, value) in known.into_iter().filter(|(_, value)| !value.is_empty()) {
        labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let address = || endpoint.addresses.first().cloned().unwrap_or_default();
    Some(Arc::new(Workload {
        hostname: endpoint.hostname.clone(),
        name: pod.map_or_else(address, |pod| pod.metadata.name.clone()),
        namespace: pod.map_or(namespace, |pod| &pod.metadata.namespace).as_str().into(),
        service_account: pod.map(service_account).unwrap_or_default(),
        labels,
        locality,
        network: network.to_owned(),
        platform: Platform::Kubernetes,
        cluster: options.cluster.to_string(),
    }))
}

fn is_target(pod: &Pod, endpoint: &SliceEndpoint) -> bool {
    let wanted = endpoint.target_ref.as_ref().map_or("", |target| &target.uid);
    wanted.is_empty() || pod.metadata.uid.is_empty() || wanted == pod.metadata.uid
}

/// A pod that names no account has its namespace's `default`.
fn service_account(pod: &Pod) -> String {
    if pod.spec.service_account_name.is_empty() { "default".into() } else { pod.spec.service_account_name.clone() }
}

/// The pod's own word, else its node's, else the zone that the slice tells.
fn locality(pod: Option<&Pod>, endpoint: &SliceEndpoint, node: &str, around: &impl Surroundings) -> Locality {
    let own = pod.map_or("", |pod| pod.metadata.label(LOCALITY));
    if !own.is_empty() {
        let text = own.replace('.', "/");
        let Ok(locality) = text.parse();
        return locality;
    }
    let of_slice = || Locality { zone: endpoint.zone.clone(), ..Locality::default() };
    around.locality(node).cloned().unwrap_or_else(of_slice)
}

fn provenance(options: &Options, kind: &str, (namespace, name): &Key) -> Provenance {
    Provenance { registry: options.cluster.clone(), object: format!("{kind} {namespace}/{name}") }
}

/// What a service asks for that the mesh does not do, in an operator's words.
pub(super) fn not_honoured(service: &Service) -> Vec<String> {
    let spec = &service.spec;
    let mut found = Vec::new();
    if spec.internal_traffic_policy == "Local" {
        found.push("internalTrafficPolicy: Local (traffic goes to all nodes)".to_owned());
    }
    if !spec.traffic_distribution.is_empty() {
        found.push(format!(
            "trafficDistribution: {} (set localityLbSetting in a DestinationRule)",
            spec.traffic_distribution
        ));
    }
    if spec.session_affinity == "ClientIP" {
        found.push("sessionAffinity: ClientIP (set consistentHash in a DestinationRule)".to_owned());
    }
    for port in spec.ports.iter().filter(|port| !matches!(port.protocol.as_str(), "" | "TCP" | "UDP")) {
        found.push(format!("port {}: protocol {} (no proxy of the mesh carries it)", port.port, port.protocol));
    }
    found
}

impl super::objects::ServiceSpec {
    pub fn is_external(&self) -> bool {
        self.r#type == "ExternalName"
    }
}
