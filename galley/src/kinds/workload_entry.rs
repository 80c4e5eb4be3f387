//! WorkloadEntry: a workload outside any platform, such as a VM (Istio `workload_entry.proto`).

use std::collections::BTreeMap;

use registry::{Address, Locality};

use super::check::{self, Wildcard};
use super::shared::Labels;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadEntry {
    /// `None` only together with a network.
    pub address: Option<Address>,
    /// Service port name to the port the workload listens on.
    pub ports: BTreeMap<String, u16>,
    pub labels: Labels,
    pub network: String,
    pub locality: Locality,
    /// 0: not given.
    pub weight: u32,
    pub service_account: String,
}

/// Reads and checks the spec of a WorkloadEntry, or an inline endpoint of a ServiceEntry.
pub(crate) fn read(o: &Object<'_>) -> WorkloadEntry {
    let address = o.read("address", address);
    let entry = read_rest(o);
    if matches!(address, Some(Address::Unix(_))) && !entry.ports.is_empty() {
        o.error_at("ports", "a Unix socket has no ports");
    }
    if address.is_none() && !o.has("address") && entry.network.is_empty() {
        o.place().error("address is required (only with a network it may be left out)");
    }
    WorkloadEntry { address, ..entry }
}

/// Everything but the address: what a group's workloads have in common.
pub(super) fn read_rest(o: &Object<'_>) -> WorkloadEntry {
    WorkloadEntry {
        address: None,
        ports: o.field("ports").map(|place| ports(&place)).unwrap_or_default(),
        labels: o.field("labels").map(|place| check::labels(&place)).unwrap_or_default(),
        network: o.text("network"),
        locality: o.read("locality", locality).unwrap_or_default(),
        weight: o.count("weight").unwrap_or_default(),
        service_account: o.text("serviceAccount"),
    }
}

fn address(place: &Place<'_>) -> Option<Address> {
    let text = place.text()?;
    if text.is_empty() {
        return None;
    }
    if text.len() > 256 {
        place.error("an address has at most 256 characters");
    }
    if let Some(path) = text.strip_prefix("unix://") {
        if !path.starts_with(['/', '@']) {
            place.error("a Unix socket is an absolute path (unix:///run/app.sock) or abstract (unix://@app)");
        }
        return Some(Address::Unix(path.to_owned()));
    }
    if let Ok(ip) = text.parse() {
        return Some(Address::Ip(ip));
    }
    if let Err(why) = check::host_rule(&text, Wildcard::None) {
        place.error(format!("no IP address, and no name either: {why}"));
    }
    Some(Address::Name(text.to_ascii_lowercase()))
}

fn ports(place: &Place<'_>) -> BTreeMap<String, u16> {
    let entries = place.entries();
    if entries.len() > 128 {
        place.error("at most 128 ports");
    }
    let port = |(name, value): (&str, Place<'_>)| {
        if check::host_rule(name, Wildcard::None).is_err() || name.contains('.') {
            value.error(format!("{name:?} is no name of a port"));
        }
        Some((name.to_owned(), value.port()?))
    };
    entries.into_iter().filter_map(port).collect()
}

fn locality(place: &Place<'_>) -> Option<Locality> {
    let text = place.text()?;
    if text.split('/').count() > 3 || text.split('/').any(|part| part.contains('*')) {
        place.error(format!("{text:?} is no locality: region/zone/subzone, the later parts optional"));
    }
    text.parse().ok()
}
