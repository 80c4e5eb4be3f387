//! What the instances of one Consul service are in the mesh. Pure.
//!
//! Service meta that counts: `protocol`, `weft-namespace`, `weft-identity`, `weft-port` and `weft-locality`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::Hostname;
use ipnet::IpNet;

use super::entry::{Check, Entry, Instance, Node};
use super::ports;
use crate::model::{
    Address, Endpoint, Health, Locality, Location, Platform, Protocol, Provenance, Resolution, Service, ServiceKey,
    ServicePort, TlsMode, Visibility, Workload,
};

/// What is the same for all services of one registry.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub registry: Arc<str>,
    /// The mesh's DNS domain.
    pub domain: Arc<str>,
    pub partition: Option<String>,
    pub wan: bool,
}

impl Context {
    /// Of a registry of this name, in a mesh of this DNS domain.
    pub fn new(registry: &Arc<str>, domain: &Arc<str>, partition: Option<String>, wan: bool) -> Self {
        Self { registry: registry.clone(), domain: domain.clone(), partition, wan }
    }
}

/// One Consul service: usually one service of the mesh, several where instances name different namespaces.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Converted {
    pub services: BTreeMap<ServiceKey, (Service, Vec<Endpoint>)>,
    /// What cannot be used, in words for an operator.
    pub findings: Vec<String>,
}

/// Where an instance belongs and what its endpoint is.
struct Placed {
    /// What of it is not as it says, in words for an operator.
    warning: Option<String>,
    key: ServiceKey,
    port: ServicePort,
    endpoint: Endpoint,
    virtual_address: Option<IpNet>,
    alias: Option<Hostname>,
}

pub(super) fn convert(context: &Context, name: &str, mut entries: Vec<Entry>) -> Converted {
    entries.retain(|entry| entry.service.is_service());
    entries.sort_by(|a, b| (&a.node.node, &a.service.id).cmp(&(&b.node.node, &b.service.id)));
    let mut converted = Converted::default();
    let mut seen = BTreeSet::new();
    let mut declared: BTreeMap<ServiceKey, BTreeSet<u16>> = BTreeMap::new();
    for entry in &entries {
        let placed = match place(context, name, entry) {
            Ok(placed) => placed,
            Err(why) => {
                let (id, node) = (&entry.service.id, &entry.node.node);
                converted.findings.push(format!("service {name}: {id} on {node} takes no traffic: {why}"));
                continue;
            }
        };
        if let Some(warning) = &placed.warning {
            converted.findings.push(format!("service {name}: {} on {}: {warning}", entry.service.id, entry.node.node));
        }
        let numbers = declared.entry(placed.key.clone()).or_default();
        if entry.service.meta("weft-port").is_some() {
            numbers.insert(placed.port.number);
        }
        if seen.insert((placed.key.clone(), placed.endpoint.address.clone(), placed.endpoint.port)) {
            add(&mut converted, name, placed);
        }
    }
    for (key, (service, endpoints)) in &mut converted.services {
        converted.findings.extend(ports::settle(name, service, endpoints, &declared[key]));
    }
    converted
}

fn add(converted: &mut Converted, name: &str, placed: Placed) {
    let Converted { services, findings } = converted;
    let object = format!("service {name}");
    let registry = placed.endpoint.provenance.registry.clone();
    let entry = services
        .entry(placed.key.clone())
        .or_insert_with(|| (describe(placed.key.clone(), Provenance { registry, object }), Vec::new()));
    let (service, endpoints) = entry;
    let mut endpoint = placed.endpoint;
    match service.ports.iter().find(|port| port.number == placed.port.number) {
        Some(known) if known.protocol != placed.port.protocol => {
            endpoint.service_port.clone_from(&known.name);
            findings.push(format!(
                "service {name}: instances say {} and {} of port {}; the first decides",
                known.protocol.as_str(),
                placed.port.protocol.as_str(),
                placed.port.number,
            ));
        }
        Some(_) => {}
        None => service.ports.push(placed.port),
    }
    service.ports.sort_by_key(|port| port.number);
    if let Some(address) = placed.virtual_address.filter(|address| !service.addresses.contains(address)) {
        service.addresses.push(address);
    }
    if let Some(alias) = placed.alias.filter(|alias| !service.aliases.contains(alias)) {
        service.aliases.push(alias);
    }
    endpoints.push(endpoint);
}

fn describe(key: ServiceKey, provenance: Provenance) -> Service {
    Service {
        guesses_port: false,
        key,
        aliases: Vec::new(),
        ports: Vec::new(),
        addresses: Vec::new(),
        location: Location::MeshInternal,
        resolution: Resolution::Static,
        visibility: Visibility::Public,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        created: 0,
        provenance,
    }
}

