//! The file of a node proxy: which workloads the machine has, which user each runs as, and what it serves.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use proxy::Served;
use proxy::workload_api::Selectors;
use serde::Deserialize;

use crate::command::failure::{Exit, Failure};
use crate::command::sidecar::protocol;
use crate::command::workload_api;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    pub workloads: Vec<Entry>,
}

/// A workload of the machine.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Which user its programs run as: no other workload's do.
    user: User,
    /// Else of the first service, and the version.
    pub name: Option<String>,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Else the name of the first service.
    pub service_account: Option<String>,
    pub version: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `region/zone/subzone`
    #[serde(default)]
    pub locality: String,
    /// A join token; without, one is made if the control plane is on this machine.
    token_file: Option<PathBuf>,
    /// Whether the mesh learns of the services from here; otherwise the registry tells of them that they are in.
    #[serde(default = "yes")]
    pub register: bool,
    #[serde(default)]
    pub services: Vec<Service>,
    /// Of its user's programs, those that get its identity on the node proxy's socket; else all.
    #[serde(default)]
    identity: Programs,
}

/// Programs beside their user.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Programs {
    programs: Vec<PathBuf>,
    units: Vec<String>,
}

/// A service that a workload serves.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// A name in the workload's namespace, or a whole host.
    pub service: String,
    port: u16,
    #[serde(default = "http")]
    protocol: String,
    /// Where the program listens; else 127.0.0.1 and the service's port.
    forward_to: Option<SocketAddr>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum User {
    Number(u32),
    Name(String),
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn http() -> String {
    "http".to_owned()
}

fn yes() -> bool {
    true
}

impl File {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let place = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("{place} cannot be read"))?;
        Self::parse(&text).map_err(|reason| Failure::new(Exit::Rejected, format!("{place}: {reason}")).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if file.workloads.is_empty() {
            return Err("workloads: there is none; name at least one".to_owned());
        }
        for (number, entry) in file.workloads.iter().enumerate() {
            for (of, service) in entry.services.iter().enumerate() {
                let place = format!("workloads[{number}].services[{of}]");
                if service.port == 0 {
                    return Err(format!("{place}.port: 0 is no port; use 1 to 65535"));
                }
                protocol(&service.protocol)
                    .map_err(|told| format!("{place}.protocol: {:?}: {told}", service.protocol))?;
            }
        }
        Ok(file)
    }
}

impl Entry {
    pub fn uid(&self) -> anyhow::Result<u32> {
        match &self.user {
            User::Number(uid) => Ok(*uid),
            User::Name(name) => workload_api::uid(name),
        }
    }

    pub fn callers(&self) -> anyhow::Result<Selectors> {
        workload_api::programs(&self.identity.programs, &self.identity.units)
    }

    pub fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = fs::read_to_string(path).with_context(|| format!("tokenFile {} cannot be read", path.display()))?;
        let token = text.trim().to_owned();
        ensure!(
            !token.is_empty(),
            "tokenFile {} is empty; write the token of `weft token create` to it",
            path.display()
        );
        Ok(Some(token))
    }

    pub fn served(&self) -> Vec<Served> {
        let one = |service: &Service| Served {
            service: service.service.clone(),
            port: service.port,
            protocol: service.protocol.clone(),
            target: service.forward_to.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, service.port))),
        };
        self.services.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_needs_a_user_and_nothing_else() {
        let file = File::parse("workloads:\n- user: 1001\n  name: batch\n").unwrap();
        let entry = &file.workloads[0];
        assert_eq!((entry.uid().unwrap(), entry.namespace.as_str(), entry.register), (1001, "default", true));
        assert!(entry.served().is_empty());
        assert_eq!(entry.callers().unwrap(), Selectors::default());
        let text = "workloads:\n- {user: 1, name: a, identity: {programs: [/bin/sh], units: [a.service]}}\n";
        let callers = File::parse(text).unwrap().workloads[0].callers().unwrap();
        assert_eq!((callers.paths, callers.units), (vec!["/bin/sh".into()], vec!["a.service".to_owned()]));
        assert!(File::parse(&text.replace("a.service", "a")).unwrap().workloads[0].callers().is_err());
        let root = File::parse("workloads:\n- user: root\n  name: batch\n").unwrap();
        assert_eq!(root.workloads[0].uid().unwrap(), 0);
    }

    #[test]
    fn a_program_listens_on_its_services_port_unless_it_is_said() {
        let services = "- {service: reviews, port: 9080}\n  - {service: admin, port: 80, protocol: grpc, forwardTo: '127.0.0.1:81'}";
        let file = File::parse(&format!("workloads:\n- user: 1\n  services:\n  {services}\n")).unwrap();
        let served = file.workloads[0].served();
        assert_eq!((served[0].target.to_string().as_str(), served[0].protocol.as_str()), ("127.0.0.1:9080", "http"));
        assert_eq!((served[1].target.to_string().as_str(), served[1].protocol.as_str()), ("127.0.0.1:81", "grpc"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let told = |text: &str| File::parse(text).unwrap_err();
        assert!(told("workloads: []").contains("name at least one"));
        assert!(told("workloads:\n- user: 1\n  nmae: a\n").contains("nmae"));
        let protocol = "workloads:\n- user: 1\n  services: [{service: a, port: 1, protocol: htpp}]";
        assert!(told(protocol).contains("workloads[0].services[0].protocol: \"htpp\""));
        assert!(told("workloads:\n- user: 1\n  services: [{service: a, port: 0}]").contains("services[0].port: 0"));
        let nobody = File::parse("workloads:\n- user: nobody-of-the-kind\n").unwrap();
        assert!(nobody.workloads[0].uid().unwrap_err().to_string().contains("make it first"));
    }
}
