//! Paths and hosts on their way to a route: what is normal stays so, and no spelling leaves the root.

use std::sync::OnceLock;

use api::envoy::config::route::v3::RouteConfiguration;

use crate::bootstrap::{Format, document, proto_json};
use crate::config::convert;
use crate::http::h1::{Limits, parse_request};
use crate::path;
use crate::route::RouteTable;

const TABLE: &str = r#"{"name": "r", "virtual_hosts": [
  {"name": "one", "domains": ["a.example", "*.b.example", "c.*", "a.example:80"], "routes": [
    {"match": {"path": "/exact"}, "redirect": {"path_redirect": "/there"}},
    {"match": {"safe_regex": {"regex": "/(a|b)*c/.+"}}, "route": {"cluster": "c"}},
    {"match": {"prefix": "/p", "case_sensitive": false}, "redirect": {"prefix_rewrite": "/q", "strip_query": true}}]},
  {"name": "all", "domains": ["*"], "routes": [
    {"match": {"path_separated_prefix": "/admin"}, "direct_response": {"status": 403}},
    {"match": {"prefix": "/", "headers": [{"name": "x-a", "string_match": {"contains": "b"}}],
      "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]}, "route": {"cluster": "c"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "c", "prefix_rewrite": "/x"}}]}]}"#;

fn table() -> &'static RouteTable {
    static PARSED: OnceLock<RouteTable> = OnceLock::new();
    PARSED.get_or_init(|| {
        let value = document::parse(TABLE, Format::Json).expect("the table is JSON");
        let wire: RouteConfiguration = proto_json::message(value).expect("the table is a route configuration");
        convert::route_table(&wire).expect("the table is in order")
    })
}

/// A request head: its path is brought into one form and routed.
pub fn route(data: &[u8]) {
    let Ok(Some(parsed)) = parse_request(data, Limits::default(), "http") else { return };
    let mut head = parsed.head;
    for path in [head.path.clone(), path::unescape_slashes(&head.path)] {
        let Some(normal) = path::normalize(&path).map(|normal| normal.into_owned()) else { continue };
        let only = normal.split('?').next().unwrap_or_default();
        assert!(only.starts_with('/') || path == "*" || path.is_empty(), "{path:?} became {normal:?}");
        assert!(!only.split('/').any(|part| matches!(part, "." | "..")), "{path:?} became {normal:?}");
        assert_eq!(path::normalize(&normal).as_deref(), Some(&*normal), "{path:?}");
        let merged = path::merge_slashes(&normal);
        assert!(!merged.split('?').next().unwrap_or_default().contains("//"));
        head.path = merged;
        let found = table().find(&head, 0).is_some();
        assert_eq!(found, table().find(&head, 0).is_some());
    }
}
