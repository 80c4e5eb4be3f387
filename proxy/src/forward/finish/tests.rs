//! Lines that requests leave behind.

use serde_json::json;

use crate::filter::test_kit::{Proxy, manager, one_route};

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