fn place(context: &Context, name: &str, entry: &Entry) -> Result<Placed, String> {
    let (instance, node) = (&entry.service, &entry.node);
    let identity = identity(instance)?;
    if identity.is_none() && instance.connect.as_ref().is_some_and(|connect| connect.native == Some(true)) {
        return Err("it is Connect-native and takes only Consul's own mutual TLS; run a weft sidecar beside it and \
                    name its identity in the meta weft-identity"
            .into());
    }
    let namespace = namespace(instance);
    let host = Hostname::resolve(name, namespace, &context.domain)
        .map_err(|error| format!("the service's name makes no hostname: {error}"))?;
    let (address, number) = location(instance, node, context.wan)?;
    let (port, warning) = service_port(instance, number)?;
    let endpoint = Endpoint {
        silent_since: None,
        address,
        port: number,
        service_port: port.name.clone(),
        health: health(entry),
        weight: weight(entry),
        tls: if identity.is_some() { TlsMode::Istio } else { TlsMode::Disabled },
        workload: Arc::new(workload(context, name, entry, namespace, identity)),
        provenance: Provenance {
            registry: context.registry.clone(),
            object: format!("service {} on {}", instance.id, node.node),
        },
    };
    Ok(Placed {
        warning,
        key: ServiceKey::new(host, namespace),
        port,
        endpoint,
        virtual_address: virtual_address(instance),
        alias: alias(context, name, instance),
    })
}

/// The meta `weft-namespace`, else the namespace of Consul Enterprise.
fn namespace(instance: &Instance) -> &str {
    let own = || instance.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    instance.meta("weft-namespace").or_else(own).unwrap_or("default")
}

/// Namespace and service account that the meta `weft-identity` names: `spiffe://…/ns/NS/sa/SA`, `NS/SA` or `SA`.
/// Whoever has it has a weft sidecar, and is spoken to with mutual TLS.
fn identity(instance: &Instance) -> Result<Option<(Option<&str>, &str)>, String> {
    let Some(text) = instance.meta("weft-identity") else { return Ok(None) };
    let path = match text.strip_prefix("spiffe://") {
        Some(rest) => rest.split_once("/ns/").and_then(|(_, path)| path.split_once("/sa/")),
        None => text.split_once('/').or(Some(("", text))),
    };
    match path {
        Some((namespace, account)) if !account.is_empty() && !account.contains('/') && !namespace.contains('/') => {
            Ok(Some((Some(namespace).filter(|namespace| !namespace.is_empty()), account)))
        }
        _ => Err(format!("its meta weft-identity is {text:?}; give SERVICE-ACCOUNT or NAMESPACE/SERVICE-ACCOUNT")),
    }
}

/// Where the instance listens: its own address or that of its node, or, from afar, the one tagged `wan` (Consul,
/// `translate_wan_addrs`).
fn location(instance: &Instance, node: &Node, wan: bool) -> Result<(Address, u16), String> {
    if !instance.socket_path.is_empty() {
        return Err("it listens on a Unix socket, which is of use on its own machine only".into());
    }
    let tagged = instance.tagged_addresses.as_ref().and_then(|tagged| tagged.get("wan")).filter(|_| wan);
    let node_wan = node.tagged_addresses.as_ref().and_then(|tagged| tagged.get("wan")).filter(|_| wan);
    let (text, port) = match (tagged, instance.address.as_str()) {
        (Some(tagged), _) => (tagged.address.as_str(), if tagged.port == 0 { instance.port } else { tagged.port }),
        (None, "") => (node_wan.unwrap_or(&node.address).as_str(), instance.port),
        (None, own) => (own, instance.port),
    };
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("its port is {}; register the port that it listens on", instance.port))?;
    Ok((address(text)?, port))
}

/// An IP address, or a name that callers look up, as those of Consul's DNS do.
fn address(text: &str) -> Result<Address, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Address::Ip(ip));
    }
    match Hostname::new(text) {
        Ok(name) if !name.is_wildcard() => Ok(Address::Name(name.as_str().to_owned())),
        _ => Err(format!("its address {text:?} is neither an IP address nor the name of a host")),
    }
}

/// The port that callers name: the meta `weft-port`, else the one that the instance listens on. A protocol that is not
/// known is carried as it is.
fn service_port(instance: &Instance, listens: u16) -> Result<(ServicePort, Option<String>), String> {
    let number = match instance.meta("weft-port").map(str::parse::<u16>) {
        None => listens,
        Some(Ok(number)) if number > 0 => number,
        Some(_) => return Err("its meta weft-port is no port; give the number that callers use".into()),
    };
    let (protocol, warning) = match instance.meta("protocol") {
        None => (Protocol::of_port("", number), None),
        Some(word) => match Protocol::named(word) {
            Some(protocol) => (protocol, None),
            None => (Protocol::Tcp, Some(unknown_protocol(word))),
        },
    };
    let word = if protocol == Protocol::Auto { "auto".into() } else { protocol.as_str().to_ascii_lowercase() };
    Ok((ServicePort { name: format!("{word}-{number}"), number, protocol }, warning))
}

