//! Whose an address is, where several services claim it on one port: what runs somewhere goes before what is only
//! declared, then the callers' own, then the oldest. Otherwise a ServiceEntry takes what is sent to anybody's address.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::net::IpAddr;

use ipnet::IpNet;
use registry::{Entry, Service, ServicePort};

use crate::diagnostic::{Code, Findings};
use crate::visibility::{Standing, View};

/// The addresses and networks of visible services, by port.
pub(super) struct Held<'a> {
    holders: BTreeMap<(IpNet, u16), Holder<'a>>,
    /// Those of HTTP services have no listener of their own, which would go before a network's.
    http: BTreeMap<(u16, IpAddr), Holder<'a>>,
}

type Holder<'a> = (Standing, &'a Service);

impl<'a> Held<'a> {
    pub fn of(view: &View<'a>, ports: &[(&'a Entry, &'a ServicePort)]) -> Self {
        let (mut holders, mut http) = (BTreeMap::new(), BTreeMap::new());
        for (entry, port) in ports {
            let holder = (view.standing(&entry.service), &*entry.service);
            for net in entry.virtual_addresses() {
                take(holders.entry((net, port.number)), holder);
                if port.protocol.is_http() && net.prefix_len() == net.max_prefix_len() {
                    take(http.entry((port.number, net.addr())), holder);
                }
            }
        }
        Self { holders, http }
    }

    /// Whether connections to that address or network on a port are the service's; if not, it is told whose they are.
    pub fn has(&self, service: &Service, net: IpNet, port: u16, findings: &mut Findings) -> bool {
        let Some((standing, holder)) = self.holders.get(&(net, port)) else { return true };
        let other = if holder.key == service.key { self.inside(*standing, net, port) } else { Some((net, *holder)) };
        let Some((at, other)) = other else { return true };
        let at = if at.prefix_len() == at.max_prefix_len() { at.addr().to_string() } else { at.to_string() };
        let message = format!(
            "port {port}: the address {at} is that of service {}, so captured connections to {net} are not this \
             service's; give it addresses that are nobody else's",
            other.key
        );
        findings.add(Code::Conflict, format!("service {}", service.key), message);
        false
    }

    /// An address inside of a network that is another's before it is the network's.
    fn inside(&self, standing: Standing, net: IpNet, port: u16) -> Option<(IpNet, &'a Service)> {
        let mut inside = self.http.range((port, net.network())..=(port, net.broadcast()));
        let before = inside.find(|(_, (other, _))| *other < standing);
        before.map(|((_, address), (_, service))| (IpNet::from(*address), *service))
    }
}

/// Of equals the first has it.
fn take<'a, K: Ord>(place: Place<'_, K, Holder<'a>>, holder: Holder<'a>) {
    let known = place.or_insert(holder);
    if holder.0 < known.0 {
        *known = holder;
    }
}
