//! What is followed in Consul, and what was found of it.

use std::collections::BTreeSet;

use super::client::{Names, NoAnswer};
use super::entry::{Check, Entry, Occupied};

/// Something that a query waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The names of all services.
    Names,
    /// The names of all nodes.
    Nodes,
    /// What one node carries.
    Node(String),
    /// All checks of one status.
    Checks(&'static str),
    /// The instances of one service.
    Service(String),
}

#[derive(Debug)]
pub(super) enum Found {
    Names(Names),
    Nodes(BTreeSet<String>),
    Node(Occupied),
    Checks(Vec<Check>),
    Instances(Vec<Entry>),
}

/// What a task tells.
#[derive(Debug)]
pub(super) enum Update {
    Found {
        subject: Subject,
        index: u64,
        found: Found,
    },
    /// It cannot be read.
    Failed {
        subject: Subject,
        why: NoAnswer,
    },
    /// A search found that a service changed, at this index if it could be told.
    Moved(String, Option<u64>),
    /// A search is over.
    Searched,
    /// It is time to search, although nothing says that something changed.
    Round,
    /// The server does not answer.
    Lost(String),
}

impl Subject {
    /// The service's name; empty where it is something else.
    pub fn service(&self) -> &str {
        if let Self::Service(name) = self { name } else { "" }
    }
}

impl Found {
    /// How many things it tells of.
    pub fn len(&self) -> usize {
        match self {
            Self::Names(names) => names.names.len(),
            Self::Nodes(nodes) => nodes.len(),
            Self::Node(occupied) => occupied.services.as_ref().map_or(0, |services| services.len()),
            Self::Checks(checks) => checks.len(),
            Self::Instances(entries) => entries.len(),
        }
    }
}
