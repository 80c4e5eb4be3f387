//! Routing seen from outside: a configuration from the wire, a request, and where it goes.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::route::v3 as wire;
use proptest::prelude::*;
use wire::route_match::PathSpecifier;

use super::*;
use crate::access_log::{ConnectionInfo, RequestInfo};
use crate::config::{StringMatch, convert};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};

fn head(authority: &str, path: &str, headers: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: "GET".to_owned(),
        scheme: "http",
        authority: authority.to_owned(),
        path: path.to_owned(),
        version: Version::Http11,
        headers: headers.iter().copied().collect(),
        upgrade: None,
    }
}

fn info() -> RequestInfo {
    let address = "127.0.0.1:1".parse().unwrap();
    RequestInfo::new(Arc::new(ConnectionInfo::between(1, address, address)), 1)
}

fn to_cluster(name: &str) -> wire::route::Action {
    wire::route::Action::Route(wire::RouteAction {
        cluster_specifier: Some(wire::route_action::ClusterSpecifier::Cluster(name.to_owned())),
        ..Default::default()
    })
}

fn route(path: PathSpecifier, action: wire::route::Action) -> wire::Route {
    let r#match = wire::RouteMatch { path_specifier: Some(path), ..Default::default() };
    wire::Route { r#match: Some(r#match), action: Some(action), ..Default::default() }
}

fn host(domains: &[&str], routes: Vec<wire::Route>) -> wire::VirtualHost {
    wire::VirtualHost {
        name: domains.join(","),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes,
        ..Default::default()
    }
}

fn table(virtual_hosts: Vec<wire::VirtualHost>) -> RouteTable {
    convert::route_table(&wire::RouteConfiguration { virtual_hosts, ..Default::default() }).unwrap()
}

fn prefix(prefix: &str) -> PathSpecifier {
    PathSpecifier::Prefix(prefix.to_owned())
}

fn action_of(action: wire::route::Action, path: PathSpecifier) -> Arc<Route> {
    let table = table(vec![host(&["*"], vec![route(path, action)])]);
    Arc::clone(&table.virtual_hosts()[0].routes[0])
}

#[test]
fn domains_are_searched_from_exact_to_any() {
    let domains = ["www.foo.com", "*.foo.com", "*-bar.foo.com", "foo.*", "foo.b*", "*"];
    let table = table(domains.iter().map(|domain| host(&[domain], Vec::new())).collect());
    let cases = [
        ("www.foo.com", "www.foo.com"),
        ("WWW.Foo.Com", "www.foo.com"),
        ("a.foo.com", "*.foo.com"),
        ("x-bar.foo.com", "*-bar.foo.com"),
        (".foo.com", "*"),
        ("foo.org", "foo.*"),
        ("foo.bar", "foo.b*"),
        ("foo.", "*"),
        ("www.foo.com:80", "*"),
        ("", "*"),
    ];
    for (authority, expected) in cases {
        assert_eq!(table.virtual_host(authority).unwrap().name, expected, "{authority}");
    }
}

#[test]
fn a_port_can_be_left_out_of_the_comparison() {
    let config = wire::RouteConfiguration {
        virtual_hosts: vec![host(&["a"], Vec::new()), host(&["[::1]"], Vec::new())],
        ignore_port_in_host_matching: true,
        ..Default::default()
    };
    let table = convert::route_table(&config).unwrap();
    assert_eq!(table.virtual_host("a:8080").unwrap().name, "a");
    assert_eq!(table.virtual_host("[::1]:80").unwrap().name, "[::1]");
    assert!(table.virtual_host("b:8080").is_none());
}

#[test]
fn the_first_route_that_matches_wins() {
    let regex = api::envoy::r#type::matcher::v3::RegexMatcher { regex: "/r/[0-9]+".to_owned(), ..Default::default() };
    let routes = vec![
        route(PathSpecifier::Path("/exact".into()), to_cluster("exact")),
        route(PathSpecifier::PathSeparatedPrefix("/seg".into()), to_cluster("segment")),
        route(PathSpecifier::SafeRegex(regex), to_cluster("regex")),
        route(PathSpecifier::ConnectMatcher(wire::route_match::ConnectMatcher {}), to_cluster("connect")),
        route(prefix("/"), to_cluster("any")),
    ];
    let table = table(vec![host(&["*"], routes)]);
    let cases = [
        ("/exact", "exact"),
        ("/exact?q", "exact"),
        ("/exact/", "any"),
        ("/seg", "segment"),
        ("/seg/x", "segment"),
        ("/segment", "any"),
        ("/r/12?x=y", "regex"),
        ("/r/12x", "any"),
    ];
    let cluster = |found: Found<'_>| match &found.route.action {
        Action::Forward(action) => action.cluster.pick(0, &Headers::new()).to_owned(),
        _ => String::new(),
    };
    for (path, expected) in cases {
        assert_eq!(cluster(table.find(&head("h", path, &[]), 0).unwrap()), expected, "{path}");
    }
    let mut connect = head("h:443", "", &[]);
    connect.method = "CONNECT".to_owned();
    assert_eq!(cluster(table.find(&connect, 0).unwrap()), "connect");
}

