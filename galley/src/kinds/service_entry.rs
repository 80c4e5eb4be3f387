//! ServiceEntry: a service that no platform tells about (Istio `service_entry.proto`).

use ipnet::IpNet;
use registry::{Address, Location, Protocol, Resolution};

use super::check::{self, Scope, Wildcard};
use super::shared::{ExportTo, Labels};
use super::workload_entry::{self, WorkloadEntry};
use crate::diagnostic::code;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Full names or wildcards, as written.
    pub hosts: Vec<String>,
    pub addresses: Vec<IpNet>,
    pub ports: Vec<EntryPort>,
    pub location: Location,
    pub resolution: Resolution,
    /// Given inline; empty when `workload_selector` is set.
    pub endpoints: Vec<WorkloadEntry>,
    /// WorkloadEntries of the same namespace that carry these labels are the endpoints.
    pub workload_selector: Option<Labels>,
    pub export_to: ExportTo,
    pub subject_alt_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPort {
    pub number: u16,
    pub name: String,
    pub protocol: Protocol,
    /// Where endpoints listen unless they say otherwise; the port's number when not given.
    pub target_port: Option<u16>,
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>, scope: &Scope<'_>) -> ServiceEntry {
    o.at_most_one(&["endpoints", "workloadSelector"]);
    let resolution = o.choice("resolution", &RESOLUTIONS).unwrap_or(Resolution::Passthrough);
    let ports = read_ports(o);
    let entry = ServiceEntry {
        hosts: hosts(o, resolution),
        addresses: o.each("addresses", check::subnet),
        location: o.choice("location", &LOCATIONS).unwrap_or(Location::MeshExternal),
        resolution,
        endpoints: o.each("endpoints", |place| endpoint(place, resolution, &ports)),
        workload_selector: o.read("workloadSelector", |place| check::selector(place, "labels", 256)),
        export_to: check::export_to(o, scope, true),
        subject_alt_names: o.texts("subjectAltNames"),
        ports,
    };
    check_resolution(o, &entry);
    check_sizes(o, &entry);
    entry
}

const RESOLUTIONS: [(&str, Resolution); 5] = [
    ("NONE", Resolution::Passthrough),
    ("STATIC", Resolution::Static),
    ("DNS", Resolution::Dns),
    ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
    ("DYNAMIC_DNS", Resolution::DynamicDns),
];

const LOCATIONS: [(&str, Location); 2] =
    [("MESH_EXTERNAL", Location::MeshExternal), ("MESH_INTERNAL", Location::MeshInternal)];

fn hosts(o: &Object<'_>, resolution: Resolution) -> Vec<String> {
    let hosts = o.each("hosts", |place| {
        let text = check::host(place, Wildcard::PartOfLabel)?;
        let first = text.split('.').next().unwrap_or_default();
        if text == "*" {
            place.error("\"*\" would be every host; name the hosts");
        } else if first.len() > 1 && first.starts_with('*') && resolution != Resolution::DynamicDns {
            place.warn(code::SCHEMA_WARNING, "a wildcard inside a label matches nothing but itself");
        }
        Some(text)
    });
    if hosts.is_empty() {
        o.error_at("hosts", "at least one host is required");
    }
    hosts
}

fn read_ports(o: &Object<'_>) -> Vec<EntryPort> {
    let mut ports: Vec<EntryPort> = Vec::new();
    for place in o.field("ports").map(|place| place.list()).unwrap_or_default() {
        let Some(port) = place.object(|o| port(o, &ports)) else { continue };
        ports.extend(port);
    }
    ports
}

fn port(o: &Object<'_>, before: &[EntryPort]) -> Option<EntryPort> {
    let number = o.required("number").and_then(|place| place.port());
    let name = o.required("name").and_then(|place| check::dns_label(&place)).unwrap_or_default();
    let protocol = o.read("protocol", check::protocol).unwrap_or(Protocol::Auto);
    let target_port = o.port("targetPort");
    let number = number?;
    if before.iter().any(|port| port.number == number) {
        o.error_at("number", format!("the port {number} is there twice"));
    }
    if before.iter().any(|port| port.name == name) {
        o.error_at("name", format!("the port name {name:?} is there twice"));
    }
    Some(EntryPort { number, name, protocol, target_port })
}

