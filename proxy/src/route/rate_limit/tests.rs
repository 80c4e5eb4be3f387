//! Descriptors as a rate limit service sees them, from the wire to the entries.

use std::net::SocketAddr;
use std::sync::Arc;

use api::envoy::config::route::v3::RouteConfiguration;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::*;
use crate::access_log::ConnectionInfo;
use crate::config::convert;
use crate::http::message::Version;
use crate::route::{Action, RouteTable};

fn table(rate_limit: Value) -> Result<RouteTable, crate::config::ConfigError> {
    let value = json!({"virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "c", "rate_limits": [rate_limit]}}]}]});
    let descriptor = api::descriptor_pool().get_message_by_name("envoy.config.route.v3.RouteConfiguration").unwrap();
    let wire: RouteConfiguration = DynamicMessage::deserialize(descriptor, value).unwrap().transcode_to().unwrap();
    convert::route_table(&wire)
}

fn refusal(rate_limit: Value) -> String {
    table(rate_limit).expect_err("refused").to_string()
}

fn head() -> RequestHead {
    RequestHead {
        method: "GET".to_owned(),
        scheme: "http",
        authority: "shop".to_owned(),
        path: "/p?user=j%20d&empty=".to_owned(),
        version: Version::Http11,
        headers: [("x-user", "jane"), ("x-user", "john"), ("x-void", "")].into_iter().collect(),
        upgrade: None,
    }
}

fn info(address: &str) -> RequestInfo {
    let remote_address = SocketAddr::new(address.parse().unwrap(), 1);
    let mut info = RequestInfo::new(Arc::new(ConnectionInfo::between(1, remote_address, remote_address)), 1);
    let fields = json!({"plan": "gold", "none": "", "count": 7,
        "limit": {"requests_per_unit": 5, "unit": "HOUR"}, "bad": {"requests_per_unit": -1, "unit": "HOUR"}});
    let descriptor = api::descriptor_pool().get_message_by_name("google.protobuf.Struct").unwrap();
    let fields = DynamicMessage::deserialize(descriptor, fields).unwrap().transcode_to().unwrap();
    info.metadata.get_or_insert_default().merge("jwt", fields);
    info
}

/// The descriptor of these actions for one request.
fn of(rate_limit: Value, address: &str) -> Option<Descriptor> {
    let table = table(rate_limit).unwrap();
    let head = head();
    let found = table.find(&head, 0).unwrap();
    let Action::Forward(action) = &found.route.action else { panic!("forwards") };
    let info = info(address);
    action.rate_limits[0].descriptor(&RateLimited {
        head: &head,
        info: &info,
        source_cluster: "me",
        destination_cluster: "c",
    })
}

fn entries(actions: Value) -> Option<Vec<(String, String)>> {
    of(json!({"actions": actions}), "10.1.2.3").map(|descriptor| descriptor.entries)
}

fn one(action: Value) -> Option<(String, String)> {
    entries(json!([action])).map(|mut entries| entries.remove(0))
}

fn pair(key: &str, value: &str) -> Option<(String, String)> {
    Some((key.to_owned(), value.to_owned()))
}

#[test]
fn every_action_adds_its_entry() {
    assert_eq!(one(json!({"source_cluster": {}})), pair("source_cluster", "me"));
    assert_eq!(one(json!({"destination_cluster": {}})), pair("destination_cluster", "c"));
    assert_eq!(one(json!({"remote_address": {}})), pair("remote_address", "10.1.2.3"));
    assert_eq!(one(json!({"generic_key": {"descriptor_value": "v"}})), pair("generic_key", "v"));
    let named = json!({"generic_key": {"descriptor_value": "v", "descriptor_key": "k"}});
    assert_eq!(one(named), pair("k", "v"));
    let header = |name| json!({"request_headers": {"header_name": name, "descriptor_key": "k"}});
    assert_eq!(one(header("X-User")), pair("k", "jane"));
    assert_eq!(one(header(":path")), pair("k", "/p?user=j%20d&empty="));
    assert_eq!(one(header("x-void")), pair("k", ""));
    let query = json!({"query_parameters": {"query_parameter_name": "user", "descriptor_key": "k"}});
    assert_eq!(one(query), pair("k", "j d"));
}

#[test]
fn addresses_are_masked_by_their_family() {
    let masked = |lengths: Value, address| {
        let limit = json!({"actions": [{"masked_remote_address": lengths}]});
        of(limit, address).map(|descriptor| descriptor.entries[0].1.clone())
    };
    assert_eq!(masked(json!({}), "10.1.2.3").as_deref(), Some("10.1.2.3/32"));
    assert_eq!(masked(json!({"v4_prefix_mask_len": 16}), "10.1.2.3").as_deref(), Some("10.1.0.0/16"));
    assert_eq!(masked(json!({"v6_prefix_mask_len": 64}), "2001:db8:1:2:3::4").as_deref(), Some("2001:db8:1:2::/64"));
    assert_eq!(masked(json!({"v4_prefix_mask_len": 0}), "10.1.2.3").as_deref(), Some("0.0.0.0/0"));
}

#[test]
fn an_action_with_nothing_to_add_ends_the_descriptor_unless_it_may_be_skipped() {
    let absent = |skip: bool| {
        json!([{"generic_key": {"descriptor_value": "v"}},
            {"request_headers": {"header_name": "x-none", "descriptor_key": "k", "skip_if_absent": skip}}])
    };
    assert_eq!(entries(absent(false)), None);
    assert_eq!(entries(absent(true)).map(|entries| entries.len()), Some(1));
    let alone =
        json!([{"query_parameters": {"query_parameter_name": "x", "descriptor_key": "k", "skip_if_absent": true}}]);
    assert_eq!(entries(alone), None, "a service takes no empty descriptor");
}

#[test]
fn matches_count_as_expected_or_not() {
    let header = |expect: bool, value: &str| {
        json!({"header_value_match": {"descriptor_value": "v", "expect_match": expect,
            "headers": [{"name": "x-user", "string_match": {"exact": value}}]}})
    };
    assert_eq!(one(header(true, "john")), pair("header_match", "v"));
    assert_eq!(one(header(true, "jo")), None);
    assert_eq!(one(header(false, "jo")), pair("header_match", "v"));
    let query = |value: &str| {
        json!({"query_parameter_value_match": {"descriptor_value": "v",
            "query_parameters": [{"name": "user", "string_match": {"exact": value}}]}})
    };
    assert_eq!(one(query("j d")), pair("query_match", "v"));
    assert_eq!(one(query("j%20d")), None);
}

#[test]
fn metadata_is_read_as_text_or_replaced_by_its_default() {
    let metadata = |path: &str, default: &str, skip: bool| {
        json!([{"generic_key": {"descriptor_value": "v"}}, {"metadata": {"descriptor_key": "k", "default_value": default,
            "skip_if_absent": skip, "metadata_key": {"key": "jwt", "path": [{"key": path}]}}}])
    };
    let value = |actions| entries(actions).map(|entries| entries.get(1).map(|(_, value)| value.clone()));
    assert_eq!(value(metadata("plan", "", false)), Some(Some("gold".into())));
    assert_eq!(value(metadata("count", "", false)), None, "a number is no text");
    assert_eq!(value(metadata("none", "free", false)), Some(Some("free".into())));
    assert_eq!(value(metadata("absent", "", true)), Some(None));
    let route = json!({"actions": [{"metadata": {"descriptor_key": "k", "source": "ROUTE_ENTRY",
        "metadata_key": {"key": "jwt", "path": [{"key": "x"}]}}}]});
    assert!(refusal(route).contains("metadata.source: ROUTE_ENTRY: only DYNAMIC is supported"));
}

#[test]
fn addresses_are_matched_and_the_value_is_a_format() {
    let matcher = |prefix: &str, invert: bool| {
        json!({"remote_address_match": {"descriptor_value": "%REQ(x-user)%", "address_matcher": {
            "ranges": [{"address_prefix": prefix, "prefix_len": 8}], "invert_match": invert}}})
    };
    assert_eq!(one(matcher("10.0.0.0", false)), pair("remote_address_match", "jane"));
    assert_eq!(one(matcher("10.0.0.0", true)), None);
    assert_eq!(one(matcher("11.0.0.0", true)), pair("remote_address_match", "jane"));
}

#[test]
fn limits_are_overridden_by_a_constant_or_by_metadata() {
    let limit = |value: Value| {
        let wire = json!({"actions": [{"remote_address": {}}], "limit": value});
        of(wire, "10.1.2.3").expect("a descriptor").limit
    };
    let of_metadata =
        |name: &str| json!({"dynamic_metadata": {"metadata_key": {"key": "jwt", "path": [{"key": name}]}}});
    let hour = 3;
    assert_eq!(
        limit(json!({"rate_limit": {"requests_per_unit": 9, "unit": "HOUR"}})),
        Some(Limit { requests_per_unit: 9, unit: hour })
    );
    assert_eq!(limit(of_metadata("limit")), Some(Limit { requests_per_unit: 5, unit: hour }));
    assert_eq!(limit(of_metadata("bad")), None);
    assert_eq!(limit(of_metadata("none")), None);
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    assert!(refusal(json!({"actions": []})).contains("actions: not set"));
    assert!(refusal(json!({"stage": 11, "actions": [{"remote_address": {}}]})).contains("stage: 11: is at most 10"));
    let addend = json!({"actions": [{"remote_address": {}}], "hits_addend": {"number": 3}});
    assert!(refusal(addend).contains("hits_addend"));
    let extension = json!({"actions": [{"extension": {"name": "expr"}}]});
    assert!(refusal(extension).contains("extension"));
    let format = json!({"actions": [{"generic_key": {"descriptor_value": "a", "default_value": "b"}}]});
    assert!(refusal(format).contains("default_value"), "needs a runtime flag of Envoy that is off");
}
