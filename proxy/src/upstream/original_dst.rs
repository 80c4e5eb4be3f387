//! ORIGINAL_DST clusters: each connection goes where it was meant to go before it was brought here, or where a header
//! says. There are no hosts but those that are in use. So it is with dynamic forward proxies, where a request goes to
//! the host that it asks for.

use std::cell::RefCell;
use std::collections::hash_map::{Entry, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::cluster::Cluster;
use super::host::Host;
use super::pick::PickError;
use crate::access_log::ConnectionInfo;
use crate::config::{Discovery, Endpoint, EndpointAddress, OriginalDst};
use crate::http::headers::Headers;
use crate::http::message::RequestHead;

/// The hosts that are in use.
#[derive(Default)]
pub struct Originals(RefCell<HashMap<SocketAddr, Known>>);

struct Known {
    host: Rc<Host>,
    /// Whether it was picked since the last sweep.
    used: bool,
}

impl OriginalDst {
    /// Where a connection, or a request on it, was meant to go. A header that is no address is overlooked.
    fn of(&self, connection: &ConnectionInfo, headers: Option<&Headers>) -> Option<SocketAddr> {
        let header = self.header.as_deref().and_then(|name| headers?.get_str(name)?.parse().ok());
        let restored = connection.local_address_restored.then_some(connection.local_address);
        let mut address: SocketAddr = header.or(restored)?;
        if let Some(port) = self.port {
            address.set_port(port);
        }
        Some(address)
    }
}

impl Cluster {
    /// Where an ORIGINAL_DST cluster or a dynamic forward proxy sends a request; `None` for other clusters.
    pub fn original(&self, connection: &ConnectionInfo, head: Option<&RequestHead>) -> Option<SocketAddr> {
        match &self.config.discovery {
            Discovery::OriginalDst(rules) => rules.of(connection, head.map(|head| &head.headers)),
            Discovery::DynamicForwardProxy(_) => self.named(&head?.authority),
            _ => None,
        }
    }

    pub(super) fn pick_original(&self, address: Option<SocketAddr>) -> Result<Rc<Host>, PickError> {
        let address = address.ok_or(PickError)?;
        match self.originals.0.borrow_mut().entry(address) {
            Entry::Occupied(mut known) => {
                known.get_mut().used = true;
                Ok(Rc::clone(&known.get().host))
            }
            Entry::Vacant(place) => {
                let endpoint = Arc::new(Endpoint::at(EndpointAddress::Socket(address)));
                let tls = self.client_tls(&endpoint);
                let host = Rc::new(Host::new(endpoint, tls).counted_in(&self.stats));
                place.insert(Known { host: Rc::clone(&host), used: true });
                Ok(host)
            }
        }
    }
}

impl Originals {
    pub fn hosts(&self) -> Vec<Rc<Host>> {
        self.0.borrow().values().map(|known| Rc::clone(&known.host)).collect()
    }

    /// Forgets hosts that nothing goes to any more (Envoy `cleanup_interval`).
    pub fn sweep(&self) {
        self.0.borrow_mut().retain(|_, known| {
            let keep = known.used || known.host.active() > 0 || known.host.has_connections();
            known.used = false;
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_goes_before_where_the_connection_was_meant_to_go_and_the_port_may_be_set() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut connection = ConnectionInfo::between(1, address("10.0.0.1:80"), address("10.0.0.9:5000"));
        let mut headers = Headers::new();
        let rules = OriginalDst { header: Some("x-envoy-original-dst-host".into()), port: None };
        assert_eq!(rules.of(&connection, Some(&headers)), None, "nobody learnt where it was meant to go");
        connection.local_address_restored = true;
        assert_eq!(rules.of(&connection, Some(&headers)), Some(address("10.0.0.1:80")));
        headers.set("x-envoy-original-dst-host", "not an address");
        assert_eq!(rules.of(&connection, Some(&headers)), Some(address("10.0.0.1:80")));
        headers.set("x-envoy-original-dst-host", "[::1]:81");
        assert_eq!(rules.of(&connection, Some(&headers)), Some(address("[::1]:81")));
        assert_eq!(rules.of(&connection, None), Some(address("10.0.0.1:80")));
        let port = OriginalDst { header: None, port: Some(8080) };
        assert_eq!(port.of(&connection, Some(&headers)), Some(address("10.0.0.1:8080")));
    }
}
