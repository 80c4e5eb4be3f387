//! The names that the agent answers over DNS.

use std::net::IpAddr;

use api::Hostname;
use api::istio::networking::nds::v1 as wire;
use wire::name_table::NameInfo;

use crate::config::error::{At, ConfigError};
use crate::config::{Name, NameTable};

/// The registry whose names have shorter forms (Istio, `provider.Kubernetes`).
const WITH_SHORT_NAMES: &str = "Kubernetes";

pub(super) fn convert(wire: &wire::NameTable, at: &At<'_>) -> Result<NameTable, ConfigError> {
    let mut table = NameTable::default();
    let at = at.field("table");
    for (host, info) in &wire.table {
        let at = at.key(host);
        let name = name(info, &at)?;
        for alias in alternatives(info) {
            let alias = hostname(alias, &at)?;
            if !wire.table.contains_key(&alias) {
                table.names.insert(alias, Name { short: None, ..name.clone() });
            }
        }
        table.names.insert(hostname(host, &at)?, name);
    }
    Ok(table)
}

#[allow(deprecated)]
fn alternatives(info: &NameInfo) -> &[String] {
    &info.alt_hosts
}

fn hostname(text: &str, at: &At<'_>) -> Result<String, ConfigError> {
    Hostname::new(text).map(|host| host.to_string()).map_err(|error| at.refuse(text, error.to_string()))
}

fn name(info: &NameInfo, at: &At<'_>) -> Result<Name, ConfigError> {
    let mut name = Name::default();
    let at = at.field("ips");
    for (index, text) in info.ips.iter().enumerate() {
        match text.parse() {
            Ok(IpAddr::V4(ip)) => name.v4.push(ip),
            Ok(IpAddr::V6(ip)) => name.v6.push(ip),
            Err(_) => return Err(at.index(index).refuse(text, "is no IP address")),
        }
    }
    let has_short = info.registry == WITH_SHORT_NAMES && !info.shortname.is_empty() && !info.namespace.is_empty();
    name.short = has_short.then(|| (info.shortname.to_lowercase(), info.namespace.to_lowercase()));
    Ok(name)
}
