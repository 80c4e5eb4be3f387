//! Whose an address is. A platform knows its own, and a workload speaks from its own; a ServiceEntry may name any, which
//! makes it nobody's who is not in its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::catalog::Catalog;
use crate::model::{Address, Endpoint};

/// Whether what is told of an endpoint counts against a workload of a namespace that has its address: what somebody only
/// wrote down is the word of its own namespace.
pub fn speaks_for(endpoint: &Endpoint, namespace: &str) -> bool {
    !endpoint.provenance.is_declared() || &*endpoint.workload.namespace == namespace
}

/// A ServiceEntry that names another namespace's workload by its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignAddress {
    /// `ServiceEntry shop/bank`
    pub object: String,
    pub namespace: String,
    /// The host that the ServiceEntry gives the address.
    pub host: String,
    pub address: IpAddr,
    /// `namespace/workload`, as a platform or the workload itself tells.
    pub owner: String,
}

/// All of them. An address that somebody of the ServiceEntry's own namespace has too, as pods on the network of their
/// node do, is not foreign.
pub fn foreign_addresses(catalog: &Catalog) -> BTreeSet<ForeignAddress> {
    let all = || catalog.entries().flat_map(|entry| entry.endpoints.iter().map(move |endpoint| (entry, endpoint)));
    let mut owners: BTreeMap<IpAddr, BTreeMap<&str, &str>> = BTreeMap::new();
    for (_, endpoint) in all().filter(|(_, endpoint)| !endpoint.provenance.is_declared()) {
        if let Address::Ip(ip) = endpoint.address {
            let workload = &endpoint.workload;
            owners.entry(ip.to_canonical()).or_default().insert(&workload.namespace, &workload.name);
        }
    }
    let foreign = all().filter(|(_, endpoint)| endpoint.provenance.is_declared()).filter_map(|(entry, endpoint)| {
        let Address::Ip(ip) = endpoint.address else { return None };
        let (address, namespace) = (ip.to_canonical(), &*endpoint.workload.namespace);
        let there = owners.get(&address).filter(|there| !there.contains_key(namespace))?;
        let (owner, workload) = there.iter().next()?;
        Some(ForeignAddress {
            object: endpoint.provenance.object.clone(),
            namespace: namespace.to_owned(),
            host: entry.service.host().to_string(),
            address,
            owner: format!("{owner}/{workload}"),
        })
    });
    foreign.collect()
}
