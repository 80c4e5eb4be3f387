//! Decisions on requests, each rule given as a control plane sends it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::access_log::{TlsInfo, Transport};
use crate::config::convert;
use crate::filter::test_kit::message;
use crate::http::message::Version;

fn connection() -> ConnectionInfo {
    let addresses = ("10.0.0.1:8080".parse().unwrap(), "[::ffff:10.0.0.2]:5000".parse().unwrap());
    let transport = Transport {
        local_address: addresses.0,
        remote_address: "[::ffff:10.0.0.3]:6000".parse().unwrap(),
        proxy_tlvs: Vec::new(),
    };
    ConnectionInfo {
        transport: Some(Box::new(transport)),
        requested_server_name: Some("a.example".into()),
        tls: Some(Box::new(TlsInfo {
            peer_names: vec!["spiffe://td/ns/a/sa/b".into(), "urn:second".into(), "CN=peer".into()].into(),
            ..TlsInfo::default()
        })),
        ..ConnectionInfo::between(1, addresses.0, addresses.1)
    }
}

fn head(path: &str, headers: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: "GET".into(),
        scheme: "http",
        authority: "h".into(),
        path: path.into(),
        version: Version::Http11,
        headers: headers.iter().copied().collect(),
        upgrade: None,
    }
}

fn rules(action: &str, permission: Value, principal: Value) -> Rules {
    let wire =
        json!({"action": action, "policies": {"p one": {"permissions": [permission], "principals": [principal]}}});
    convert::rbac_rules(&message(&wire)).unwrap()
}

fn decide(rules: &Rules, head: Option<&RequestHead>) -> Decision {
    let connection = Arc::new(connection());
    let mut info = RequestInfo::new(Arc::clone(&connection), 1);
    info.remote_address = "192.0.2.7:0".parse().unwrap();
    let metadata = info.metadata.get_or_insert_default();
    metadata.set("jwt", "sub", api::prost_types::value::Kind::StringValue("me".into()));
    decide_with(rules, head, &connection, &info)
}

fn decide_with(rules: &Rules, head: Option<&RequestHead>, connection: &ConnectionInfo, info: &RequestInfo) -> Decision {
    rules.decide(&Facts::new(connection, info, head))
}

fn any() -> Value {
    json!({"any": true})
}

fn role(matcher: Value) -> Value {
    let mut header = json!({"name": "x-role"});
    for (key, value) in matcher.as_object().unwrap() {
        header[key] = value.clone();
    }
    json!({"header": header})
}

/// CVE-2020-25017, CVE-2021-32777, CVE-2026-26308.
#[test]
fn each_value_of_a_repeated_header_is_judged_for_itself() {
    let admin = || role(json!({"string_match": {"exact": "admin"}}));
    let both = || role(json!({"string_match": {"exact": "user,admin"}}));
    let not_admin = || role(json!({"string_match": {"exact": "admin"}, "invert_match": true}));
    let cases: [(&str, Value, &[&str], bool); 12] = [
        ("DENY", admin(), &["user", "admin"], false),
        ("DENY", admin(), &["admin", "user"], false),
        ("DENY", admin(), &["user"], true),
        ("ALLOW", admin(), &["admin"], true),
        ("ALLOW", admin(), &["admin", "user"], true),
        ("ALLOW", both(), &["user", "admin"], false),
        ("ALLOW", both(), &["user,admin"], true),
        ("DENY", both(), &["user", "admin"], true),
        ("ALLOW", not_admin(), &["user", "admin"], false),
        ("ALLOW", not_admin(), &["user", "user"], true),
        ("ALLOW", not_admin(), &[], false),
        ("ALLOW", role(json!({"range_match": {"start": 1, "end": 5}})), &["3", "9"], true),
    ];
    for (action, principal, values, allowed) in cases {
        let headers: Vec<_> = values.iter().map(|value| ("x-role", *value)).collect();
        let decision = decide(&rules(action, any(), principal.clone()), Some(&head("/", &headers)));
        assert_eq!(decision.allowed, allowed, "{action} {principal} {values:?}");
    }
}

