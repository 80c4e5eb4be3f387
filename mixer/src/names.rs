//! Which node of the graph a workload or a service is: the service that a workload belongs to, where there is one.

use std::collections::HashMap;
use std::sync::Arc;

use api::weft::v1 as wire;
use registry::{Catalog, Location, Service};

/// The node of whoever is not known.
pub const UNKNOWN: &str = "unknown";

/// What proxies call whatever is outside the mesh (Istio), whoever was asked for.
const OUTSIDE: &str = "PassthroughCluster";

/// The services of one catalog, by what reports call them.
#[derive(Debug, Default)]
pub struct Names {
    pub version: u64,
    hosts: HashMap<String, Arc<str>>,
    /// By namespace and name.
    services: HashMap<(String, String), Arc<str>>,
    workloads: HashMap<(String, String), Arc<str>>,
}

/// The id of a service's node.
pub fn id(service: &Service) -> String {
    match service.location {
        Location::MeshExternal => format!("external:{}", service.host()),
        Location::MeshInternal => {
            format!("{}/{}", service.namespace(), short(service.host().as_str(), service.namespace()))
        }
    }
}

/// Of the ids of workloads that are part of no service.
pub const PREFIX: &str = "workload:";

/// The id of the node of a workload that is part of no service.
pub fn workload_id(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}/{name}")
}

/// What people call a service: its first label below the mesh's domain, else its whole host.
pub fn short<'a>(host: &'a str, namespace: &str) -> &'a str {
    let mut labels = host.splitn(4, '.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(name), Some(of), Some("svc")) if of == namespace => name,
        _ => host,
    }
}

impl Names {
    pub fn of(catalog: &Catalog) -> Self {
        let mut names = Self { version: catalog.version, ..Self::default() };
        for entry in catalog.entries() {
            let service = &entry.service;
            let id: Arc<str> = id(service).into();
            let namespace = service.namespace().to_owned();
            names.hosts.insert(service.host().as_str().to_owned(), Arc::clone(&id));
            if service.location == Location::MeshExternal {
                continue;
            }
            let name = short(service.host().as_str(), &namespace).to_owned();
            names.services.insert((namespace, name), Arc::clone(&id));
            for endpoint in entry.endpoints.iter() {
                let workload = &endpoint.workload;
                let of = (workload.namespace.to_string(), workload.name.clone());
                names.workloads.entry(of).or_insert_with(|| Arc::clone(&id));
            }
        }
        names
    }

    /// The node that a workload is part of.
    pub fn workload(&self, workload: &wire::Workload) -> Arc<str> {
        let namespace = || workload.namespace.clone();
        let canonical = self.services.get(&(namespace(), workload.canonical_service.clone()));
        let found = canonical.or_else(|| self.workloads.get(&(namespace(), workload.name.clone())));
        found.map_or_else(|| workload_id(&workload.namespace, &workload.name).into(), Arc::clone)
    }

    /// The node that was called: a service, else that of the workload which took the call.
    pub fn called(
        &self,
        service: Option<&wire::Service>,
        workload: Option<&wire::Workload>,
        of: impl FnOnce(&wire::Workload) -> Arc<str>,
    ) -> Arc<str> {
        match (service, workload) {
            (Some(service), _) => match self.hosts.get(&service.host) {
                Some(id) => Arc::clone(id),
                None if service.host == OUTSIDE => format!("external:{OUTSIDE}").into(),
                // A host that a gateway answers for, and no service: whom it was for is not known.
                None if service.namespace.is_empty() => workload.map_or_else(|| UNKNOWN.into(), of),
                None => format!("{}/{}", service.namespace, short(&service.host, &service.namespace)).into(),
            },
            (None, Some(workload)) => of(workload),
            (None, None) => UNKNOWN.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_outside_is_one_node() {
        let names = Names::default();
        let service = |host: &str| wire::Service { host: host.into(), name: host.into(), namespace: String::new() };
        let called = |host: &str| names.called(Some(&service(host)), None, |of| names.workload(of));
        assert_eq!(&*called("PassthroughCluster"), "external:PassthroughCluster");
        assert_eq!(&*called("example.com"), UNKNOWN);
    }
}
