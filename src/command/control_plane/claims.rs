//! What a workload may say of itself. Its certificate decides who it is; the token it came with, where it connects from
//! and what platforms tell decide which services, ports and addresses are its own. Pure.

use std::net::IpAddr;

use citadel::Grant;
use registry::{Address, Catalog, Endpoint, NotOwn, RegisteredPort, Registration, ServiceKey, own_host, speaks_for};

/// What claims are held to.
pub struct Claims<'a> {
    /// Of the token; none for a workload that came without.
    pub grant: Option<&'a Grant>,
    /// Where its connection comes from.
    pub from: Option<IpAddr>,
    pub catalog: &'a Catalog,
    /// Of service names.
    pub domain: &'a str,
}

/// The registry of workloads that register themselves, which looks at its own conflicts.
const AGENTS: &str = "agents";

impl Claims<'_> {
    /// The error is for the workload's operator.
    pub fn check(&self, registration: &Registration) -> Result<(), String> {
        for port in &registration.ports {
            self.check_host(&port.service, &registration.namespace)?;
            if let Some(grant) = self.grant {
                grant.check_port(&port.service, port.port, &registration.namespace, self.domain)?;
            }
            self.check_service(registration, port)?;
            self.check_endpoint(registration, port)?;
        }
        self.check_address(registration.address)
    }

    /// A workload serves services of its namespace, and other hosts by word of its operator only. Nobody's word makes
    /// another namespace's service its own.
    fn check_host(&self, service: &str, namespace: &str) -> Result<(), String> {
        let Err(not_own) = own_host(service, namespace, self.domain) else { return Ok(()) };
        if let (NotOwn::Unnamed(_), true) = (&not_own, self.is_named()) {
            return match self.of_longer_name(service) {
                None => Ok(()),
                Some(owner) => Err(format!(
                    "service {service:?}: callers know {} by this name; name another service, or join with a token for \
                     namespace {}",
                    owner.host, owner.namespace
                )),
            };
        }
        match not_own {
            NotOwn::Never(why) => Err(why),
            NotOwn::Unnamed(why) => Err(format!(
                "{why}, and the join token does not name it; make the join token with --allow-service {service}, or \
                 name a service of {namespace} by one word"
            )),
        }
    }

    /// The service that `name.namespace` stands for.
    fn of_longer_name(&self, service: &str) -> Option<&ServiceKey> {
        let host = ::api::Hostname::new(&format!("{service}.svc.{}", self.domain)).ok()?;
        self.catalog.by_host(&host).next().map(|entry| &entry.service.key)
    }

    /// Whether an operator said which services the workload serves; `check_port` holds it to these.
    fn is_named(&self) -> bool {
        self.grant.is_some_and(|grant| !grant.services.is_empty() || grant.workload_group.is_some())
    }

    /// An address is one's own if the token says so, or if one speaks from it. From the control plane's own machine,
    /// whose operator its users are, any address does.
    fn check_address(&self, address: IpAddr) -> Result<(), String> {
        if let Some(grant) = self.grant.filter(|grant| !grant.addresses.is_empty()) {
            return grant.check_address(address);
        }
        match self.from.map(|from| from.to_canonical()) {
            Some(from) if !from.is_loopback() && from != address.to_canonical() => Err(format!(
                "{address} is not where this workload connects from, which is {from}; leave --address out, or make the \
                 join token with --allow-address {address}"
            )),
            _ => Ok(()),
        }
    }

    /// A service that others serve is joined by word of its operator only: by the token, or a WorkloadGroup.
    fn check_service(&self, registration: &Registration, port: &RegisteredPort) -> Result<(), String> {
        if self.is_named() {
            return Ok(());
        }
        let others = self.endpoints(registration, port).find(|endpoint| !is_of(endpoint, registration));
        match others {
            None => Ok(()),
            Some(other) => {
                let service = &port.service;
                let owner = named(other);
                Err(format!(
                    "{service} is served by {owner}, and this workload is {}; make the join token with --allow-service \
                     {service}, or join as {owner}",
                    registration.service_account
                ))
            }
        }
    }

    /// An endpoint that a platform tells of belongs to whom that platform names; one that another namespace's
    /// ServiceEntry names is still whose it is.
    fn check_endpoint(&self, registration: &Registration, port: &RegisteredPort) -> Result<(), String> {
        let (address, number) = (registration.address, port.endpoint());
        let there = |endpoint: &&Endpoint| {
            endpoint.port == number && matches!(endpoint.address, Address::Ip(at) if at == address)
        };
        let foreign = |endpoint: &&Endpoint| {
            &*endpoint.provenance.registry != AGENTS
                && speaks_for(endpoint, &registration.namespace)
                && !is_of(endpoint, registration)
        };
        let all = self.catalog.entries().flat_map(|entry| entry.endpoints.iter());
        match all.filter(there).find(foreign) {
            None => Ok(()),
            Some(known) => {
                let registry = &known.provenance.registry;
                Err(format!(
                    "{address}:{number} is an endpoint that {registry} tells of ({}), as {}: run the sidecar with \
                     --no-register and that identity, or take the endpoint out of {registry}",
                    known.provenance.object,
                    named(known)
                ))
            }
        }
    }

    fn endpoints<'a>(
        &'a self,
        registration: &Registration,
        port: &RegisteredPort,
    ) -> impl Iterator<Item = &'a Endpoint> {
        let host = ::api::Hostname::resolve(&port.service, &registration.namespace, self.domain).ok();
        let key = host.map(|host| ServiceKey::new(host, &registration.namespace));
        let entry = key.and_then(|key| self.catalog.get(&key));
        entry.into_iter().flat_map(|entry| entry.endpoints.iter())
    }
}

fn is_of(endpoint: &Endpoint, registration: &Registration) -> bool {
    let workload = &endpoint.workload;
    (&*workload.namespace, &workload.service_account) == (&*registration.namespace, &registration.service_account)
}

fn named(endpoint: &Endpoint) -> String {
    match endpoint.workload.service_account.as_str() {
        "" => "a workload without an identity".to_owned(),
        account => format!("service account {account}"),
    }
}

#[cfg(test)]
mod tests;