fn unknown_protocol(word: &str) -> String {
    format!(
        "its meta protocol is {word:?}, which is not known, so it is carried as tcp; give http, http2, grpc, tcp, tls, \
         mongo, mysql or redis"
    )
}

/// A critical check takes an instance out, maintenance lets it finish, and so does a warning of weight 0.
fn health(entry: &Entry) -> Health {
    let checks = || entry.checks.iter().flatten();
    let maintenance = |check: &Check| {
        check.status != "passing" && (check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:"))
    };
    if checks().any(maintenance) {
        Health::Draining
    } else if checks().any(|check| !matches!(check.status.as_str(), "passing" | "warning")) {
        Health::Unhealthy
    } else if is_warned(entry) && entry.service.weights.as_ref().is_some_and(|weights| weights.warning == 0) {
        Health::Draining
    } else {
        Health::Healthy
    }
}

fn is_warned(entry: &Entry) -> bool {
    entry.checks.iter().flatten().any(|check| check.status == "warning")
}

fn weight(entry: &Entry) -> u32 {
    let Some(weights) = &entry.service.weights else { return 1 };
    let weight = if is_warned(entry) { weights.warning } else { weights.passing };
    weight.clamp(1, i64::from(u32::MAX)) as u32
}

fn workload(
    context: &Context,
    name: &str,
    entry: &Entry,
    namespace: &str,
    identity: Option<(Option<&str>, &str)>,
) -> Workload {
    let (own, account) = identity.unwrap_or((None, "default"));
    Workload {
        hostname: String::new(),
        name: entry.service.id.clone(),
        namespace: own.unwrap_or(namespace).into(),
        service_account: account.to_owned(),
        labels: labels(name, entry),
        locality: locality(entry),
        network: String::new(),
        platform: Platform::Consul,
        cluster: context.registry.to_string(),
    }
}

/// The node's meta, then tags (`key=value`, or `tag/NAME: "true"`), then the service's meta, the later deciding.
fn labels(name: &str, entry: &Entry) -> BTreeMap<String, String> {
    let mut labels = entry.node.meta.clone().unwrap_or_default();
    labels.retain(|key, _| !key.starts_with("consul-"));
    for tag in entry.service.tags.iter().flatten() {
        match tag.split_once('=') {
            Some((key, value)) => labels.insert(key.to_owned(), value.to_owned()),
            None => labels.insert(format!("tag/{tag}"), "true".to_owned()),
        };
    }
    let meta = entry.service.meta.iter().flatten().filter(|(key, _)| !key.starts_with("weft-"));
    labels.extend(meta.map(|(key, value)| (key.clone(), value.clone())));
    labels.entry("app".into()).or_insert_with(|| name.to_owned());
    labels
}

/// The meta `weft-locality` of the instance or its node, else what Consul knows of either, else the datacenter as
/// region.
fn locality(entry: &Entry) -> Locality {
    let of_node = || entry.node.meta.as_ref()?.get("weft-locality").map(String::as_str);
    if let Some(text) = entry.service.meta("weft-locality").or_else(of_node) {
        let Ok(locality) = text.parse();
        return locality;
    }
    let place = entry.service.locality.as_ref().or(entry.node.locality.as_ref());
    match place.filter(|place| !place.region.is_empty()) {
        Some(place) => Locality { region: place.region.clone(), zone: place.zone.clone(), sub_zone: String::new() },
        None => Locality { region: entry.node.datacenter.clone(), ..Locality::default() },
    }
}

/// The address tagged `virtual` or, as Consul assigns it, `consul-virtual`.
fn virtual_address(instance: &Instance) -> Option<IpNet> {
    let tagged = instance.tagged_addresses.as_ref()?;
    let address = tagged.get("virtual").or_else(|| tagged.get("consul-virtual"))?;
    Some(IpNet::from(address.address.parse::<IpAddr>().ok()?))
}

/// The name that Consul's DNS gives the service (`NAME.service[.NS.ns][.PARTITION.ap].consul`).
fn alias(context: &Context, name: &str, instance: &Instance) -> Option<Hostname> {
    let other = |value: Option<&str>, kind| match value {
        None | Some("" | "default") => String::new(),
        Some(value) => format!(".{value}.{kind}"),
    };
    let namespace = other(instance.namespace.as_deref(), "ns");
    let partition = other(context.partition.as_deref(), "ap");
    Hostname::new(&format!("{name}.service{namespace}{partition}.consul")).ok()
}
