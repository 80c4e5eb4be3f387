//! What of a request a rate limit counts by (Envoy, `envoy.config.route.v3.RateLimit`): each entry of the
//! configuration makes one descriptor, a list of keys and values, or none.

use std::borrow::Cow;
use std::net::IpAddr;

use api::envoy::r#type::v3::RateLimitUnit;
use api::prost_types::value::Kind;
use ipnet::IpNet;

use super::{HeaderMatch, QueryMatch, QueryRule};
use crate::access_log::{Format, LogContext, RequestInfo};
use crate::http::message::RequestHead;
use crate::query;

/// One descriptor's recipe. If an action has nothing to add, there is no descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Only filters of this stage take it.
    pub stage: u32,
    pub actions: Vec<RateLimitAction>,
    pub limit: Option<LimitOverride>,
    pub hits: Option<Hits>,
}

/// How much a request counts; `refund` gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hits {
    pub number: u64,
    pub refund: bool,
}

/// A limit in place of the one that the service has.
#[derive(Clone, Debug, PartialEq)]
pub enum LimitOverride {
    Fixed(Limit),
    /// `{requests_per_unit, unit}` at this place of the dynamic metadata.
    Dynamic(MetadataKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    pub requests_per_unit: u32,
    /// `envoy.type.v3.RateLimitUnit`.
    pub unit: i32,
}

/// `envoy.config.route.v3.RateLimit.Action`.
#[derive(Clone, Debug, PartialEq)]
pub enum RateLimitAction {
    SourceCluster,
    DestinationCluster,
    Header { name: String, key: String, skip_if_absent: bool },
    Query { name: String, key: String, skip_if_absent: bool },
    RemoteAddress,
    MaskedRemoteAddress { v4: u8, v6: u8 },
    Constant { key: String, value: String },
    HeaderMatch { key: String, value: String, expect: bool, headers: Vec<HeaderMatch> },
    QueryMatch { key: String, value: String, expect: bool, query: Vec<QueryMatch> },
    Metadata { key: String, place: MetadataKey, default: String, skip_if_absent: bool },
    RemoteAddressMatch { key: String, value: Format, default: String, ranges: Vec<IpNet>, invert: bool },
}

/// A place in the dynamic metadata (`envoy.type.metadata.v3.MetadataKey`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataKey {
    pub namespace: String,
    pub path: Vec<String>,
}

/// What a rate limit is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Descriptor {
    pub entries: Vec<(String, String)>,
    pub limit: Option<Limit>,
    pub hits: Option<u64>,
    pub refund: bool,
}

/// The request that descriptors are made from.
#[derive(Clone, Copy, Debug)]
pub struct RateLimited<'a> {
    pub head: &'a RequestHead,
    pub info: &'a RequestInfo,
    /// What this proxy's own service is called (`--service-cluster`, `node.cluster`).
    pub source_cluster: &'a str,
    /// Where the route leads; empty where it leads nowhere.
    pub destination_cluster: &'a str,
}

/// What an action adds.
enum Added {
    Entry(String, String),
    Skipped,
    NoDescriptor,
}

impl RateLimit {
    pub fn descriptor(&self, request: &RateLimited<'_>) -> Option<Descriptor> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.add(request) {
                Added::Entry(key, value) => entries.push((key, value)),
                Added::Skipped => {}
                Added::NoDescriptor => return None,
            }
        }
        if entries.is_empty() {
            return None;
        }
        Some(Descriptor {
            entries,
            limit: self.limit.as_ref().and_then(|limit| limit.resolve(request.info)),
            hits: self.hits.map(|hits| hits.number),
            refund: self.hits.is_some_and(|hits| hits.refund),
        })
    }
}

