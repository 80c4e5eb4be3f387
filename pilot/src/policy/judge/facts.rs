//! What is known of a call.

use std::collections::BTreeMap;
use std::net::IpAddr;

use galley::kinds::Labels;
use serde_json::Value;

/// Something of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// Nobody said.
    #[default]
    Open,
    /// It is not there.
    Absent,
    Is(T),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    pub caller: Caller,
    pub target: Target,
    /// `None` where no HTTP is spoken, or none that the proxy can see.
    pub request: Option<Request>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// `cluster.local/ns/shop/sa/web`, of its certificate; absent: it comes in plaintext.
    pub principal: Known<String>,
    /// The peer of the connection.
    pub ip: Known<IpAddr>,
    /// The client as believed, after `x-forwarded-for` or a PROXY protocol header.
    pub remote_ip: Known<IpAddr>,
    /// The claims of its verified token.
    pub claims: Known<Value>,
    pub sni: Known<String>,
}

/// The workload that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub labels: Labels,
    pub ip: Known<IpAddr>,
    pub port: Known<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: Known<String>,
    /// In any spelling; what follows a `?` is no part of it.
    pub path: Known<String>,
    pub host: Known<String>,
    /// By names in small letters.
    pub headers: BTreeMap<String, Known<String>>,
    /// Whether it has no others.
    pub has_no_more_headers: bool,
}

impl<T> Known<T> {
    /// `None`: that depends.
    pub fn is(&self, holds: impl FnOnce(&T) -> bool) -> Option<bool> {
        match self {
            Self::Open => None,
            Self::Absent => Some(false),
            Self::Is(value) => Some(holds(value)),
        }
    }

    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Open => Known::Open,
            Self::Absent => Known::Absent,
            Self::Is(value) => Known::Is(to(value)),
        }
    }
}

impl<T> From<Option<T>> for Known<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Open, Self::Is)
    }
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Known<&str> {
        match self.headers.get(&name.to_ascii_lowercase()) {
            Some(Known::Is(value)) => Known::Is(value),
            Some(Known::Absent) => Known::Absent,
            Some(Known::Open) => Known::Open,
            None if self.has_no_more_headers => Known::Absent,
            None => Known::Open,
        }
    }
}
