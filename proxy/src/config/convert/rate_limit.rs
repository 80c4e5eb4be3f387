//! Recipes of rate limit descriptors, of routes and virtual hosts and of the filters themselves.

use api::envoy::config::route::v3 as wire;
use api::envoy::r#type::metadata::v3 as metadata_wire;
use ipnet::IpNet;
use wire::rate_limit::action::{ActionSpecifier, meta_data};
use wire::rate_limit::r#override::OverrideSpecifier;
use wire::rate_limit::{Action, HitsAddend, action};

use super::route_match;
use crate::access_log::Format;
use crate::config::error::{At, ConfigError};
use crate::route::{Hits, Limit, LimitOverride, MetadataKey, RateLimit, RateLimitAction};

/// `VirtualHost.rate_limits` and `RouteAction.rate_limits`.
pub(super) fn of_route(wire: &[wire::RateLimit], at: &At<'_>) -> Result<Vec<RateLimit>, ConfigError> {
    all(wire, at, |wire, at| match wire.hits_addend {
        Some(_) => Err(at.field("hits_addend").refuse("set", "counts only in the filter's own rate_limits")),
        None => Ok(()),
    })
}

/// `rate_limits` of a rate limit filter and of its settings per route.
pub(super) fn of_filter(wire: &[wire::RateLimit], at: &At<'_>) -> Result<Vec<RateLimit>, ConfigError> {
    all(wire, at, |wire, at| {
        if wire.stage.is_some() {
            return Err(at.field("stage").refuse("set", "is for rate limits of routes"));
        }
        if !wire.disable_key.is_empty() {
            return Err(at.field("disable_key").refuse(&wire.disable_key, "is for rate limits of routes"));
        }
        Ok(())
    })
}

