//! Small constructors for Envoy's messages that many resources hold.

use std::collections::BTreeMap;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::r#type::matcher::v3 as matcher;
use api::envoy::r#type::v3 as kinds;
use api::prost_types::{self, ListValue, Struct, Value, value};
use galley::kinds::{Percent, StringMatch};

pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    // Both fit: configuration holds at most some years.
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

pub(crate) fn socket_address(address: &str, port: u16) -> core::Address {
    let socket = core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// From the stream that the resource itself came by.
pub(crate) fn ads() -> core::ConfigSource {
    use core::config_source::ConfigSourceSpecifier;
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        initial_fetch_timeout: Some(prost_types::Duration::default()),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..Default::default()
    }
}

pub(crate) fn string(text: impl Into<String>) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.into())) }
}

pub(crate) fn list(values: Vec<Value>) -> Value {
    Value { kind: Some(value::Kind::ListValue(ListValue { values })) }
}

pub(crate) fn structure<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
}

pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value { kind: Some(value::Kind::StructValue(structure(fields))) }
}

/// `filter_metadata` with the entries that are not empty.
pub(crate) fn metadata<const N: usize>(filters: [(&str, Struct); N]) -> Option<core::Metadata> {
    let filters = filters.into_iter().filter(|(_, fields)| !fields.fields.is_empty());
    let filter_metadata: BTreeMap<_, _> = filters.map(|(name, fields)| (name.to_owned(), fields)).collect();
    let some = !filter_metadata.is_empty();
    some.then(|| core::Metadata { filter_metadata, ..Default::default() })
}

/// `filter_metadata.istio.config`: the object behind a resource.
pub(crate) fn config_metadata(kind: &str, meta: &galley::Meta) -> Option<core::Metadata> {
    let config = crate::names::config(kind, &meta.namespace, &meta.name);
    metadata([("istio", structure([("config", string(config))]))])
}

pub(crate) fn transport_socket<M: api::prost::Name>(name: &str, config: &M) -> core::TransportSocket {
    use core::transport_socket::ConfigType;
    core::TransportSocket { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(api::any(config))) }
}

pub(crate) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

pub(crate) fn exact(text: impl Into<String>) -> matcher::StringMatcher {
    let pattern = matcher::string_matcher::MatchPattern::Exact(text.into());
    matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

pub(crate) fn prefix(text: impl Into<String>) -> matcher::StringMatcher {
    let pattern = matcher::string_matcher::MatchPattern::Prefix(text.into());
    matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

pub(crate) fn string_match(of: &StringMatch) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let pattern = match of {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern.as_str())),
    };
    matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

pub(crate) fn fraction(percent: Percent) -> kinds::FractionalPercent {
    use kinds::fractional_percent::DenominatorType;
    kinds::FractionalPercent { numerator: percent.millionths(), denominator: DenominatorType::Million as i32 }
}

pub(crate) fn runtime_fraction(percent: Percent) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent { default_value: Some(fraction(percent)), ..Default::default() }
}

pub(crate) fn file(path: &str) -> core::DataSource {
    let specifier = core::data_source::Specifier::Filename(path.to_owned());
    core::DataSource { specifier: Some(specifier), ..Default::default() }
}

pub(crate) fn inline(text: &str) -> core::DataSource {
    let specifier = core::data_source::Specifier::InlineString(text.to_owned());
    core::DataSource { specifier: Some(specifier), ..Default::default() }
}

/// JSON as the message that stands for it.
pub(crate) fn json_object(fields: &serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: fields.iter().map(|(name, of)| (name.clone(), json(of))).collect() }
}

fn json(of: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match of {
        Json::Null => value::Kind::NullValue(0),
        Json::Bool(flag) => value::Kind::BoolValue(*flag),
        Json::Number(number) => value::Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => value::Kind::StringValue(text.clone()),
        Json::Array(items) => value::Kind::ListValue(ListValue { values: items.iter().map(json).collect() }),
        Json::Object(fields) => value::Kind::StructValue(json_object(fields)),
    };
    Value { kind: Some(kind) }
}