#[test]
fn permissions_hold_for_what_is_asked() {
    let path = |rule: Value| json!({"url_path": {"path": rule}});
    let cases = [
        (path(json!({"exact": "/a"})), true),
        (path(json!({"prefix": "/a?"})), false),
        (path(json!({"suffix": "q"})), false),
        (json!({"header": {"name": ":path", "string_match": {"exact": "/a?q"}}}), true),
        (json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}}), true),
        (json!({"destination_ip": {"address_prefix": "10.0.0.9", "prefix_len": 24}}), true),
        (json!({"destination_ip": {"address_prefix": "10.0.1.0", "prefix_len": 24}}), false),
        (json!({"destination_port": 8080}), true),
        (json!({"destination_port": 80}), false),
        (json!({"destination_port_range": {"start": 8080, "end": 8081}}), true),
        (json!({"destination_port_range": {"start": 8000, "end": 8080}}), false),
        (json!({"requested_server_name": {"suffix": ".example"}}), true),
        (
            json!({"metadata": {"filter": "jwt", "path": [{"key": "sub"}],
            "value": {"or_match": {"value_matchers": [{"null_match": {}}, {"string_match": {"exact": "me"}}]}}}}),
            true,
        ),
        (
            json!({"metadata": {"filter": "jwt", "path": [{"key": "none"}], "invert": true,
            "value": {"present_match": true}}}),
            true,
        ),
        (json!({"not_rule": {"and_rules": {"rules": [any(), path(json!({"exact": "/b"}))]}}}), true),
        (json!({"or_rules": {"rules": [path(json!({"exact": "/b"})), path(json!({"contains": "a"}))]}}), true),
    ];
    for (permission, allowed) in cases {
        let decision = decide(&rules("ALLOW", permission.clone(), any()), Some(&head("/a?q", &[])));
        assert_eq!(decision.allowed, allowed, "{permission}");
    }
}

#[test]
fn principals_hold_for_who_asks() {
    let ip = |kind: &str, address: &str| json!({kind: {"address_prefix": address, "prefix_len": 32}});
    let name = |rule: Value| json!({"authenticated": {"principal_name": rule}});
    let cases = [
        (ip("source_ip", "10.0.0.2"), true),
        (ip("direct_remote_ip", "10.0.0.3"), true),
        (ip("remote_ip", "10.0.0.2"), false),
        (ip("remote_ip", "192.0.2.7"), true),
        (json!({"authenticated": {}}), true),
        (name(json!({"prefix": "spiffe://td/ns/a/"})), true),
        (name(json!({"exact": "urn:second"})), true),
        (name(json!({"exact": "CN=peer"})), true),
        (name(json!({"prefix": "spiffe://other/"})), false),
        (
            json!({"not_id": {"or_ids": {"ids": [ip("remote_ip", "1.1.1.1"), {"url_path": {"path": {"exact": "/b"}}}]}}}),
            true,
        ),
        (json!({"and_ids": {"ids": [any(), ip("remote_ip", "1.1.1.1")]}}), false),
    ];
    for (principal, allowed) in cases {
        let decision = decide(&rules("ALLOW", any(), principal.clone()), Some(&head("/a", &[])));
        assert_eq!(decision.allowed, allowed, "{principal}");
    }
}

/// ISTIO-SECURITY-2021-004.
#[test]
fn a_plain_connection_is_authenticated_as_no_one() {
    let connection = Arc::new(ConnectionInfo { tls: None, requested_server_name: None, ..connection() });
    let info = RequestInfo::new(Arc::clone(&connection), 1);
    for principal in [json!({"authenticated": {}}), json!({"authenticated": {"principal_name": {"prefix": ""}}})] {
        let rules = rules("ALLOW", any(), principal);
        assert!(!decide_with(&rules, None, &connection, &info).allowed);
    }
    let unnamed = rules("ALLOW", json!({"requested_server_name": {"exact": ""}}), any());
    assert!(decide_with(&unnamed, None, &connection, &info).allowed);
}

#[test]
fn a_connection_has_no_header_to_match() {
    for invert in [false, true] {
        let by_header = role(json!({"string_match": {"exact": "x"}, "invert_match": invert}));
        assert!(!decide(&rules("ALLOW", any(), by_header), None).allowed);
    }
}