impl RateLimitAction {
    fn add(&self, request: &RateLimited<'_>) -> Added {
        let address = request.info.remote_address.ip().to_canonical();
        match self {
            Self::SourceCluster => entry("source_cluster", request.source_cluster),
            Self::DestinationCluster => entry("destination_cluster", request.destination_cluster),
            Self::Header { name, key, skip_if_absent } => {
                let value = super::header_value(request.head, name);
                let first = match request.head.headers.get(name) {
                    Some(first) => Some(first),
                    None => value.as_deref(),
                };
                optional(key, first.map(|value| String::from_utf8_lossy(value).into_owned()), *skip_if_absent)
            }
            Self::Query { name, key, skip_if_absent } => {
                optional(key, query::get(&request.head.path, name).map(Cow::into_owned), *skip_if_absent)
            }
            Self::RemoteAddress => entry("remote_address", &address.to_string()),
            Self::MaskedRemoteAddress { v4, v6 } => match masked(address, *v4, *v6) {
                Some(network) => entry("masked_remote_address", &network.to_string()),
                None => Added::NoDescriptor,
            },
            Self::Constant { key, value } => entry(key, value),
            Self::HeaderMatch { key, value, expect, headers } => {
                let matched = headers.iter().all(|header| header.matches(request.head));
                if matched == *expect { entry(key, value) } else { Added::NoDescriptor }
            }
            Self::QueryMatch { key, value, expect, query } => {
                let matched = query.iter().all(|query| query_matches(query, request.head));
                if matched == *expect { entry(key, value) } else { Added::NoDescriptor }
            }
            Self::Metadata { key, place, default, skip_if_absent } => {
                let found = match place.find(request.info) {
                    Some(Kind::StringValue(text)) if !text.is_empty() => Some(text),
                    _ => (!default.is_empty()).then(|| default.clone()),
                };
                optional(key, found, *skip_if_absent)
            }
            Self::RemoteAddressMatch { key, value, default, ranges, invert } => {
                if ranges.iter().any(|range| range.contains(&address)) == *invert {
                    return Added::NoDescriptor;
                }
                let mut text = Vec::new();
                value.write_value(&LogContext::of_request(request.info, request.head), &mut text);
                let text = String::from_utf8_lossy(&text);
                match if text.is_empty() { default.as_str() } else { &*text } {
                    "" => Added::Skipped,
                    text => entry(key, text),
                }
            }
        }
    }
}

fn entry(key: &str, value: &str) -> Added {
    Added::Entry(key.to_owned(), value.to_owned())
}

fn optional(key: &str, value: Option<String>, skip_if_absent: bool) -> Added {
    match value {
        Some(value) => Added::Entry(key.to_owned(), value),
        None if skip_if_absent => Added::Skipped,
        None => Added::NoDescriptor,
    }
}

/// As a route's, but on decoded values (Envoy, query_parameter_value_match).
fn query_matches(query: &QueryMatch, head: &RequestHead) -> bool {
    let value = query::get(&head.path, &query.name);
    match &query.rule {
        QueryRule::Present => value.is_some(),
        QueryRule::Text(rule) => value.is_some_and(|value| rule.matches(value.as_bytes())),
    }
}

fn masked(address: IpAddr, v4: u8, v6: u8) -> Option<IpNet> {
    let length = if address.is_ipv4() { v4 } else { v6 };
    IpNet::new(address, length).ok().map(|network| network.trunc())
}

impl MetadataKey {
    pub fn find(&self, info: &RequestInfo) -> Option<Kind> {
        info.metadata_value(&self.namespace, self.path.iter().map(String::as_str))?.into_owned().kind
    }
}

impl LimitOverride {
    /// A limit that the metadata does not have, or has wrong, is none (Envoy, rate limit override).
    fn resolve(&self, info: &RequestInfo) -> Option<Limit> {
        match self {
            Self::Fixed(limit) => Some(*limit),
            Self::Dynamic(place) => {
                let Some(Kind::StructValue(wire)) = place.find(info) else { return None };
                let field = |name: &str| wire.fields.get(name)?.kind.as_ref();
                let Some(Kind::NumberValue(number)) = field("requests_per_unit") else { return None };
                let Some(Kind::StringValue(unit)) = field("unit") else { return None };
                let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number);
                let unit = RateLimitUnit::from_str_name(unit)?;
                whole.then_some(Limit { requests_per_unit: *number as u32, unit: unit.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