#[test]
fn header_rules() {
    let exact = |text: &str| HeaderRule::Text(StringMatch::Exact { text: text.to_owned(), ignore_case: false });
    let rule = |rule, invert, missing_as_empty| HeaderMatch { name: "x".to_owned(), rule, invert, missing_as_empty };
    let cases: [(_, &[_], _); 13] = [
        (rule(exact("1"), false, false), &[("x", "1")], true),
        (rule(exact("2"), false, false), &[("x", "1"), ("x", "2")], true),
        (rule(exact("1,2"), false, false), &[("x", "1"), ("x", "2")], false),
        (rule(exact("2"), true, false), &[("x", "1"), ("x", "2")], false),
        (rule(exact("1"), true, false), &[("x", "2")], true),
        (rule(exact("1"), true, false), &[], false),
        (rule(exact("1"), true, true), &[], true),
        (rule(HeaderRule::Present(true), false, false), &[("x", "")], true),
        (rule(HeaderRule::Present(true), true, false), &[], true),
        (rule(HeaderRule::Present(false), false, false), &[], true),
        (rule(HeaderRule::Range(-5, 5), false, false), &[("x", "-5")], true),
        (rule(HeaderRule::Range(-5, 5), false, false), &[("x", "5")], false),
        (rule(HeaderRule::Range(-5, 5), false, false), &[("x", "1a")], false),
    ];
    for (rule, headers, expected) in cases {
        assert_eq!(rule.matches(&head("h", "/", headers)), expected, "{rule:?} {headers:?}");
    }
}

#[test]
fn weights_share_requests() {
    use wire::weighted_cluster::ClusterWeight;
    let of = |name: &str, weight| ClusterWeight { name: name.to_owned(), weight: Some(weight), ..Default::default() };
    let clusters = wire::WeightedCluster { clusters: vec![of("a", 90), of("b", 10)], ..Default::default() };
    let action = wire::RouteAction {
        cluster_specifier: Some(wire::route_action::ClusterSpecifier::WeightedClusters(clusters)),
        ..Default::default()
    };
    let route = action_of(wire::route::Action::Route(action), prefix("/"));
    let Action::Forward(action) = &route.action else { panic!("forwards") };
    let picked = |random| action.cluster.pick(random, &Headers::new()).to_owned();
    assert_eq!((0..100).filter(|random| picked(*random) == "b").count(), 10);
}

