//! Endpoints that are names: looked up, and looked up again in the background.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use runtime::Reach;

use crate::config::{Cluster, DnsFamily, Endpoint, EndpointAddress, LoadAssignment};

/// Which addresses of a name were refused at its last lookup, so that the log tells of each once.
#[derive(Debug, Default)]
pub struct Refused(Mutex<BTreeMap<String, Vec<SocketAddr>>>);

impl Refused {
    /// Takes the outcome of a lookup; which of the refused addresses were not refused at the one before.
    fn news(&self, name: &str, now: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut known = self.0.lock();
        let before = known.remove(name).unwrap_or_default();
        if !now.is_empty() {
            known.insert(name.to_owned(), now.to_owned());
        }
        now.iter().filter(|address| !before.contains(address)).copied().collect()
    }
}

/// The assignment with every name replaced by its addresses, as the cluster takes them. `logical`: by one of them only.
/// A name that does not resolve contributes nothing.
pub async fn resolve(
    assignment: &LoadAssignment,
    logical: bool,
    cluster: &Cluster,
    refused: &Refused,
) -> LoadAssignment {
    let mut resolved = assignment.clone();
    for locality in &mut resolved.localities {
        let mut endpoints = Vec::new();
        for endpoint in &locality.endpoints {
            match &endpoint.address {
                EndpointAddress::Name(name, port) => {
                    let found = lookup(name, *port).await.unwrap_or_else(|error| {
                        tracing::warn!(name, %error, "an upstream's name does not resolve");
                        Vec::new()
                    });
                    let addresses = permitted(found, name, cluster.reach.as_deref(), refused);
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

/// All addresses of a name, as the system resolves it.
pub(super) async fn lookup(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = tokio::net::lookup_host((name, port)).await?.collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// The addresses that the cluster may reach. They are what is connected to: a name that stands for something else a
/// moment later is judged again before it is used.
fn permitted(all: Vec<SocketAddr>, name: &str, reach: Option<&Reach>, refused: &Refused) -> Vec<SocketAddr> {
    let Some(reach) = reach else { return all };
    let (permitted, own): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| reach.permits(*address));
    for address in refused.news(name, &own) {
        tracing::warn!(
            name,
            %address,
            "an upstream's name stands for an address of the machine itself, and is not followed; the control \
             plane's --allow-jwks-address allows it"
        );
    }
    permitted
}

impl DnsFamily {
    /// The addresses that are taken, of all that a name has.
    pub(super) fn choose(self, mut all: Vec<SocketAddr>) -> Vec<SocketAddr> {
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
    fn an_address_that_is_refused_is_told_of_once_until_it_changes() {
        let (reach, refused) = (Reach::default(), Refused::default());
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (own, other, public) = (at("127.0.0.1:80"), at("127.0.0.2:80"), at("192.0.2.1:80"));
        assert_eq!(permitted(vec![own, public], "a.example", Some(&reach), &refused), [public]);
        assert_eq!(refused.news("a.example", &[own]), [], "it was told of");
        assert_eq!(refused.news("b.example", &[own]), [own]);
        assert_eq!(refused.news("a.example", &[own, other]), [other]);
        assert_eq!(permitted(vec![public], "a.example", Some(&reach), &refused), [public]);
        assert_eq!(refused.news("a.example", &[own]), [own], "it came back");
    }

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
