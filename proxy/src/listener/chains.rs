//! The listeners of the snapshot in force as a worker uses them: by address, with the TLS settings of their chains,
//! and a way to tell connections that their chain is gone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::config::{CertificateSource, FilterChain, Listener, Secret, Snapshot, ValidationSource};
use crate::drain::{self, Drain, DrainTrigger};
use crate::tls::TlsSettings;

pub struct Chains {
    listeners: RefCell<HashMap<SocketAddr, Rc<Active>>>,
    settings: Arc<TlsSettings>,
}

/// A listener in force.
pub struct Active {
    pub listener: Arc<Listener>,
    chains: Vec<(Arc<FilterChain>, Rc<ChainState>)>,
}

/// What belongs to a filter chain for as long as it does not change.
pub struct ChainState {
    /// `None`: plaintext. An error: TLS that cannot be put in force, so that connections are refused.
    pub tls: Option<Result<Arc<ServerConfig>, String>>,
    /// What of the snapshot its TLS was made from.
    secrets: Secrets,
    /// Starts draining when the chain goes or changes.
    leaving: DrainTrigger,
}

impl ChainState {
    pub fn leaving(&self) -> Drain {
        self.leaving.subscribe()
    }
}

impl Chains {
    pub fn new(settings: Arc<TlsSettings>) -> Self {
        Self { listeners: RefCell::default(), settings }
    }

    pub fn at(&self, address: SocketAddr) -> Option<Rc<Active>> {
        self.listeners.borrow().get(&address).cloned()
    }

    /// Follows a new snapshot. Chains that stay as they were keep their state; connections of the others are told to
    /// end when they can.
    pub fn follow(&self, snapshot: &Arc<Snapshot>) {
        let old = self.listeners.take();
        let mut fresh: HashMap<SocketAddr, Rc<Active>> = HashMap::new();
        for listener in snapshot.listeners.values() {
            let before = old.get(&listener.address).map(|before| &**before);
            fresh.insert(listener.address, Rc::new(self.active(listener, before, snapshot)));
        }
        let stays = |state: &Rc<ChainState>| {
            fresh.values().flat_map(|active| &active.chains).any(|(_, kept)| Rc::ptr_eq(kept, state))
        };
        for (_, state) in old.values().flat_map(|active| &active.chains) {
            if !stays(state) {
                state.leaving.start();
            }
        }
        self.listeners.replace(fresh);
    }

    fn active(&self, listener: &Arc<Listener>, before: Option<&Active>, snapshot: &Snapshot) -> Active {
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain).map(|chain| {
            let secrets = secrets(chain, snapshot);
            let kept = before.and_then(|before| before.same(chain, &secrets));
            let state = kept.unwrap_or_else(|| Rc::new(self.state(chain, secrets, snapshot)));
            (Arc::clone(chain), state)
        });
        Active { listener: Arc::clone(listener), chains: chains.collect() }
    }

    fn state(&self, chain: &FilterChain, secrets: Secrets, snapshot: &Snapshot) -> ChainState {
        let tls = chain.tls.as_ref().map(|tls| {
            self.settings.server(tls, snapshot).map_err(|error| {
                tracing::warn!(chain = chain.name, %error, "a filter chain's TLS cannot be put in force; its connections are refused");
                error.to_string()
            })
        });
        ChainState { tls, secrets, leaving: drain::pair().0 }
    }
}

impl Active {
    pub fn state(&self, chain: &Arc<FilterChain>) -> Option<Rc<ChainState>> {
        self.chains.iter().find(|(known, _)| Arc::ptr_eq(known, chain)).map(|(_, state)| Rc::clone(state))
    }

    fn same(&self, chain: &FilterChain, secrets: &Secrets) -> Option<Rc<ChainState>> {
        let same =
            |(known, state): &&(Arc<FilterChain>, Rc<ChainState>)| **known == *chain && state.secrets == *secrets;
        self.chains.iter().find(same).map(|(_, state)| Rc::clone(state))
    }
}

/// The certificate and the trust bundle that a chain's TLS takes from the snapshot.
type Secrets = [Option<Arc<Secret>>; 2];

fn secrets(chain: &FilterChain, snapshot: &Snapshot) -> Secrets {
    let Some(tls) = &chain.tls else { return [None, None] };
    let held = |name: &String| snapshot.secrets.get(name).cloned();
    let certificate = match &tls.common.certificate {
        Some(CertificateSource::Sds(name)) => held(name),
        _ => None,
    };
    let roots = match &tls.common.validation {
        Some(ValidationSource::Sds(name)) => held(name),
        _ => None,
    };
    [certificate, roots]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{ClusterChoice, Direction, FilterChainMatch, NetworkFilter, TcpProxy};

    fn snapshot(chains: &[&str]) -> Arc<Snapshot> {
        let chain = |name: &&str| {
            let proxy = TcpProxy {
                stat_prefix: String::new(),
                cluster: ClusterChoice::One("c".into()),
                idle_timeout: Duration::ZERO,
                access_logs: vec![],
            };
            let filter = NetworkFilter::Tcp(Arc::new(proxy));
            Arc::new(FilterChain { name: (*name).into(), matches: FilterChainMatch::default(), tls: None, filter })
        };
        let listener = Listener {
            name: "l".into(),
            address: "127.0.0.1:1".parse().unwrap(),
            direction: Direction::Inbound,
            filter_chains: chains.iter().map(chain).collect(),
            default_filter_chain: None,
            tls_inspector: true,
            http_inspector: true,
            backlog: None,
            listener_filters_timeout: Duration::ZERO,
            continue_on_listener_filters_timeout: false,
            access_logs: vec![],
        };
        let mut snapshot = Snapshot::default();
        snapshot.listeners.insert("l".into(), Arc::new(listener));
        Arc::new(snapshot)
    }

    #[test]
    fn connections_of_a_chain_that_goes_are_told_and_the_others_are_not() {
        let chains = Chains::new(Arc::new(TlsSettings { identity: None }));
        chains.follow(&snapshot(&["plain", "mesh"]));
        let active = chains.at("127.0.0.1:1".parse().unwrap()).unwrap();
        let leaving = |index: usize| active.state(&active.listener.filter_chains[index]).unwrap().leaving();
        let (plain, mesh) = (leaving(0), leaving(1));
        chains.follow(&snapshot(&["mesh"]));
        assert!(plain.is_draining() && !mesh.is_draining());
        chains.follow(&Arc::default());
        assert!(mesh.is_draining());
    }
}
