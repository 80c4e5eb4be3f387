//! The listeners of the snapshot in force as a worker uses them: by address, with the TLS settings of their chains,
//! and a way to tell connections that their chain is gone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::config::{FilterChain, Listener, Snapshot};
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
        let mut fresh = HashMap::new();
        for listener in snapshot.listeners.values() {
            let before = old.get(&listener.address);
            let active = match before {
                Some(before) if before.listener == *listener && !self.has_secrets(listener) => Rc::clone(before),
                _ => Rc::new(self.active(listener, before.map(|before| &**before), snapshot)),
            };
            fresh.insert(listener.address, active);
        }
        self.listeners.replace(fresh);
    }

    /// Whether a chain's TLS reads secrets of the snapshot, so that it may change without the listener.
    fn has_secrets(&self, listener: &Listener) -> bool {
        use crate::config::{CertificateSource, ValidationSource};
        listener.filter_chains.iter().chain(&listener.default_filter_chain).any(|chain| {
            chain.tls.as_ref().is_some_and(|tls| {
                matches!(&tls.common.certificate, Some(CertificateSource::Sds(name)) if name != "default")
                    || matches!(&tls.common.validation, Some(ValidationSource::Sds(name)) if name != "ROOTCA")
            })
        })
    }

    fn active(&self, listener: &Arc<Listener>, before: Option<&Active>, snapshot: &Snapshot) -> Active {
        let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain).map(|chain| {
            let kept = before.filter(|_| !self.has_secrets(listener)).and_then(|before| before.same(chain));
            let state = kept.unwrap_or_else(|| Rc::new(self.state(chain, snapshot)));
            (Arc::clone(chain), state)
        });
        Active { listener: Arc::clone(listener), chains: chains.collect() }
    }

    fn state(&self, chain: &FilterChain, snapshot: &Snapshot) -> ChainState {
        let tls = chain.tls.as_ref().map(|tls| {
            self.settings.server(tls, snapshot).map_err(|error| {
                tracing::warn!(chain = chain.name, %error, "a filter chain's TLS cannot be put in force; its connections are refused");
                error.to_string()
            })
        });
        ChainState { tls, leaving: drain::pair().0 }
    }
}

impl Active {
    pub fn state(&self, chain: &Arc<FilterChain>) -> Option<Rc<ChainState>> {
        self.chains.iter().find(|(known, _)| Arc::ptr_eq(known, chain)).map(|(_, state)| Rc::clone(state))
    }

    fn same(&self, chain: &FilterChain) -> Option<Rc<ChainState>> {
        self.chains.iter().find(|(known, _)| **known == *chain).map(|(_, state)| Rc::clone(state))
    }
}
