//! The lists as they are written, in the order of their fields.

use registry::{Discovery, Refused};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Whose hosts are listed.
pub enum Asked {
    Service(String),
    Repository(String),
}

impl Asked {
    pub async fn hosts(&self, of: &Discovery) -> Result<Vec<registry::Host>, Refused> {
        match self {
            Self::Service(name) => of.hosts(name).await,
            Self::Repository(name) => of.hosts_of_repository(name).await,
        }
    }

    pub fn page<'a>(&'a self, env: &'a str, hosts: &'a [registry::Host]) -> List<'a> {
        let hosts = hosts.iter().map(Host::of).collect();
        match self {
            Self::Service(service) => List::OfService { service, env, hosts },
            Self::Repository(service_repo_name) => List::OfRepository { service_repo_name, env, hosts },
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum List<'a> {
    OfService { service: &'a str, env: &'a str, hosts: Vec<Host<'a>> },
    OfRepository { service_repo_name: &'a str, env: &'a str, hosts: Vec<Host<'a>> },
}

#[derive(Serialize)]
pub struct Host<'a> {
    service: &'a str,
    ip_address: String,
    service_repo_name: Option<&'a str>,
    port: u16,
    revision: &'a str,
    last_check_in: String,
    tags: Tags<'a>,
}

impl<'a> Host<'a> {
    pub fn of(host: &'a registry::Host) -> Self {
        Self {
            service: &host.service,
            ip_address: host.ip_address.to_string(),
            service_repo_name: Some(host.service_repo_name.as_str()).filter(|name| !name.is_empty()),
            port: host.port,
            revision: &host.revision,
            last_check_in: host.checked_in(),
            tags: Tags(&host.tags),
        }
    }
}

/// The known ones first.
struct Tags<'a>(&'a Map<String, Value>);

const KNOWN: [&str; 5] = ["az", "region", "instance_id", "canary", "load_balancing_weight"];

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = KNOWN.iter().filter_map(|name| self.0.get_key_value(*name));
        let others = self.0.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in known.chain(others) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