#[test]
fn rewrites_keep_the_query_and_the_old_values() {
    let action = wire::RouteAction {
        prefix_rewrite: "/v2/".into(),
        cluster_specifier: Some(wire::route_action::ClusterSpecifier::Cluster("c".into())),
        host_rewrite_specifier: Some(wire::route_action::HostRewriteSpecifier::HostRewriteLiteral("new".into())),
        ..Default::default()
    };
    let route = action_of(wire::route::Action::Route(action), prefix("/v1/"));
    let Action::Forward(action) = &route.action else { panic!("forwards") };
    let mut request = head("old", "/v1/x?q=/v1/", &[]);
    action.rewrite(&mut request, true);
    assert_eq!((request.path.as_str(), request.authority.as_str()), ("/v2/x?q=/v1/", "new"));
    assert_eq!(request.headers.get_str("x-envoy-original-path"), Some("/v1/x?q=/v1/"));
    assert_eq!(request.headers.get_str("x-envoy-original-host"), Some("old"));
}

#[test]
fn a_pattern_rewrites_by_groups() {
    let regex = regex::bytes::Regex::new("/service/([^/]+)(/.*)").unwrap();
    let rewrite = PathRewrite::Regex(RegexRewrite::new(regex.clone(), r"\2/instance/\1").unwrap());
    assert_eq!(rewrite.new_path("/service/foo/v1/api"), "/v1/api/instance/foo");
    assert!(RegexRewrite::new(regex, r"\3").is_err());
}

#[test]
fn redirects_keep_what_they_do_not_change() {
    let keep =
        Redirect { scheme: None, host: None, port: None, path: PathRedirect::Keep, code: 301, strip_query: false };
    let https = Redirect { scheme: Some("https".into()), ..keep.clone() };
    let path = |path: &str| Redirect { path: PathRedirect::Path(path.to_owned()), ..keep.clone() };
    let cases = [
        (&https, "a:80", "/p?q", "https://a/p?q"),
        (&https, "a:8080", "/p?q", "https://a:8080/p?q"),
        (&Redirect { port: Some(8443), ..https.clone() }, "a:80", "/p", "https://a:8443/p"),
        (&Redirect { host: Some("b".into()), ..keep.clone() }, "a:80", "/p", "http://b/p"),
        (&path("/n"), "a", "/p?q=1", "http://a/n?q=1"),
        (&path("/n?own"), "a", "/p?q=1", "http://a/n?own"),
        (&Redirect { strip_query: true, ..keep.clone() }, "a", "/p?q=1", "http://a/p"),
    ];
    for (redirect, authority, path, expected) in cases {
        assert_eq!(redirect.location(&head(authority, path, &[])), expected);
    }
}

#[test]
fn plain_requests_are_sent_to_https_where_it_is_required() {
    let mut host = host(&["*"], vec![route(prefix("/"), to_cluster("c"))]);
    host.require_tls = wire::virtual_host::TlsRequirementType::All as i32;
    let table = table(vec![host]);
    let found = table.find(&head("a", "/p", &[]), 0).unwrap();
    let Action::Redirect(redirect) = &found.route.action else { panic!("redirects") };
    assert_eq!(redirect.location(&head("a", "/p", &[])), "https://a/p");
    let secure = head("a", "/p", &[("x-forwarded-proto", "https")]);
    assert!(matches!(table.find(&secure, 0).unwrap().route.action, Action::Forward(_)));
}

#[test]
fn headers_change_from_the_route_outwards_unless_told_otherwise() {
    use api::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    let set = |value: &str| HeaderValueOption {
        header: Some(HeaderValue { key: "X".into(), value: value.into(), ..Default::default() }),
        append_action: 2,
        ..Default::default()
    };
    let value = |most_specific_header_mutations_wins| {
        let mut one = route(prefix("/"), to_cluster("c"));
        one.request_headers_to_add = vec![set("route %REQ(:METHOD)%")];
        let mut host = host(&["*"], vec![one]);
        host.request_headers_to_add = vec![set("host")];
        let config = wire::RouteConfiguration {
            virtual_hosts: vec![host],
            most_specific_header_mutations_wins,
            ..Default::default()
        };
        let table = convert::route_table(&config).unwrap();
        let mut request = head("a", "/", &[]);
        table.find(&request.clone(), 0).unwrap().finalize_request(&mut request, &info(), true);
        request.headers.get_str("x").map(str::to_owned)
    };
    assert_eq!(value(false).as_deref(), Some("host"));
    assert_eq!(value(true).as_deref(), Some("route GET"));
}

