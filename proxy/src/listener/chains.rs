//! The listeners of the snapshot in force as a worker uses them: by address, with the TLS settings of their chains,
//! and a way to tell connections that their chain is gone.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::config::{FilterChain, HttpManager, Listener, Secret, Snapshot};
use crate::drain::{self, Drain, DrainTrigger};
use crate::http::h1::{Limits, ServerOptions};
use crate::stats::{ListenerStats, Shard};
use crate::tls::TlsSettings;

pub struct Chains {
    listeners: RefCell<HashMap<SocketAddr, Rc<Active>>>,
    settings: Arc<TlsSettings>,
    shard: Arc<Shard>,
}

/// A listener in force.
pub struct Active {
    pub listener: Arc<Listener>,
    pub stats: Arc<ListenerStats>,
    chains: Vec<Rc<InForce>>,
}

/// A filter chain of a listener in force.
pub struct InForce {
    pub rules: Arc<FilterChain>,
    pub state: Rc<ChainState>,
    /// Made for the first connection of HTTP/1.1, and shared by all.
    http1: OnceCell<Rc<ServerOptions>>,
}

/// What belongs to a filter chain for as long as it does not change.
pub struct ChainState {
    /// `None`: plaintext. An error: TLS that cannot be put in force, so that connections are refused.
    pub tls: Option<Result<Arc<ServerConfig>, String>>,
    /// What of the snapshot its TLS was made from.
    secrets: Secrets,
    /// Starts draining when the chain goes or changes.
    leaving: Rc<DrainTrigger>,
}

impl ChainState {
    pub fn leaving(&self) -> Drain {
        self.leaving.subscribe()
    }
}

impl InForce {
    pub fn http1(&self, listener: &Listener, manager: &HttpManager) -> Rc<ServerOptions> {
        let made = || ServerOptions {
            limits: Limits { bytes: manager.max_request_headers_bytes, headers: manager.max_request_headers_count },
            scheme: if self.rules.tls.is_some() { "https" } else { "http" },
            idle_timeout: manager.idle_timeout,
            headers_timeout: manager.request_headers_timeout,
            accept_http_10: manager.accept_http_10,
            custom_methods: manager.custom_methods,
            buffer_limit: listener.buffer_limit,
            stream_idle_timeout: manager.stream_idle_timeout,
            delayed_close: manager.delayed_close_timeout,
            default_host_for_http_10: manager.default_host_for_http_10.clone(),
            proper_case: manager.proper_case,
        };
        Rc::clone(self.http1.get_or_init(|| Rc::new(made())))
    }
}

impl Chains {
    pub fn new(settings: Arc<TlsSettings>, shard: Arc<Shard>) -> Self {
        Self { listeners: RefCell::default(), settings, shard }
    }

    pub fn at(&self, address: SocketAddr) -> Option<Rc<Active>> {
        self.listeners.borrow().get(&address).cloned()
    }

    /// The listener that takes what was meant for an address: its own, else the one for all addresses at its port.
    pub fn meant_for(&self, address: SocketAddr) -> Option<Rc<Active>> {
        let listeners = self.listeners.borrow();
        let all: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let compatible = || {
            let all = listeners.get(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()))?;
            all.listener.socket.ipv4_compat.then_some(all)
        };
        let found = listeners.get(&address).or_else(|| listeners.get(&SocketAddr::new(all, address.port())));
        found.or_else(compatible).cloned()
    }

    /// Follows a new snapshot. Chains that stay as they were keep their state; each answer on a connection of the others
    /// is its last, and those that stay idle are the caller's to end after a while: were they closed at once, requests
    /// that are on their way would be lost. Where certificates alone changed, connections go on, and new ones get the
    /// new.
    #[must_use]
    pub fn follow(&self, snapshot: &Arc<Snapshot>) -> Vec<Rc<DrainTrigger>> {
        let old = self.listeners.take();
        let mut fresh: HashMap<SocketAddr, Rc<Active>> = HashMap::new();
        for listener in snapshot.listeners.values() {
            let before = old.get(&listener.address).map(|before| &**before);
            let active = Rc::new(self.active(listener, before, snapshot));
            fresh.extend(listener.addresses().map(|address| (address, Rc::clone(&active))));
        }
        let stays = |state: &Rc<ChainState>| {
            fresh.values().flat_map(|active| &active.chains).any(|kept| Rc::ptr_eq(&kept.state.leaving, &state.leaving))
        };
        let gone = old.values().flat_map(|active| &active.chains).filter(|chain| !stays(&chain.state));
        let gone: Vec<Rc<DrainTrigger>> = gone.map(|chain| Rc::clone(&chain.state.leaving)).collect();
        gone.iter().for_each(|leaving| leaving.make_each_last());
        self.listeners.replace(fresh);
        gone
    }

    fn active(&self, listener: &Arc<Listener>, before: Option<&Active>, snapshot: &Snapshot) -> Active {
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain).map(|chain| {
            let secrets = secrets(chain, snapshot);
            let kept = before.and_then(|before| before.same(chain, &secrets));
            let state = kept.unwrap_or_else(|| {
                let leaving = before.and_then(|before| before.leaving_of(chain));
                let leaving = leaving.unwrap_or_else(|| Rc::new(drain::pair().0));
                Rc::new(self.state(chain, secrets, snapshot, leaving))
            });
            Rc::new(InForce { rules: Arc::clone(chain), state, http1: OnceCell::new() })
        });
        let stats = self.shard.listener(&listener.stat_name());
        Active { listener: Arc::clone(listener), stats, chains: chains.collect() }
    }

    fn state(
        &self,
        chain: &FilterChain,
        secrets: Secrets,
        snapshot: &Snapshot,
        leaving: Rc<DrainTrigger>,
    ) -> ChainState {
        let tls = chain.tls.as_ref().map(|tls| {
            self.settings.server(tls, snapshot).map_err(|error| {
                tracing::warn!(chain = chain.name, %error, "a filter chain's TLS cannot be put in force; its connections are refused");
                error.to_string()
            })
        });
        ChainState { tls, secrets, leaving }
    }
}