fn all(
    wire: &[wire::RateLimit],
    at: &At<'_>,
    check: impl Fn(&wire::RateLimit, &At<'_>) -> Result<(), ConfigError>,
) -> Result<Vec<RateLimit>, ConfigError> {
    let one = |(index, wire): (usize, &wire::RateLimit)| {
        let at = at.index(index);
        check(wire, &at)?;
        convert(wire, &at)
    };
    wire.iter().enumerate().map(one).collect()
}

/// There is no runtime that `disable_key` could be set in, so that it says nothing.
fn convert(wire: &wire::RateLimit, at: &At<'_>) -> Result<RateLimit, ConfigError> {
    let stage = wire.stage.unwrap_or(0);
    if stage > 10 {
        return Err(at.field("stage").refuse(stage, "is at most 10"));
    }
    let actions = at.field("actions");
    if wire.actions.is_empty() {
        return Err(actions.missing());
    }
    let converted = wire.actions.iter().enumerate().map(|(index, wire)| action(wire, &actions.index(index)));
    Ok(RateLimit {
        stage,
        actions: converted.collect::<Result<_, _>>()?,
        limit: wire.limit.as_ref().map(|wire| limit(wire, &at.field("limit"))).transpose()?,
        hits: wire.hits_addend.as_ref().map(|wire| hits(wire, &at.field("hits_addend"))).transpose()?,
    })
}

fn limit(wire: &wire::rate_limit::Override, at: &At<'_>) -> Result<LimitOverride, ConfigError> {
    match &wire.override_specifier {
        Some(OverrideSpecifier::RateLimit(fixed)) => {
            Ok(LimitOverride::Fixed(Limit { requests_per_unit: fixed.requests_per_unit, unit: fixed.unit }))
        }
        Some(OverrideSpecifier::DynamicMetadata(dynamic)) => {
            let at = at.field("dynamic_metadata");
            Ok(LimitOverride::Dynamic(metadata_key(dynamic.metadata_key.as_ref(), &at.field("metadata_key"))?))
        }
        None => Err(at.missing()),
    }
}

fn hits(wire: &HitsAddend, at: &At<'_>) -> Result<Hits, ConfigError> {
    const MOST: u64 = 1_000_000_000;
    match wire.number {
        Some(number) if number > MOST => Err(at.field("number").refuse(number, format!("is at most {MOST}"))),
        number => Ok(Hits { number: number.unwrap_or(1), refund: wire.is_negative_hits }),
    }
}

pub(super) fn metadata_key(wire: Option<&metadata_wire::MetadataKey>, at: &At<'_>) -> Result<MetadataKey, ConfigError> {
    use metadata_wire::metadata_key::path_segment::Segment;
    let wire = wire.ok_or_else(|| at.missing())?;
    let path = at.field("path");
    let step = |(index, step): (usize, &metadata_wire::metadata_key::PathSegment)| match &step.segment {
        Some(Segment::Key(key)) if !key.is_empty() => Ok(key.clone()),
        _ => Err(path.index(index).field("key").missing()),
    };
    let steps: Vec<String> = wire.path.iter().enumerate().map(step).collect::<Result<_, _>>()?;
    match (wire.key.as_str(), steps.is_empty()) {
        ("", _) => Err(at.field("key").missing()),
        (_, true) => Err(path.missing()),
        (key, false) => Ok(MetadataKey { namespace: key.to_owned(), path: steps }),
    }
}

fn action(wire: &Action, at: &At<'_>) -> Result<RateLimitAction, ConfigError> {
    match wire.action_specifier.as_ref().ok_or_else(|| at.missing())? {
        ActionSpecifier::SourceCluster(_) => Ok(RateLimitAction::SourceCluster),
        ActionSpecifier::DestinationCluster(_) => Ok(RateLimitAction::DestinationCluster),
        ActionSpecifier::RemoteAddress(_) => Ok(RateLimitAction::RemoteAddress),
        ActionSpecifier::RequestHeaders(wire) => {
            let at = at.field("request_headers");
            Ok(RateLimitAction::Header {
                name: required(&wire.header_name, &at.field("header_name"))?.to_ascii_lowercase(),
                key: required(&wire.descriptor_key, &at.field("descriptor_key"))?,
                skip_if_absent: wire.skip_if_absent,
            })
        }
        ActionSpecifier::QueryParameters(wire) => {
            let at = at.field("query_parameters");
            Ok(RateLimitAction::Query {
                name: required(&wire.query_parameter_name, &at.field("query_parameter_name"))?,
                key: required(&wire.descriptor_key, &at.field("descriptor_key"))?,
                skip_if_absent: wire.skip_if_absent,
            })
        }
        ActionSpecifier::GenericKey(wire) => Ok(RateLimitAction::Constant {
            key: or(&wire.descriptor_key, "generic_key"),
            value: required(&wire.descriptor_value, &at.field("generic_key").field("descriptor_value"))?,
        }),
        ActionSpecifier::HeaderValueMatch(wire) => header_match(wire, &at.field("header_value_match")),
        ActionSpecifier::QueryParameterValueMatch(wire) => query_match(wire, &at.field("query_parameter_value_match")),
        ActionSpecifier::Metadata(wire) => metadata(wire, &at.field("metadata")),
        ActionSpecifier::MaskedRemoteAddress(wire) => masked(wire, &at.field("masked_remote_address")),
        ActionSpecifier::RemoteAddressMatch(wire) => address_match(wire, &at.field("remote_address_match")),
        ActionSpecifier::Extension(wire) => Err(at.field("extension").refuse(&wire.name, "is not supported")),
        _ => Err(at.refuse("an action of old", "is not supported; for `dynamic_metadata` write `metadata`")),
    }
}

fn header_match(wire: &action::HeaderValueMatch, at: &At<'_>) -> Result<RateLimitAction, ConfigError> {
    let headers = route_match::headers(&wire.headers, &at.field("headers"))?;
    if headers.is_empty() {
        return Err(at.field("headers").missing());
    }
    Ok(RateLimitAction::HeaderMatch {
        key: or(&wire.descriptor_key, "header_match"),
        value: required(&wire.descriptor_value, &at.field("descriptor_value"))?,
        expect: wire.expect_match != Some(false),
        headers,
    })
}

fn query_match(wire: &action::QueryParameterValueMatch, at: &At<'_>) -> Result<RateLimitAction, ConfigError> {
    let query = route_match::queries(&wire.query_parameters, &at.field("query_parameters"))?;
    if query.is_empty() {
        return Err(at.field("query_parameters").missing());
    }
    Ok(RateLimitAction::QueryMatch {
        key: or(&wire.descriptor_key, "query_match"),
        value: required(&wire.descriptor_value, &at.field("descriptor_value"))?,
        expect: wire.expect_match != Some(false),
        query,
    })
}

fn metadata(wire: &action::MetaData, at: &At<'_>) -> Result<RateLimitAction, ConfigError> {
    if wire.source != i32::from(meta_data::Source::Dynamic) {
        let name = meta_data::Source::try_from(wire.source).map_or("unknown", |source| source.as_str_name());
        return Err(at.field("source").refuse(name, "only DYNAMIC is supported"));
    }
    Ok(RateLimitAction::Metadata {
        key: required(&wire.descriptor_key, &at.field("descriptor_key"))?,
        place: metadata_key(wire.metadata_key.as_ref(), &at.field("metadata_key"))?,
        default: wire.default_value.clone(),
        skip_if_absent: wire.skip_if_absent,
    })
}

fn masked(wire: &action::MaskedRemoteAddress, at: &At<'_>) -> Result<RateLimitAction, ConfigError> {
    let length = |value: Option<u32>, most: u8, name| match value.unwrap_or(u32::from(most)) {
        length if length <= u32::from(most) => Ok(length as u8),
        length => Err(at.field(name).refuse(length, format!("is at most {most}"))),
    };
    Ok(RateLimitAction::MaskedRemoteAddress {
        v4: length(wire.v4_prefix_mask_len, 32, "v4_prefix_mask_len")?,
        v6: length(wire.v6_prefix_mask_len, 128, "v6_prefix_mask_len")?,
    })
}

fn address_match(wire: &action::RemoteAddressMatch, at: &At<'_>) -> Result<RateLimitAction, ConfigError> {
    let matcher = wire.address_matcher.as_ref().ok_or_else(|| at.field("address_matcher").missing())?;
    let ranges = at.field("address_matcher");
    let ranges = ranges.field("ranges");
    let range = |(index, range): (usize, &api::xds::core::v3::CidrRange)| {
        let at = ranges.index(index);
        let length = range.prefix_len.unwrap_or(0);
        let address = range.address_prefix.parse().ok();
        let network = address.and_then(|address| IpNet::new(address, u8::try_from(length).ok()?).ok());
        network
            .ok_or_else(|| at.refuse(format_args!("{}/{length}", range.address_prefix), "is not a range of addresses"))
    };
    let text = required(&wire.descriptor_value, &at.field("descriptor_value"))?;
    Ok(RateLimitAction::RemoteAddressMatch {
        key: or(&wire.descriptor_key, "remote_address_match"),
        value: Format::parse(&text).map_err(|error| at.field("descriptor_value").refuse(&text, error.to_string()))?,
        default: wire.default_value.clone(),
        ranges: matcher.ranges.iter().enumerate().map(range).collect::<Result<_, _>>()?,
        invert: matcher.invert_match,
    })
}

fn required(text: &str, at: &At<'_>) -> Result<String, ConfigError> {
    if text.is_empty() { Err(at.missing()) } else { Ok(text.to_owned()) }
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}
