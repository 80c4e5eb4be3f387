//! A policy: permissions, which are about what is asked for, and principals, which are about who asks.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;

use super::{Facts, MetadataMatch};
use crate::config::StringMatch;
use crate::http::message::RequestHead;
use crate::route::HeaderMatch;

/// `envoy.config.rbac.v3.Policy`: covers what any of its permissions and any of its principals hold for.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub name: String,
    pub permissions: Vec<Permission>,
    pub principals: Vec<Principal>,
}

/// `envoy.config.rbac.v3.Permission`.
#[derive(Clone, Debug, PartialEq)]
pub enum Permission {
    Any,
    All(Vec<Permission>),
    OneOf(Vec<Permission>),
    Not(Box<Permission>),
    Header(HeaderMatch),
    /// Of the path without its query.
    Path(StringMatch),
    DestinationIp(IpNet),
    /// From, and below.
    DestinationPort(Range<u32>),
    Metadata(MetadataMatch),
    /// SNI; empty where there is none.
    ServerName(StringMatch),
}

/// `envoy.config.rbac.v3.Principal`.
#[derive(Clone, Debug, PartialEq)]
pub enum Principal {
    Any,
    All(Vec<Principal>),
    OneOf(Vec<Principal>),
    Not(Box<Principal>),
    /// By TLS; `None` is anyone who came by TLS.
    Authenticated(Option<StringMatch>),
    /// Who the connection is from: its peer, or who a PROXY protocol header names.
    SourceIp(IpNet),
    /// The peer of the connection.
    DirectRemoteIp(IpNet),
    /// The client as believed, after `x-forwarded-for` or a PROXY protocol header.
    RemoteIp(IpNet),
    Header(HeaderMatch),
    Path(StringMatch),
    Metadata(MetadataMatch),
}

impl Policy {
    pub fn covers(&self, facts: &Facts<'_>) -> bool {
        self.permissions.iter().any(|permission| permission.holds(facts))
            && self.principals.iter().any(|principal| principal.holds(facts))
    }
}

impl Permission {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.holds(facts)),
            Self::OneOf(any) => any.iter().any(|one| one.holds(facts)),
            Self::Not(one) => !one.holds(facts),
            Self::Header(rule) => header(rule, facts.head),
            Self::Path(rule) => facts.path.is_some_and(|path| rule.matches(path.as_bytes())),
            Self::DestinationIp(range) => contains(range, facts.connection.local_address),
            Self::DestinationPort(ports) => ports.contains(&u32::from(facts.connection.local_address.port())),
            Self::Metadata(rule) => rule.matches(facts.info),
            Self::ServerName(rule) => {
                rule.matches(facts.connection.requested_server_name.as_deref().unwrap_or_default().as_bytes())
            }
        }
    }
}

impl Principal {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.holds(facts)),
            Self::OneOf(any) => any.iter().any(|one| one.holds(facts)),
            Self::Not(one) => !one.holds(facts),
            Self::Authenticated(rule) => authenticated(rule.as_ref(), facts),
            Self::SourceIp(range) => contains(range, facts.connection.remote_address),
            Self::DirectRemoteIp(range) => contains(range, facts.connection.direct_remote_address()),
            Self::RemoteIp(range) => contains(range, facts.info.remote_address),
            Self::Header(rule) => header(rule, facts.head),
            Self::Path(rule) => facts.path.is_some_and(|path| rule.matches(path.as_bytes())),
            Self::Metadata(rule) => rule.matches(facts.info),
        }
    }
}

/// By any of the names in the certificate; without one, by the empty name (Envoy, `principal_name`).
fn authenticated(rule: Option<&StringMatch>, facts: &Facts<'_>) -> bool {
    let Some(tls) = &facts.connection.tls else { return false };
    let Some(rule) = rule else { return true };
    let names = tls.peer_names();
    names.iter().any(|name| rule.matches(name.as_bytes())) || (names.is_empty() && rule.matches(b""))
}

/// Whether any value of a header matches; an inverted rule holds if none does. As with routes, a header that is absent
/// matches no rule on values.
fn header(rule: &HeaderMatch, head: Option<&RequestHead>) -> bool {
    let Some(head) = head else { return false };
    let mut values = head.headers.get_all(&rule.name);
    match (values.next(), values.next()) {
        (None, _) => rule.matches(head),
        (Some(one), None) => rule.matches_value(Some(one)),
        (Some(_), Some(_)) => {
            let mut values = head.headers.get_all(&rule.name);
            if rule.invert {
                values.all(|value| rule.matches_value(Some(value)))
            } else {
                values.any(|value| rule.matches_value(Some(value)))
            }
        }
    }
}

fn contains(range: &IpNet, address: SocketAddr) -> bool {
    range.contains(&unmapped(address.ip()))
}

/// An IPv4 client of an IPv6 socket is one of IPv4.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
