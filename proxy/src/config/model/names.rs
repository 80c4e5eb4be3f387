//! The names that the agent answers over DNS (Istio, NDS).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Names in lower case without a trailing dot, perhaps with a wildcard for the first label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameTable {
    pub names: BTreeMap<String, Name>,
}

/// Where a name is. With no address it exists all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    pub v4: Vec<Ipv4Addr>,
    pub v6: Vec<Ipv6Addr>,
    /// Of a name `short.namespace.svc.domain`: its short name and its namespace, which make shorter forms of it.
    pub short: Option<(String, String)>,
}
