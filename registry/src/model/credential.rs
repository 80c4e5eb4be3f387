//! Certificates that gateways show, with their private keys. They are handed from the platform to the proxy that needs
//! them, and nowhere else: they are in no catalog, and have no form in which they could be stored.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A certificate, its key, and who may have signed those of clients; all in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub chain: Bytes,
    pub key: Bytes,
    pub ca: Option<Bytes>,
}

/// All that is known at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Whether there is a platform that was not read yet; until it is, what a proxy holds is as good as it gets.
    pub is_pending: bool,
    /// By namespace and name.
    pub by_name: BTreeMap<(String, String), Arc<Credential>>,
}

impl Credentials {
    pub fn of(&self, namespace: &str, name: &str) -> Option<&Arc<Credential>> {
        self.by_name.get(&(namespace.to_owned(), name.to_owned()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}
