//! WebSocket through the proxy: frames of every kind, and closes as clean as without it.

use crate::python::{Server, run};
use crate::weft::{ALL, Listener, Weft, bootstrap, own_address};

const CASES: usize = 24;

#[test]
fn websockets_work_and_close_as_they_do_without_a_proxy() {
    const SCRIPT: &str = "websocket/suite.py";
    let address = own_address();
    let _server = Server::start(SCRIPT, &["serve", &address.to_string(), "9000"]);
    let manager = "upgrade_configs: [{ upgrade_type: websocket }]";
    let listener = Listener { name: "websocket", port: 8001, manager, routes: ALL };
    let _weft = Weft::start(&bootstrap(address, &[listener], (address, 9000).into(), ""));
    let said = run(SCRIPT, &["client", &format!("{address}:9000"), &format!("{address}:8001")]);
    assert_eq!(said.lines().filter(|line| line.starts_with("passed ")).count(), CASES, "{said}");
}

#[test]
fn websockets_cross_http2_between_two_proxies() {
    const SCRIPT: &str = "websocket/suite.py";
    const OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let address = own_address();
    let _server = Server::start(SCRIPT, &["serve", &address.to_string(), "9000"]);
    let manager = "upgrade_configs: [{ upgrade_type: websocket }]";
    let inner = format!("codec_type: HTTP2, http2_protocol_options: {{ allow_connect: true }}, {manager}");
    let listener = Listener { name: "inner", port: 8002, manager: &inner, routes: ALL };
    let _inner = Weft::start(&bootstrap(address, &[listener], (address, 9000).into(), ""));
    let listener = Listener { name: "outer", port: 8001, manager, routes: ALL };
    let http2 = format!(
        "typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ \"@type\": \
         {OPTIONS}, explicit_http_config: {{ http2_protocol_options: {{ allow_connect: true }} }} }} }}"
    );
    let _outer = Weft::start(&bootstrap(address, &[listener], (address, 8002).into(), &http2));
    let said = run(SCRIPT, &["client", &format!("{address}:9000"), &format!("{address}:8001")]);
    assert_eq!(said.lines().filter(|line| line.starts_with("passed ")).count(), CASES, "{said}");
}