#[test]
fn denials_name_the_policy_in_one_word() {
    let deny = rules("DENY", any(), any());
    assert_eq!(deny.denial(decide(&deny, None)), "rbac_access_denied_matched_policy[p_one]");
    let empty = convert::rbac_rules(&message(&json!({"action": "ALLOW"}))).unwrap();
    let decision = decide(&empty, None);
    assert!(!decision.allowed);
    assert_eq!(empty.denial(decision), "rbac_access_denied_matched_policy[none]");
    assert!(decide(&rules("LOG", any(), any()), None).allowed);
}

#[test]
fn what_cannot_be_judged_is_refused() {
    for (permission, path) in [
        (json!({"any": false}), "rules.policies[\"p\"].permissions[0].any"),
        (json!({"destination_port": 70000}), "rules.policies[\"p\"].permissions[0].destination_port"),
        (
            json!({"destination_port_range": {"start": 5, "end": 5}}),
            "rules.policies[\"p\"].permissions[0].destination_port_range",
        ),
        (json!({"matcher": {"name": "m"}}), "rules.policies[\"p\"].permissions[0].matcher"),
        (json!({"and_rules": {}}), "rules.policies[\"p\"].permissions[0].and_rules.rules"),
    ] {
        let wire = json!({"policies": {"p": {"permissions": [permission], "principals": [any()]}}});
        assert_eq!(convert::rbac_rules(&message(&wire)).unwrap_err().path, path);
    }
    let conditional = json!({"policies": {"p": {"permissions": [any()], "principals": [any()], "condition": {}}}});
    assert_eq!(convert::rbac_rules(&message(&conditional)).unwrap_err().path, "rules.policies[\"p\"].condition");
}

/// CVE-2026-39350: in an exact rule, a prefix or a suffix a dot is a dot. CVE-2020-16844: suffixes count on TCP too.
#[test]
fn names_are_taken_literally_on_requests_and_on_connections() {
    let named = |name: &str| {
        let tls = TlsInfo { peer_names: vec![name.to_owned()].into(), ..TlsInfo::default() };
        Arc::new(ConnectionInfo { tls: Some(Box::new(tls)), ..connection() })
    };
    for (rule, good, bad) in [
        (json!({"exact": "spiffe://td/ns/a/sa/a.b"}), "spiffe://td/ns/a/sa/a.b", "spiffe://td/ns/a/sa/axb"),
        (json!({"prefix": "spiffe://td/ns/a.b/"}), "spiffe://td/ns/a.b/sa/x", "spiffe://td/ns/axb/sa/x"),
        (json!({"suffix": "/sa/foo"}), "spiffe://td/ns/a/sa/foo", "spiffe://td/ns/a/sa/foobar"),
    ] {
        for head in [None, Some(&head("/", &[]))] {
            for (name, covered) in [(good, true), (bad, false)] {
                let connection = named(name);
                let info = RequestInfo::new(Arc::clone(&connection), 1);
                let principal = json!({"authenticated": {"principal_name": rule}});
                for (action, allowed) in [("ALLOW", covered), ("DENY", !covered)] {
                    let rules = rules(action, any(), principal.clone());
                    assert_eq!(
                        decide_with(&rules, head, &connection, &info).allowed,
                        allowed,
                        "{action} {rule} {name}"
                    );
                }
            }
        }
    }
}

/// CVE-2024-23323 and its like: a pattern costs what it is long, or is refused.
#[test]
fn no_pattern_takes_the_proxy_down() {
    let matching = |pattern: &str| {
        let wire = json!({"policies": {"p": {"permissions": [{"url_path": {"path": {"safe_regex": {"regex": pattern}}}}],
            "principals": [any()]}}});
        convert::rbac_rules(&message(&wire))
    };
    let catastrophic = matching("/(a+)+$").unwrap();
    let path = format!("/{}!", "a".repeat(60_000));
    assert!(!decide(&catastrophic, Some(&head(&path, &[]))).allowed);
    for huge in ["(".repeat(500_000) + &")".repeat(500_000), "((a{1000}){1000}){1000}".into(), "a".repeat(1 << 20)] {
        let _ = matching(&huge);
    }
    assert!(matching("((a{1000}){1000}){1000}").is_err());
}