#[test]
fn retry_conditions() {
    let policy = |on: &str| RetryPolicy {
        retry_on: RetryOn::parse(on).unwrap(),
        num_retries: 1,
        per_try_timeout: Duration::ZERO,
        per_try_idle_timeout: Duration::ZERO,
        back_off: BackOff::default(),
        retriable_status_codes: vec![418],
        retriable_headers: Vec::new(),
        retriable_request_headers: Vec::new(),
        avoid_previous_hosts: false,
        leave_priorities_after: None,
        host_selection_attempts: 1,
    };
    let started = Outcome::Reset { request_started: true };
    let unstarted = Outcome::Reset { request_started: false };
    let cases = [
        ("5xx", Outcome::Response(500), true),
        ("5xx", Outcome::Response(499), false),
        ("5xx", started, true),
        ("5xx", Outcome::PerTryTimeout, true),
        ("5xx", Outcome::Overflow, false),
        ("gateway-error", Outcome::Response(503), true),
        ("gateway-error", Outcome::Response(500), false),
        ("connect-failure", Outcome::ConnectFailure, true),
        ("connect-failure", started, false),
        ("reset-before-request", unstarted, true),
        ("reset-before-request", started, false),
        ("refused-stream", Outcome::RefusedStream, true),
        ("retriable-4xx", Outcome::Response(409), true),
        ("retriable-4xx", Outcome::Response(404), false),
        ("retriable-status-codes", Outcome::Response(418), true),
        ("http3-post-connect-failure", Outcome::ConnectFailure, false),
    ];
    for (on, outcome, expected) in cases {
        assert_eq!(policy(on).should_retry(outcome, None, None), expected, "{on} {outcome:?}");
    }
    for (on, status) in
        [("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13), ("unavailable", 14)]
    {
        assert!(policy(on).should_retry(Outcome::Response(200), None, Some(status)), "{on}");
        assert!(!policy(on).should_retry(Outcome::Response(200), None, Some(0)), "{on}");
    }
    let limited: Headers = [("x-envoy-ratelimited", "true")].into_iter().collect();
    assert!(!policy("5xx").should_retry(Outcome::Response(503), Some(&limited), None));
    assert!(policy("envoy-ratelimited").should_retry(Outcome::Response(429), Some(&limited), None));
    assert_eq!(RetryOn::parse("5xx,nonsense"), Err("nonsense".to_owned()));
}

#[test]
fn back_off_doubles_up_to_its_maximum() {
    let back_off = BackOff::default();
    let longest = |retry| back_off.delay(retry, 25_000_000 * 400 - 1).max(back_off.delay(retry, 24_999_999));
    assert!(longest(1) < Duration::from_millis(25));
    assert!(back_off.delay(3, 99_999_999) >= Duration::from_millis(99));
    assert!(back_off.delay(60, 249_999_999) < Duration::from_millis(250));
    assert_eq!(back_off.delay(1, 0), Duration::ZERO);
}

proptest! {
    #[test]
    fn nothing_in_a_request_breaks_the_lookup(authority in ".*", path in ".*", value in "[ -~]*", random in any::<u64>()) {
        let regex = api::envoy::r#type::matcher::v3::RegexMatcher { regex: "(/a+)+b".to_owned(), ..Default::default() };
        let routes = vec![route(PathSpecifier::SafeRegex(regex), to_cluster("r")), route(prefix("/"), to_cluster("c"))];
        let table = table(vec![host(&["*.a"], Vec::new()), host(&["a.*"], Vec::new()), host(&["*"], routes)]);
        let mut request = head(&authority, &path, &[("x", &value)]);
        if let Some(found) = table.find(&request.clone(), random) {
            found.finalize_request(&mut request, &info(), true);
        }
        let _ = Redirect { scheme: None, host: None, port: None, path: PathRedirect::Keep, code: 301, strip_query: true }
            .location(&request);
    }
}
