//! What of a request decides which host it goes to: the hash of the route's policies, for clusters that hash, and the
//! subset that the route asks for.

use std::net::IpAddr;
use std::time::Duration;

use super::Connection;
use crate::access_log::RequestInfo;
use crate::config::{LbMetadata, WeightedCluster};
use crate::http::message::RequestHead;
use crate::load_balancer::hash::{xx, xx_all};
use crate::route::{HashPolicy, RouteAction};
use crate::upstream::{Cluster, Wanted};

/// What decides, and a cookie that the answer must set for it to be decided so again.
pub struct Balance<'a> {
    pub wanted: Wanted<'a>,
    pub cookie: Option<String>,
}

impl<'a> Balance<'a> {
    pub fn of(
        connection: &Connection,
        cluster: &Cluster,
        (action, weighted): (&'a RouteAction, Option<&'a WeightedCluster>),
        head: &RequestHead,
        info: &RequestInfo,
    ) -> Self {
        let metadata: Option<&LbMetadata> = match weighted {
            Some(weighted) => weighted.metadata_match.as_deref(),
            None => action.metadata_match.as_deref(),
        };
        let (mut hash, mut cookie) = (None, None);
        if cluster.config.lb_policy.hashes() {
            let local = connection.downstream.info.local_address;
            let made =
                || format!("{:016x}", xx(format!("{}{local}", connection.downstream.info.remote_address).as_bytes()));
            (hash, cookie) = hash_of(&action.hash_policies, head, info.remote_address.ip(), made);
        }
        let original = cluster.original(&connection.downstream.info, Some(head));
        Self { wanted: Wanted { hash, metadata, original, tried: None }, cookie }
    }
}

/// All policies together, up to a terminal one that has something to hash. `made` makes the value of a cookie.
fn hash_of(
    policies: &[HashPolicy],
    head: &RequestHead,
    client: IpAddr,
    made: impl Fn() -> String,
) -> (Option<u64>, Option<String>) {
    let (mut hash, mut cookie): (Option<u64>, _) = (None, None);
    for policy in policies {
        let (own, terminal) = match policy {
            HashPolicy::Header { name, terminal } => (header(name, head), *terminal),
            HashPolicy::Cookie { name, ttl, path, attributes, terminal } => {
                let own = match (value_of_cookie(name, head), ttl) {
                    (Some(value), _) => Some(xx(value)),
                    (None, Some(ttl)) => {
                        let value = made();
                        let own = xx(value.as_bytes());
                        cookie = Some(set_cookie(name, &value, *ttl, path, attributes));
                        Some(own)
                    }
                    (None, None) => None,
                };
                (own, *terminal)
            }
            HashPolicy::SourceIp { terminal } => (Some(xx(client.to_string().as_bytes())), *terminal),
            HashPolicy::QueryParameter { name, terminal } => (query_parameter(name, head), *terminal),
        };
        if let Some(own) = own {
            // Rotated, so that two policies that say the same do not cancel each other out.
            hash = Some(hash.map_or(0, |before| before.rotate_left(1)) ^ own);
        }
        if terminal && hash.is_some() {
            break;
        }
    }
    (hash, cookie)
}

/// Several values are hashed in order, whatever order they came in.
fn header(name: &str, head: &RequestHead) -> Option<u64> {
    let pseudo = match name {
        ":path" => Some(head.path.as_bytes()),
        ":authority" | "host" => Some(head.authority.as_bytes()),
        ":method" => Some(head.method.as_bytes()),
        ":scheme" => Some(head.scheme.as_bytes()),
        _ => None,
    };
    if let Some(value) = pseudo {
        return Some(xx(value));
    }
    let mut values: Vec<&[u8]> = head.headers.get_all(name).collect();
    values.sort_unstable();
    (!values.is_empty()).then(|| xx_all(values))
}

/// The value of the first cookie of that name, without quotes around it; one that is empty is none.
fn value_of_cookie<'a>(name: &str, head: &'a RequestHead) -> Option<&'a [u8]> {
    let mut cookies = head.headers.get_all("cookie").flat_map(|list| list.split(|byte| *byte == b';'));
    let value = cookies.find_map(|cookie| {
        let at = cookie.iter().position(|byte| *byte == b'=')?;
        (cookie[..at].trim_ascii() == name.as_bytes()).then(|| cookie[at + 1..].trim_ascii())
    })?;
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// The value as it stands in the path.
fn query_parameter(name: &str, head: &RequestHead) -> Option<u64> {
    let value = head.query()?.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })?;
    Some(xx(value.as_bytes()))
}

/// RFC 6265 section 4.1. A time of zero is that of the client's session.
fn set_cookie(name: &str, value: &str, ttl: Duration, path: &str, attributes: &[(String, String)]) -> String {
    let mut cookie = format!("{name}=\"{value}\"");
    let mut add = |text: &str| cookie.push_str(text);
    if ttl.as_secs() > 0 {
        add(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if !path.is_empty() {
        add(&format!("; Path={path}"));
    }
    for (name, value) in attributes {
        add(&if value.is_empty() { format!("; {name}") } else { format!("; {name}={value}") });
    }
    add("; HttpOnly");
    cookie
}

#[cfg(test)]
mod tests;