impl Active {
    pub fn in_force(&self, chain: &Arc<FilterChain>) -> Option<Rc<InForce>> {
        self.chains.iter().find(|known| Arc::ptr_eq(&known.rules, chain)).map(Rc::clone)
    }

    fn same(&self, chain: &FilterChain, secrets: &Secrets) -> Option<Rc<ChainState>> {
        let same = |known: &&Rc<InForce>| *known.rules == *chain && known.state.secrets == *secrets;
        self.chains.iter().find(same).map(|known| Rc::clone(&known.state))
    }
}

impl Active {
    /// What ends the connections of a chain that differs from this one in certificates alone.
    fn leaving_of(&self, chain: &FilterChain) -> Option<Rc<DrainTrigger>> {
        let known = self.chains.iter().find(|known| chain.differs_in_certificates_alone(&known.rules));
        known.map(|known| Rc::clone(&known.state.leaving))
    }
}

/// What a chain's TLS takes from the snapshot.
type Secrets = Vec<Option<Arc<Secret>>>;

fn secrets(chain: &FilterChain, snapshot: &Snapshot) -> Secrets {
    let names = chain.tls.iter().flat_map(|tls| tls.common.secret_names());
    names.map(|name| snapshot.secrets.get(name).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_kit;
    use super::*;
    use crate::config::{CertificateSource, SocketSettings};

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn chains() -> Chains {
        Chains::new(Arc::new(TlsSettings { identity: None }), Arc::default())
    }

    fn snapshot(listeners: impl IntoIterator<Item = Listener>) -> Arc<Snapshot> {
        let named = listeners.into_iter().map(|listener| (listener.name.clone(), Arc::new(listener)));
        Arc::new(Snapshot { listeners: named.collect(), ..Snapshot::default() })
    }

    fn with_chains(names: &[&str]) -> Listener {
        let chains = names.iter().map(|name| test_kit::chain(name, Default::default()));
        test_kit::listener(at("127.0.0.1:1"), chains.collect())
    }

    #[test]
    fn connections_of_a_chain_that_goes_are_told_and_the_others_are_not() {
        let chains = chains();
        drop(chains.follow(&snapshot([with_chains(&["plain", "mesh"])])));
        let active = chains.at(at("127.0.0.1:1")).unwrap();
        let leaving = |index: usize| active.in_force(&active.listener.filter_chains[index]).unwrap().state.leaving();
        let (plain, mesh) = (leaving(0), leaving(1));
        let more = Listener { additional_addresses: vec![at("127.0.0.1:2")], ..with_chains(&["mesh"]) };
        assert_eq!(chains.follow(&snapshot([more])).len(), 1);
        assert!(plain.is_draining() && !mesh.is_draining());
        drop(chains.follow(&Arc::default()));
        assert!(mesh.is_draining());
    }

    #[test]
    fn a_chain_whose_certificate_alone_changed_keeps_its_connections() {
        let with = |pem: &str| {
            let secret = Arc::new(Secret::TrustedCa(pem.into()));
            let tls = test_kit::tls(CertificateSource::Inline(secret));
            let mut listener = with_chains(&["a"]);
            Arc::make_mut(&mut listener.filter_chains[0]).tls = Some(Arc::new(tls));
            snapshot([listener])
        };
        let chains = chains();
        drop(chains.follow(&with("old")));
        let active = chains.at(at("127.0.0.1:1")).unwrap();
        let before = Rc::clone(&active.in_force(&active.listener.filter_chains[0]).unwrap().state);
        drop(chains.follow(&with("new")));
        let active = chains.at(at("127.0.0.1:1")).unwrap();
        let after = Rc::clone(&active.in_force(&active.listener.filter_chains[0]).unwrap().state);
        assert!(!Rc::ptr_eq(&before, &after) && !before.leaving().is_draining());
    }

    #[test]
    fn what_was_meant_for_an_address_goes_to_its_listener_and_else_to_that_of_all_addresses() {
        let chains = chains();
        let compatible = SocketSettings { ipv4_compat: true, ..SocketSettings::default() };
        let six = Listener { socket: compatible, ..test_kit::listener(at("[::]:82"), vec![]) };
        let plain = ["10.0.0.1:80", "0.0.0.0:80", "[::]:81"].map(|address| test_kit::listener(at(address), vec![]));
        drop(chains.follow(&snapshot(plain.into_iter().chain([six]))));
        let taker = |address| chains.meant_for(at(address)).map(|active| active.listener.name.clone());
        for (address, expected) in [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("10.0.0.2:80", Some("0.0.0.0:80")),
            ("10.0.0.2:81", None),
            ("[2001:db8::1]:81", Some("[::]:81")),
            ("10.0.0.2:82", Some("[::]:82")),
        ] {
            assert_eq!(taker(address).as_deref(), expected, "{address}");
        }
    }
}
