//! How filters and the settings of routes come together.

use serde_json::{Value, json};

use super::test_kit::{Proxy, filter, one_route};

const CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";

fn abort(status: u16) -> Value {
    json!({"abort": {"http_status": status, "percentage": {"numerator": 100}}})
}

fn fault(name: &str, config: Value) -> Value {
    filter(name, "http.fault.v3.HTTPFault", config)
}

/// Settings of a level for a filter.
fn own(name: &str, status: u16) -> Value {
    let mut config = abort(status);
    config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault".into();
    json!({name: config})
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0)
}

#[tokio::test]
async fn the_most_specific_settings_hold_for_the_filter_of_that_name_only() {
    let mut host = one_route(json!({"typed_per_filter_config": own("second", 502)}));
    host["typed_per_filter_config"] = own("second", 503);
    let proxy = Proxy::start(vec![fault("first", json!({})), fault("second", abort(504))], host).await;
    assert_eq!(status(&proxy.get("/", "").await), 502);
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn the_cluster_that_weights_choose_has_settings_of_its_own() {
    let mut host = one_route(json!({"typed_per_filter_config": own("f", 502)}));
    host["routes"][0]["route"] = json!({"weighted_clusters": {"clusters": [
        {"name": "c", "weight": 1, "typed_per_filter_config": own("f", 418)}]}});
    let proxy = Proxy::start(vec![fault("f", json!({}))], host).await;
    assert_eq!(status(&proxy.get("/", "").await), 418);
}

#[tokio::test]
async fn a_route_turns_filters_off_and_on() {
    let host = one_route(json!({"typed_per_filter_config": {
        "off": {"@type": CONFIG, "disabled": true}, "on": {"@type": CONFIG}}}));
    let mut on = fault("on", abort(502));
    on["disabled"] = true.into();
    let mut never = fault("never", abort(504));
    never["disabled"] = true.into();
    let proxy = Proxy::start(vec![never, fault("off", abort(503)), on], host).await;
    assert_eq!(status(&proxy.get("/", "").await), 502);
}

#[tokio::test]
async fn filters_run_where_no_route_matches() {
    let host = json!({"name": "n", "domains": ["other"], "routes": []});
    let proxy = Proxy::start(vec![fault("f", abort(418))], host.clone()).await;
    assert_eq!(status(&proxy.get("/", "").await), 418);
    let proxy = Proxy::start(vec![fault("f", json!({}))], host).await;
    assert_eq!(status(&proxy.get("/", "").await), 404);
}

#[tokio::test]
async fn requests_count_for_the_first_virtual_cluster_that_takes_them() {
    let mut host = one_route(json!({}));
    host["virtual_clusters"] = json!([
        {"name": "a", "headers": [{"name": ":path", "string_match": {"prefix": "/a"}}]},
        {"name": "all-a", "headers": [{"name": ":path", "string_match": {"contains": "a"}}]}]);
    let proxy = Proxy::start(vec![], host).await;
    for path in ["/a", "/x/a", "/b"] {
        proxy.get(path, "").await;
    }
    let metrics = proxy.plane.stats.exposition();
    for name in ["a", "all-a", "other"] {
        let labels = format!("envoy_virtual_cluster=\"{name}\",envoy_virtual_host=\"all\"");
        let line = format!("envoy_vhost_vcluster_upstream_rq{{envoy_response_code=\"200\",{labels}}} 1\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
}
