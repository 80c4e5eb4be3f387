//! Endpoints that are names: looked up, and looked up again in the background.

use std::net::SocketAddr;
use std::sync::Arc;

use runtime::Reach;

use crate::config::{Cluster, DnsFamily, Endpoint, EndpointAddress, LoadAssignment};

/// The assignment with every name replaced by its addresses, as the cluster takes them. `logical`: by one of them only.
/// A name that does not resolve contributes nothing.
pub async fn resolve(assignment: &LoadAssignment, logical: bool, cluster: &Cluster) -> LoadAssignment {
    let mut resolved = assignment.clone();
    for locality in &mut resolved.localities {
        let mut endpoints = Vec::new();
        for endpoint in &locality.endpoints {
            match &endpoint.address {
                EndpointAddress::Name(name, port) => {
                    let addresses = permitted(lookup(name, *port).await, name, cluster.reach.as_deref());
                    let addresses = cluster.dns_family.choose(addresses);
                    let limit = if logical { 1 } else { usize::MAX };
                    endpoints.extend(addresses.into_iter().take(limit).map(|address| at(endpoint, address)));
                }
                _ => endpoints.push(Arc::clone(endpoint)),
            }
        }
        locality.endpoints = endpoints;
    }
    resolved
}

async fn lookup(name: &str, port: u16) -> Vec<SocketAddr> {
    match tokio::net::lookup_host((name, port)).await {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.sort();
            addresses.dedup();
            addresses
        }
        Err(error) => {
            tracing::warn!(name, %error, "an upstream's name does not resolve");
            Vec::new()
        }
    }
}

/// The addresses that the cluster may reach. They are what is connected to: a name that stands for something else a
/// moment later is judged again before it is used.
fn permitted(mut all: Vec<SocketAddr>, name: &str, reach: Option<&Reach>) -> Vec<SocketAddr> {
    let Some(reach) = reach else { return all };
    all.retain(|address| {
        let permitted = reach.permits(*address);
        if !permitted {
            tracing::warn!(
                name,
                %address,
                "an upstream's name stands for an address of the machine itself, and is not followed; the control \
                 plane's --allow-jwks-address allows it"
            );
        }
        permitted
    });
    all
}

impl DnsFamily {
    /// The addresses that are taken, of all that a name has.
    fn choose(self, mut all: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let has = |v4: bool| all.iter().any(|address| address.is_ipv4() == v4);
        let v4 = match self {
            Self::All => return all,
            Self::V4 => true,
            Self::V6 => false,
            Self::V6OrV4 => !has(false),
            Self::V4OrV6 => has(true),
        };
        all.retain(|address| address.is_ipv4() == v4);
        all
    }
}

fn at(endpoint: &Endpoint, address: SocketAddr) -> Arc<Endpoint> {
    Arc::new(Endpoint { address: EndpointAddress::Socket(address), ..endpoint.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_family_that_is_asked_for() {
        let (v4, v6): (SocketAddr, SocketAddr) = ("192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap());
        let both = vec![v4, v6];
        for (family, of_both, of_v4) in [
            (DnsFamily::V6OrV4, vec![v6], vec![v4]),
            (DnsFamily::V4OrV6, vec![v4], vec![v4]),
            (DnsFamily::V4, vec![v4], vec![v4]),
            (DnsFamily::V6, vec![v6], vec![]),
            (DnsFamily::All, both.clone(), vec![v4]),
        ] {
            assert_eq!((family.choose(both.clone()), family.choose(vec![v4])), (of_both, of_v4), "{family:?}");
        }
    }
}
