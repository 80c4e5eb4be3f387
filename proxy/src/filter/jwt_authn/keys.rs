//! What a worker has of keys: those it fetched, and the tokens it verified with them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::cache::TokenCache;
use super::remote::Fetched;
use super::{Provider, RemoteKeys};
use crate::jwt::{Jwks, Token};
use crate::worker::Worker;

/// Of one worker.
#[derive(Default)]
pub struct KeyStore {
    /// By cluster and URI, so that filters with the same keys share them.
    fetched: RefCell<HashMap<(String, String), Rc<Fetched>>>,
    /// By the provider's place in memory, which is its own for as long as the weak reference is there.
    tokens: RefCell<HashMap<usize, (Weak<Provider>, TokenCache)>>,
}

impl KeyStore {
    /// The keys of a remote set, fetched if they are not there or too old.
    pub async fn remote(&self, worker: &Rc<Worker>, remote: &Arc<RemoteKeys>) -> Option<Arc<Jwks>> {
        let fetched = self.fetched(remote);
        fetched.keep_fresh(worker, remote);
        fetched.keys(worker, remote).await
    }

    /// Begins to fetch a set that is kept fresh in the background.
    pub fn prefetch(&self, worker: &Rc<Worker>, remote: &Arc<RemoteKeys>) {
        if remote.in_background.is_some() {
            self.fetched(remote).keep_fresh(worker, remote);
        }
    }

    fn fetched(&self, remote: &RemoteKeys) -> Rc<Fetched> {
        let id = (remote.cluster.clone(), remote.uri.clone());
        Rc::clone(self.fetched.borrow_mut().entry(id).or_default())
    }

    /// A token that was verified before, and the keys that did it.
    pub fn cached(&self, provider: &Arc<Provider>, text: &str) -> Option<(Rc<Token>, Arc<Jwks>)> {
        provider.cache?;
        self.tokens.borrow_mut().get_mut(&address(provider))?.1.get(text)
    }

    /// Keeps a verified token, if the provider wants that.
    pub fn remember(&self, provider: &Arc<Provider>, text: &str, token: &Rc<Token>, keys: &Arc<Jwks>) {
        let Some(size) = provider.cache else { return };
        let mut tokens = self.tokens.borrow_mut();
        if !tokens.contains_key(&address(provider)) {
            tokens.retain(|_, (provider, _)| provider.strong_count() > 0);
        }
        let entry = tokens.entry(address(provider));
        let (_, cache) = entry.or_insert_with(|| (Arc::downgrade(provider), TokenCache::default()));
        cache.insert(size, text, token, keys);
    }
}

fn address(provider: &Arc<Provider>) -> usize {
    Arc::as_ptr(provider) as usize
}