fn endpoint(place: &Place<'_>, resolution: Resolution, ports: &[EntryPort]) -> Option<WorkloadEntry> {
    place.object(|o| {
        let entry = workload_entry::read(o);
        for name in entry.ports.keys() {
            if !ports.iter().any(|port| port.name == *name) {
                o.error_at("ports", format!("{name:?} is no port of this ServiceEntry"));
            }
        }
        match (&entry.address, resolution) {
            (Some(Address::Name(name)), Resolution::Static) => {
                o.error_at("address", format!("{name:?} is a name: resolution STATIC needs IP addresses, or use DNS"));
            }
            (Some(Address::Unix(_)), Resolution::Dns | Resolution::DnsRoundRobin) => {
                o.error_at("address", "a Unix socket needs resolution STATIC");
            }
            (Some(Address::Unix(_)), _) if ports.len() != 1 => {
                o.error_at("address", "a Unix socket needs a ServiceEntry of exactly one port");
            }
            _ => {}
        }
        entry
    })
}

fn check_resolution(o: &Object<'_>, entry: &ServiceEntry) {
    let wildcard = entry.hosts.iter().any(|host| host.starts_with('*'));
    let dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    match entry.resolution {
        Resolution::Passthrough if o.has("endpoints") => {
            o.error_at("endpoints", "resolution NONE takes no endpoints; set resolution: STATIC or DNS");
        }
        Resolution::DnsRoundRobin if entry.endpoints.len() > 1 => {
            o.error_at("endpoints", "resolution DNS_ROUND_ROBIN takes at most one endpoint");
        }
        Resolution::DynamicDns => check_dynamic(o, entry),
        _ if dns && wildcard && entry.endpoints.is_empty() && entry.workload_selector.is_none() => {
            o.error_at("hosts", "a wildcard cannot be looked up in DNS; give endpoints, or full host names");
        }
        _ => {}
    }
    let range = entry.addresses.iter().any(|net| net.prefix_len() != net.max_prefix_len());
    if range && !matches!(entry.resolution, Resolution::Passthrough | Resolution::Static) {
        o.error_at("addresses", "ranges of addresses need resolution NONE or STATIC");
    }
    let by_name = |protocol: Protocol| protocol.is_http() || matches!(protocol, Protocol::Https | Protocol::Tls);
    if entry.hosts.len() > 1
        && entry.resolution != Resolution::Passthrough
        && entry.ports.iter().any(|port| !by_name(port.protocol))
    {
        o.error_at("hosts", "several hosts on a port that is neither HTTP nor TLS cannot be told apart");
    }
}

/// Names under a wildcard are looked up when they are asked for.
fn check_dynamic(o: &Object<'_>, entry: &ServiceEntry) {
    if entry.hosts.iter().any(|host| !host.starts_with('*')) {
        o.error_at("hosts", "resolution DYNAMIC_DNS is for wildcard hosts");
    }
    for field in ["addresses", "endpoints"] {
        if o.has(field) {
            o.error_at(field, "not allowed with resolution DYNAMIC_DNS");
        }
    }
    let named = |port: &EntryPort| port.protocol.is_http() || matches!(port.protocol, Protocol::Https | Protocol::Tls);
    if !entry.ports.iter().all(named) {
        o.error_at("ports", "resolution DYNAMIC_DNS is for HTTP and TLS ports");
    }
}

fn check_sizes(o: &Object<'_>, entry: &ServiceEntry) {
    let sizes = [
        ("hosts", entry.hosts.len(), 256),
        ("addresses", entry.addresses.len(), 256),
        ("ports", entry.ports.len(), 256),
        ("endpoints", entry.endpoints.len(), 4096),
    ];
    for (field, found, most) in sizes {
        if found > most {
            o.error_at(field, format!("at most {most}, not {found}"));
        }
    }
}
