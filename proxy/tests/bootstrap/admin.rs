//! The admin interface of a proxy that serves a bootstrap file: what its answers look like to Envoy's tools, and what
//! can be asked of it.

use serde_json::{Value, json};

use super::*;

/// The body of an answer as JSON.
async fn json_of(at: (IpAddr, u16), path: &str) -> Value {
    let answer = get(at, path, "").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(body).unwrap()
}

async fn post(at: (IpAddr, u16), path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn it_shows_what_is_served_in_the_shapes_of_envoy() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    let _ = get((address, 10000), "/hello", "").await;
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 200", "cache-control: no-cache, max-age=0", "LIVE"]);
    assert_all(&get(admin, "/listeners", "").await, &[&format!("http::{address}:10000")]);
    let socket = |port: u16| json!({"socket_address": {"address": address.to_string(), "port_value": port}});
    let expected = json!({"listener_statuses": [{"name": "http", "local_address": socket(10000)}]});
    assert_eq!(json_of(admin, "/listeners?format=json").await, expected);

    let host = format!("second::{address}:10002::");
    let lines =
        [format!("{host}health_flags::healthy"), format!("{host}weight::1"), "second::added_via_api::false".into()];
    assert_all(&get(admin, "/clusters", "").await, &lines.each_ref().map(String::as_str));
    let clusters = json_of(admin, "/clusters?format=json&filter=^sec").await;
    let statuses = clusters["cluster_statuses"].as_array().unwrap();
    assert_eq!((statuses.len(), &statuses[0]["name"]), (1, &json!("second")));
    assert_eq!(statuses[0]["host_statuses"][0]["address"], socket(10002));
    assert_eq!(statuses[0]["host_statuses"][0]["health_status"], json!({"eds_health_status": "HEALTHY"}));

    let info = json_of(admin, "/server_info").await;
    assert_eq!(
        (&info["state"], &info["node"]["id"], &info["node"]["cluster"]),
        (&json!("LIVE"), &json!("router"), &json!("examples"))
    );
    assert_eq!(json_of(admin, "/certs").await, json!({"certificates": []}));
    let name = format!("listener.{address}_10000.downstream_cx_total");
    let stats = json_of(admin, &format!("/stats?format=json&usedonly&filter={name}")).await;
    let known = stats["stats"].as_array().unwrap();
    assert!(known.iter().all(|one| one["name"] == json!(name) && one["value"] == json!(1)), "{stats}");
    assert_all(&get(admin, "/stats", "").await, &["listener.", ": 0\n"]);
    assert_all(&get(admin, "/stats/prometheus", "").await, &["# TYPE envoy_"]);
    proxy.stop().await;
}

#[tokio::test]
async fn the_configuration_is_dumped_as_it_stands_in_the_file() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    let dump = json_of(admin, "/config_dump").await;
    let types: Vec<_> = dump["configs"].as_array().unwrap().iter().map(|one| one["@type"].as_str().unwrap()).collect();
    let expected = ["Bootstrap", "Clusters", "Listeners", "Routes", "Secrets"];
    assert_eq!(types, expected.map(|name| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump")));
    assert_eq!(dump["configs"][0]["bootstrap"]["node"]["id"], "router");
    let cluster = &dump["configs"][1]["static_clusters"][0];
    assert_eq!(cluster["cluster"]["@type"], "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert!(cluster["last_updated"].as_str().unwrap().ends_with('Z'));

    let listeners = json_of(admin, "/config_dump?resource=static_listeners").await;
    assert_eq!(
        listeners["configs"][0]["@type"],
        "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener"
    );
    assert_eq!(json_of(admin, "/config_dump?resource=dynamic_listeners").await, json!({}));
    let one = json_of(admin, "/config_dump?resource=static_clusters&name_regex=^first$").await;
    assert_eq!(one["configs"].as_array().unwrap().len(), 1);
    assert_all(
        &get(admin, "/config_dump?resource=nosuch", "").await,
        &["HTTP/1.1 404", "nosuch not found in config dump"],
    );
    assert_all(&get(admin, "/config_dump?mask=bootstrap", "").await, &["HTTP/1.1 400"]);
    proxy.stop().await;
}

#[tokio::test]
async fn only_a_post_changes_anything() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let admin = (address, 9901);
    for path in ["/quitquitquit", "/healthcheck/fail", "/drain_listeners", "/logging?level=off"] {
        let answer = get(admin, path, "").await;
        assert_all(&answer, &["HTTP/1.1 405", "Method GET not allowed, POST required."]);
    }
    assert_all(&get(admin, "/nosuch", "").await, &["HTTP/1.1 404", "invalid path. admin commands are:"]);
    assert_all(&post(admin, "/healthcheck/fail").await, &["HTTP/1.1 200", "OK"]);
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 503", "DRAINING"]);
    assert_all(&post(admin, "/healthcheck/ok").await, &["OK"]);
    assert_all(&get(admin, "/ready", "").await, &["HTTP/1.1 200", "LIVE"]);
    proxy.stop().await;
}

#[tokio::test]
async fn listeners_that_drain_take_no_more_connections_and_keep_those_they_have() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    let http = (address, 10000);
    let mut kept = TcpStream::connect(http).await.unwrap();
    kept.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_all(&post((address, 9901), "/drain_listeners").await, &["HTTP/1.1 200", "OK"]);
    assert!(TcpStream::connect(http).await.is_err());
    kept.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    kept.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    proxy.stop().await;
}

#[tokio::test]
async fn it_can_be_asked_to_end() {
    let address = address();
    let proxy = Proxy::start(&example("router.yaml", address)).await;
    assert_all(&post((address, 9901), "/quitquitquit").await, &["HTTP/1.1 200", "OK"]);
    proxy.ended.await.unwrap().unwrap();
}
