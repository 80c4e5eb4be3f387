//! Lines that requests leave behind.

use api::weft::v1 as wire;
use serde_json::json;

use crate::filter::test_kit::{Proxy, filter, manager, one_route};
use crate::stats::Collector;

#[tokio::test]
async fn a_request_leaves_a_line_when_it_comes_and_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let mut manager = manager(Vec::new(), one_route(json!({"name": "route"})));
    let config = &mut manager["typed_config"];
    let format = "%ACCESS_LOG_TYPE% %REQ(:METHOD)% %PATH(NQ)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% \
                  %UPSTREAM_CLUSTER% %UPSTREAM_PROTOCOL% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %BYTES_SENT%\n";
    config["access_log"] = json!([{"name": "file",
        "filter": {"header_filter": {"header": {"name": "x-log", "present_match": true}}},
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path, "log_format": {"text_format_source": {"inline_string": format}}}}]);
    config["access_log_options"] = json!({"flush_access_log_on_new_request": true});
    let proxy = Proxy::with_network_filters(vec![manager]).await;
    proxy.get("/unlogged", "").await;
    proxy.get("/logged?q", "x-log: yes\r\n").await;
    proxy.plane.stop();
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "DownstreamStart GET /logged 0 - route - - - 0\n\
         DownstreamEnd GET /logged 200 via_upstream route c HTTP/1.1 127.0.0.1 2\n"
    );
}

#[tokio::test]
async fn reports_say_which_service_a_failed_request_was_for_and_whether_it_came_anywhere() {
    let host = "reviews.default.svc.cluster.local";
    let away = json!({"cluster": format!("outbound|80||{host}"), "cluster_not_found_response_code": "NOT_FOUND"});
    let fault = filter("fault", "http.fault.v3.HTTPFault", json!({}));
    let fault_here = json!({"fault": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 418, "percentage": {"numerator": 100}}}});
    let routes = json!([
        {"match": {"prefix": "/missing"}, "route": away},
        {"match": {"prefix": "/faulty"}, "route": {"cluster": "c"}, "typed_per_filter_config": fault_here},
        {"match": {"prefix": "/fine"}, "route": {"cluster": "c"}},
        {"match": {"prefix": "/gone"}, "direct_response": {"status": 410}}]);
    let virtual_host = json!({"name": format!("{host}:80"), "domains": ["*"], "routes": routes});
    let proxy = Proxy::start(vec![fault], virtual_host).await;
    for path in ["/missing", "/faulty", "/fine", "/gone", "/nowhere"] {
        proxy.get(path, "").await;
    }
    proxy.plane.stop();
    let told = Collector::default().collect(&proxy.plane.stats).opened;
    let mut told: Vec<_> = told
        .iter()
        .map(|series| (series.response_flags.as_str(), series.response_code, series.service.clone(), series.unreached))
        .collect();
    told.sort_by(|a, b| (a.1, a.0).cmp(&(b.1, b.0)));
    let meant = Some(wire::Service { host: host.into(), name: "reviews".into(), namespace: "default".into() });
    let expected = [
        ("", 200, None, false),
        ("NC", 404, meant.clone(), true),
        ("NR", 404, meant.clone(), true),
        ("", 410, meant.clone(), true),
        ("FI", 418, meant, true),
    ];
    assert_eq!(told, expected);
}
